"""QK separation of every head at every checkpoint, and the choice of winner and controls."""

from pathlib import Path

from circuit.artifacts import write_json, write_rows
from circuit.geometry.heads.scan import EVENT_UNITS, UNITS, correlations, head_scan, select_heads
from circuit.job import job
from circuit.kinds.head_scan.settings import Settings
from circuit.reports import accounts_heads, figures_heads
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    steps = record.manifest.steps
    rows, events = head_scan(
        record.decoder,
        record.theta,
        steps,
        record.probes(settings.split),
        record.value_ids,
        settings.rank,
    )
    window = settings.window or (steps[0], steps[-1])
    selection = select_heads(events, settings.criterion, window)
    roles = {role: selection[role] for role in ("winner", "runner_up", "bottom")}

    write_rows(out.rows, rows, UNITS, "one measure of one head on one half of the events")
    write_rows(out.events, events, EVENT_UNITS, "one criterion of one head on one event")
    write_json(out.heads, selection)
    figures_heads.separation(rows, roles, out.separation)
    figures_heads.heads(rows, roles, out.head_map)
    publish(
        accounts_heads.scan(rows, selection, correlations(rows), settings.rank),
        facts,
        seeds={"run": record.manifest.seed},
    )
