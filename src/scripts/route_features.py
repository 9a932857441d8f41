"""What can be known of every candidate route at some steps, from nothing later than each."""

from pathlib import Path

from circuit.artifacts import write_rows
from circuit.job import job
from circuit.kinds.route_features.settings import Settings
from circuit.measures.routes.early import UNITS, run_features
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_early, figures_early
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    decoder = CountingDecoder(record.decoder)
    found = run_features(record, decoder, settings)

    write_rows(out.rows, found.rows, UNITS, "one feature of one route at one cutoff")
    figures_early.route_features(found.rows, out.route_features)
    account = accounts_early.features(
        found.rows, decoder.passes, found.backward, decoder.settings.n_layers
    )
    publish(
        account,
        facts,
        seeds={"run": record.manifest.seed, "exchanged answers": settings.seed},
    )
