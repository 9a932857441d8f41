"""One program, one read, one checkpoint, told step by step."""

from pathlib import Path

from circuit.artifacts import write_rows
from circuit.job import job
from circuit.kinds.prompt_trace.settings import Settings
from circuit.measures.paths import matching, trace
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_trace, figures_trace
from circuit.reports.publish import publish
from circuit.reports.trace_page import write_trace_page
from circuit.reports.trace_story import ROW_UNITS, story
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    first, final = record.manifest.steps[0], record.manifest.steps[-1]
    step = final if settings.checkpoint == "final" else settings.checkpoint
    decoder, events = CountingDecoder(record.decoder), record.probes(settings.split)
    found, before = (
        trace.prompt_trace(
            decoder,
            record.theta(at),
            events,
            settings.event,
            record.benchmark.vocabulary,
            settings.top,
        )
        for at in (step, first)
    )
    told = {**found.facts, "step": step}
    control = {**before.facts, "step": first} if first != step else None
    rows = story(told, *found[1:], settings.top)

    tables = {
        "attention": (found.attention, trace.ATTENTION_UNITS),
        "writes": (found.writes, trace.WRITE_UNITS),
        "neurons": (found.neurons, trace.NEURON_UNITS),
        "lens": (found.lens, trace.LENS_UNITS),
        "paths": (found.paths, trace.PATH_UNITS),
        "matching": (found.matching, matching.MATCHING_UNITS),
    }
    write_rows(out.rows, rows, ROW_UNITS, "one step of the story")
    for name, (table, units) in tables.items():
        write_rows(out[name], table, units, "one number of one program")
    figures_trace.story(told, found.attention, found.paths, out.story)
    write_trace_page(
        out.trace,
        f"Study {facts.study} · run {facts.run} · step {step:,} · read {told['read_index']} of "
        f"{told['sample_id']}",
        told,
        rows,
        found.attention,
        {name: tables[name] for name in ("writes", "neurons", "lens", "paths", "matching")},
        out.story,
    )
    publish(
        accounts_trace.trace(
            told,
            control,
            rows,
            found.attention,
            found.writes,
            found.paths,
            found.matching,
            decoder.passes,
            decoder.settings.n_layers,
        ),
        facts,
        seeds={"run": record.manifest.seed},
    )
