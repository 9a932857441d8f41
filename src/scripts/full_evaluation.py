"""Every program of every split at one checkpoint."""

from pathlib import Path

import pandas as pd

from circuit.artifacts import read_rows, write_rows
from circuit.job import job
from circuit.kinds.full_evaluation.settings import Settings
from circuit.measures.sweep.behaviour import UNITS, SplitReads, read_measures, summarise
from circuit.measures.sweep.curves import best_step
from circuit.reports import accounts_behaviour, figures_behaviour
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    chosen = {
        "best": best_step(read_rows(snakemake.input.sweep), settings.best_by),
        "final": record.manifest.steps[-1],
    }
    step = chosen.get(settings.checkpoint, settings.checkpoint)
    theta = record.theta(step)
    parts = []
    for name in settings.splits:
        split = SplitReads(record.split(name), record.benchmark.vocabulary)
        measured = summarise(read_measures(record.decoder, theta, split))
        parts.append(measured.assign(step=step, split=name))
    rows = pd.concat(parts, ignore_index=True)

    write_rows(out.rows, rows, UNITS, "one measure of one split and slice")
    figures_behaviour.splits(rows, out.splits)
    publish(
        accounts_behaviour.evaluation(
            rows, step, settings.best_by if settings.checkpoint == "best" else None
        ),
        facts,
        seeds={"run": record.manifest.seed},
    )
