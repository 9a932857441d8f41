"""When things were born, and the windows that later analyses can name."""

from circuit.artifacts import read_rows, write_json, write_rows
from circuit.job import job
from circuit.kinds.birth_windows.settings import Settings
from circuit.measures.births.evidence import UNITS, evidence_rows, gather
from circuit.measures.births.sweep_curves import read_curves
from circuit.measures.births.windows import merged_windows, window_table
from circuit.reports import accounts_births, figures_births
from circuit.reports.publish import publish

with job(snakemake, torch=False) as facts:
    source, out = snakemake.input, snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    sweep = read_rows(source.sweep_rows)
    steps = sorted(sweep["step"].unique().tolist())
    curves = read_curves(
        sweep,
        read_rows(source.sweep_stages),
        read_rows(source.sweep_components),
        settings.split,
        settings.heldout_split,
        settings.threshold,
        settings.stable_rank_correlation,
    )
    evidence = [gather(curve, settings.bootstrap, settings.seed) for curve in curves]
    rows = evidence_rows(evidence)
    windows = merged_windows(evidence, (steps[0], steps[-1]))

    write_rows(out.rows, rows, UNITS, "what one method says of one curve's birth")
    write_json(out.windows, {"windows": windows})
    figures_births.timeline(rows, windows, steps, out.timeline)
    publish(
        accounts_births.births(rows, windows, window_table(windows, curves[0]), facts.analysis),
        facts,
        seeds={"bootstrap": settings.seed},
    )
