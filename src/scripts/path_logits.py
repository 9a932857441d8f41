"""The correct logit and its margins as sums over paths, over training."""

from pathlib import Path

from circuit.artifacts import write_rows
from circuit.experiments import direct_effects
from circuit.job import job
from circuit.kinds.path_logits.settings import Settings
from circuit.measures.paths.logits import IDENTITY_UNITS, READOUT_UNITS, ROW_UNITS, path_logits
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_paths, figures_paths
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    steps = record.manifest.steps
    deeper = [steps[-1] if step == "final" else step for step in settings.second_order]
    decoder = CountingDecoder(record.decoder)
    tables = path_logits(
        decoder,
        record.theta,
        steps,
        record.probes(settings.split),
        record.value_ids,
        deeper,
        settings.top,
        settings.ablation,
    )

    one = "one path to one target"
    write_rows(out.rows, tables.rows, ROW_UNITS, one)
    write_rows(out.second_order_table, tables.second_order, ROW_UNITS, f"{one}, or one chain")
    write_rows(out.readout, tables.readout, READOUT_UNITS, "one target read at one stage")
    write_rows(out.ablations, tables.ablations, direct_effects.UNITS, "one measure of a component")
    write_rows(out.identities, tables.identities, IDENTITY_UNITS, "one identity for one target")
    figures_paths.trajectories(tables.rows, out.trajectories)
    figures_paths.second_order(tables.second_order, max(deeper), out.second_order)
    figures_paths.stages(tables.readout, out.stages)
    figures_paths.direct_and_ablated(tables.ablations, max(deeper), out.direct_and_ablated)
    publish(
        accounts_paths.paths(*tables, settings.ablation, decoder.passes, decoder.settings.n_layers),
        facts,
        seeds={"run": record.manifest.seed},
    )
