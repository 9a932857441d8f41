"""Behaviour at every checkpoint of a run."""

from pathlib import Path

from circuit.artifacts import write_rows
from circuit.config.kinds.behaviour import CheckpointSweep
from circuit.geometry.behaviour import SplitReads
from circuit.geometry.curves import best_step, birth_step
from circuit.geometry.sweep import UNITS, checkpoint_sweep
from circuit.job import job
from circuit.reports import accounts_behaviour, figures_behaviour
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = CheckpointSweep.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    vocabulary = record.benchmark.vocabulary
    splits = {
        name: SplitReads(record.split(name), vocabulary, settings.programs)
        for name in settings.splits
    }
    first = settings.splits[0]
    rows = checkpoint_sweep(
        record.decoder,
        record.theta,
        record.manifest.steps,
        splits,
        record.probes(first),
        record.value_ids,
    )
    birth = birth_step(rows, first, settings.birth_threshold)
    best = best_step(rows, settings.best_by)

    write_rows(out.rows, rows, UNITS, "one measure of one split and slice at one checkpoint")
    figures_behaviour.learning_curve(rows, birth, settings.birth_threshold, out.learning_curve)
    figures_behaviour.slices(rows, out.slices)
    figures_behaviour.coarse(rows, out.coarse)
    account = accounts_behaviour.sweep(
        rows, birth, best, settings.birth_threshold, first, settings.best_by
    )
    publish(account, facts, seeds={"run": record.manifest.seed})
