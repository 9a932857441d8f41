"""How examples push on each other: inner products of single reads' gradients, by relation."""

from pathlib import Path

from circuit.artifacts import read_json, write_rows, write_tensors
from circuit.attribution.example_reads import READ_UNITS, run_examples
from circuit.attribution.gradient_relations import CONFLICT_UNITS, UNITS
from circuit.job import job
from circuit.kinds.example_gradients.settings import Settings
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_examples, figures_examples
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    decoder = CountingDecoder(record.decoder)
    found = run_examples(record, decoder, settings, read_json(snakemake.input.heads))
    routes = tuple(settings.routes)
    units = READ_UNITS | {f"alignment_{name}": "1" for name in routes}

    write_rows(out.rows, found.rows, UNITS, "one measure of one relation at one checkpoint")
    write_rows(out.reads_table, found.reads, units, "one read at one checkpoint")
    write_rows(out.conflicts, found.conflicts, CONFLICT_UNITS, "two groups at one checkpoint")
    write_tensors(out.products, found.tensors)
    figures_examples.relations(found.rows, out.relations)
    figures_examples.gradient_matrix(found.cosines, found.reads, out.gradient_matrix)
    figures_examples.conflict_graph(found.conflicts, out.conflict_graph)
    publish(
        accounts_examples.examples(
            found.rows,
            found.conflicts,
            routes,
            settings.groups,
            decoder.passes,
            found.backward,
            decoder.settings.n_layers,
        ),
        facts,
        seeds={"run": record.manifest.seed, "reads, bootstrap, shuffles": settings.seed},
    )
