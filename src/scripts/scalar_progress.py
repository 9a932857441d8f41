"""Which scalar of what a head writes is fit to be attributed: every head, over all checkpoints."""

from pathlib import Path

from circuit.artifacts import read_json, write_rows
from circuit.job import job
from circuit.kinds.scalar_progress.settings import Settings
from circuit.measures.births.evidence import UNITS as BIRTH_UNITS
from circuit.measures.writes.agreement import CORRELATION_UNITS, outcome_correlations
from circuit.measures.writes.fitness import VERDICT_UNITS, Bounds, verdicts
from circuit.measures.writes.measured import ROW_UNITS, progress_rows, write_births
from circuit.measures.writes.parts import PART_UNITS, growth_parts
from circuit.measures.writes.progress import measure_heads
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_progress, figures_progress
from circuit.reports.passes import passes_number
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    selection = read_json(snakemake.input.heads)
    roles = {role: selection[role] for role in ("winner", "runner_up", "bottom")}
    bounds = Bounds(settings.follows, settings.shuffled, settings.elsewhere)
    decoder, events = CountingDecoder(record.decoder), record.probes(settings.split)
    progress = measure_heads(
        decoder,
        record.theta,
        record.manifest.steps,
        events,
        record.value_ids,
        settings.competitor,
        settings.shuffles,
        settings.seed,
    )
    rows, parts = progress_rows(progress), growth_parts(progress)
    births = write_births(rows, settings.seed)
    correlations = outcome_correlations(progress, settings.seed)
    judged = verdicts(progress, list(roles.values()), bounds, settings.seed)

    write_rows(out.rows, rows, ROW_UNITS, "one scalar of one head under one condition")
    write_rows(out.births, births, BIRTH_UNITS, "one method for one scalar of one head")
    write_rows(
        out.correlations, correlations, CORRELATION_UNITS, "one scalar of one head and one outcome"
    )
    write_rows(out.parts, parts, PART_UNITS, "one part of the growth of one scalar of one head")
    write_rows(
        out.verdicts, judged, VERDICT_UNITS, "one scalar of one head on one half of the events"
    )
    figures_progress.progress(rows, births, roles, out.progress)
    figures_progress.progress_conditions(rows, roles["winner"], out.progress_conditions)
    figures_progress.fitness(parts, correlations, judged, roles, settings.follows, out.fitness)
    passes = passes_number(decoder.passes, len(events), decoder.settings.n_layers)
    publish(
        accounts_progress.progress(
            rows,
            births,
            correlations,
            parts,
            judged,
            roles,
            bounds,
            settings.competitor,
            passes,
        ),
        facts,
        seeds={"run": record.manifest.seed, "shuffles": settings.seed},
    )
