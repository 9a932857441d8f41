"""When things were born, and the windows that later analyses can name."""

from __future__ import annotations

from circuit.kinds.birth_windows.settings import Settings
from circuit.measures.births.evidence import (
    birth_rows,
    gather,
    learning_rows,
    merged_windows,
    window_rows,
)
from circuit.measures.births.sweep_curves import read_curves
from circuit.measuring import Job, Measured, Table


def measure(job: Job[Settings]) -> Measured:
    """Estimates of every birth (``rows``) and of every window (``spans``), which have names."""
    asked = job.settings
    rows = job.table("rows")
    first, last = int(rows["step"].min()), int(rows["step"].max())
    curves = read_curves(
        rows,
        job.table("stages"),
        job.table("components"),
        asked.split,
        asked.heldout_split,
        asked.threshold,
        asked.stable_rank_correlation,
    )
    evidence = [gather(curve, asked.bootstrap, asked.seed) for curve in curves]
    windows = merged_windows(evidence, (first, last))
    spans = window_rows(windows, evidence, curves[0], last)
    splits = {"accuracy": asked.split, "heldout_accuracy": asked.heldout_split}
    learning = learning_rows(curves, evidence, windows, splits)
    return Measured(
        {
            "rows": Table(birth_rows(evidence, last), "what one method says of one curve's birth"),
            "spans": Table(spans, "one measure of one window"),
            "learning": Table(learning, "accuracy at a checkpoint, a birth, or the main window"),
        },
        records={"windows": {"windows": windows}},
        facts={"curves": len(curves), "main": [windows["main"][end] for end in ("start", "stop")]},
        seeds={"bootstrap": asked.seed},
    )
