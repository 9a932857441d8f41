"""How much of behaviour's change the change of route scalars explains."""

from pathlib import Path

from circuit.artifacts import read_json, write_rows
from circuit.job import job
from circuit.kinds.closure.settings import Settings
from circuit.measures.births.named_window import window_steps
from circuit.measures.closure.analysis import SCORE_UNITS, explain, interval_changes
from circuit.measures.closure.regression import COEFFICIENT_UNITS, ROW_UNITS
from circuit.reports import accounts_closure, figures_closure
from circuit.reports.publish import publish
from circuit.scalars.features import load_dictionaries
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    window = window_steps(settings.window, snakemake.input.get("windows"))
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    selection = read_json(snakemake.input.heads)
    dictionaries = load_dictionaries(settings.model_dump(), snakemake.input.get("dictionaries", []))
    changes = interval_changes(settings, record, selection, window, dictionaries)
    rows, scores, coefficients = explain(settings, changes)

    write_rows(out.rows, rows, ROW_UNITS, "one event's change over one checkpoint interval")
    write_rows(out.coefficients, coefficients, COEFFICIENT_UNITS, "one route's coefficient")
    write_rows(out.scores, scores, SCORE_UNITS, "one outcome's R2 under one model")
    figures_closure.closure(rows, scores, coefficients, out.closure)
    publish(
        accounts_closure.closure(
            scores, coefficients, rows, window, selection["winner"], selection["bottom"]
        ),
        facts,
        seeds={"run": record.manifest.seed, "bootstrap": settings.seed},
    )
