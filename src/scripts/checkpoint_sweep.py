"""Every checkpoint of a run: behaviour, what the stream holds, what each component does."""

from pathlib import Path

from circuit.artifacts import write_rows
from circuit.job import job
from circuit.kinds.checkpoint_sweep.settings import Settings
from circuit.measures.sweep.behaviour import SplitReads
from circuit.measures.sweep.checkpoints import PART_UNITS, UNITS, SweepInputs, checkpoint_sweep
from circuit.measures.sweep.curves import best_step, birth_step
from circuit.measures.sweep.probes import ProbeReads
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_sweep, figures_behaviour, figures_sweep
from circuit.reports.passes import passes_number
from circuit.reports.publish import publish
from circuit.reports.sweep_tables import SweepTables
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    steps, vocabulary = record.manifest.steps, record.benchmark.vocabulary
    programs = {name: record.split(name) for name in settings.splits}
    first = settings.splits[0]
    inputs = SweepInputs(
        {name: SplitReads(part, vocabulary, settings.programs) for name, part in programs.items()},
        ProbeReads.of(programs[first], vocabulary, settings.programs),
        record.probes(first),
        record.value_ids,
        settings.probe_ridge,
        settings.thresholds,
        settings.ablation,
    )
    reference = steps[-1] if settings.reference == "final" else settings.reference
    decoder = CountingDecoder(record.decoder)
    tables = SweepTables(*checkpoint_sweep(decoder, record.theta, steps, inputs, reference))
    birth = birth_step(tables.rows, first, settings.birth_threshold)
    best = best_step(tables.rows, settings.best_by)

    write_rows(out.rows, tables.rows, UNITS, "one measure of one split and slice at one checkpoint")
    write_rows(out.stages, tables.stages, PART_UNITS, "one measure of one stage at one checkpoint")
    what = "one measure of one component at one checkpoint"
    write_rows(out.components, tables.components, PART_UNITS, what)
    figures_behaviour.learning_curve(
        tables.rows, birth, settings.birth_threshold, out.learning_curve
    )
    figures_behaviour.slices(tables.rows, out.slices)
    figures_behaviour.coarse(tables.rows, out.coarse)
    figures_sweep.probes(tables.stages, out.probes)
    figures_sweep.lens(tables.stages, len(record.value_ids), out.lens)
    figures_sweep.drift(tables.stages, reference, out.drift)
    figures_sweep.localisation(tables.components, out.localisation)
    figures_sweep.ablations(tables.components, out.ablations)
    account = accounts_sweep.sweep(
        tables,
        birth,
        best,
        settings.birth_threshold,
        first,
        settings.best_by,
        passes_number(decoder.passes, len(inputs.events), decoder.settings.n_layers),
    )
    publish(account, facts, seeds={"run": record.manifest.seed})
