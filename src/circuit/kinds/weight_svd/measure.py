"""Singular values of every weight matrix at every checkpoint, and the patterns in them."""

from circuit.artifacts import read_json
from circuit.kinds.weight_svd.settings import Settings
from circuit.measures.weights.patterns import pattern_rows, weight_patterns
from circuit.measures.weights.svd import weight_svd
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every matrix beside untrained ones; ``patterns`` are its births and their matches."""
    run, asked = OpenRun(job), job.settings
    windows = read_json(job.given["windows"])["windows"]
    rows, spectra = weight_svd(
        run.decoder, run.theta, run.steps, asked.top, asked.baseline_draws, asked.seed
    )
    found = weight_patterns(rows, windows, asked.shifts, asked.seed)
    patterns = pattern_rows(rows, *found, windows)
    matrices = rows.loc[rows["component"] != "", ["matrix", "component"]].drop_duplicates()
    return run.measured(
        tables={
            "rows": Table(rows, "one measure of one matrix at one checkpoint"),
            "spectra": Table(
                spectra, "one singular value at one checkpoint", {"index": "1", "place": "1"}
            ),
            "patterns": Table(patterns, "one measure of one pattern over training"),
        },
        facts={"matrices": len(matrices)},
        seeds={"baseline": asked.seed},
    )
