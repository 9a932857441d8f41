"""What carries a window's change: activations and weights put from one end into the other."""

from pathlib import Path

from circuit.artifacts import write_rows
from circuit.experiments.window_compare import EVENT_UNITS, UNITS, compare_ends
from circuit.job import job
from circuit.kinds.birth_window_compare.settings import Settings
from circuit.measures.births.named_window import window_steps
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_compare, figures_compare
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    window = window_steps(settings.window, snakemake.input.get("windows"))
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    decoder = CountingDecoder(record.decoder)
    rows, events = compare_ends(
        decoder,
        (record.theta(window[0]), record.theta(window[1])),
        window,
        record.probes(settings.split),
        record.value_ids,
        settings.roles,
        settings.groups,
        settings.seed,
    )

    write_rows(out.rows, rows, UNITS, "one part put into the other end, on one half of the events")
    write_rows(out.events, events, EVENT_UNITS, "one measure of one end on one event")
    figures_compare.activations(rows, out.activations)
    figures_compare.weights(rows, out.weights)
    publish(
        accounts_compare.compare(rows, events, window, decoder.passes, decoder.settings.n_layers),
        facts,
        seeds={"run": record.manifest.seed, "shuffled changes": settings.seed},
    )
