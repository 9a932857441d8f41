"""Singular values of every weight matrix at every checkpoint, and the patterns in them."""

from pathlib import Path

from circuit.artifacts import read_json, write_rows
from circuit.job import job
from circuit.kinds.weight_svd.settings import Settings
from circuit.measures.weights.patterns import UNITS, weight_patterns
from circuit.measures.weights.svd import ROW_UNITS, SPECTRUM_UNITS, weight_svd
from circuit.reports import accounts_weights, figures_weights
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    windows = read_json(snakemake.input.births)["windows"]
    steps = record.manifest.steps
    rows, spectra = weight_svd(
        record.decoder, record.theta, steps, settings.top, settings.baseline_draws, settings.seed
    )
    patterns, matches = weight_patterns(rows, windows, settings.shifts, settings.seed)

    write_rows(out.rows, rows, ROW_UNITS, "one measure of one matrix at one checkpoint")
    write_rows(out.spectra, spectra, SPECTRUM_UNITS, "one singular value at one checkpoint")
    write_rows(out.patterns, patterns, UNITS, "one pattern of one matrix over training")
    figures_weights.effective_rank(rows, out.effective_rank)
    figures_weights.rotation(rows, out.rotation)
    figures_weights.spectrum(rows, spectra, out.spectrum)
    figures_weights.births(patterns, windows, steps[-1], out.births)
    publish(
        accounts_weights.weights(rows, patterns, matches, settings.top),
        facts,
        seeds={"run": record.manifest.seed, "baseline": settings.seed},
    )
