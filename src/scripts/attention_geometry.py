"""Every head at every checkpoint: where it looks, what it reads there and what that is worth."""

from pathlib import Path

from circuit.artifacts import read_json, write_rows
from circuit.job import job
from circuit.kinds.attention_geometry.settings import Settings
from circuit.measures.heads.attention import ROW_UNITS, attention_geometry
from circuit.measures.heads.chain import MOVE_UNITS
from circuit.measures.heads.directions import DIRECTION_UNITS
from circuit.measures.heads.maps import MAP_UNITS
from circuit.measures.heads.patterns import PATTERN_UNITS
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_attention, figures_attention, figures_chain
from circuit.reports.passes import passes_number
from circuit.reports.publish import publish
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    selection = read_json(snakemake.input.heads)
    chosen = {role: selection[role] for role in ("winner", "runner_up", "bottom")}
    name = chosen.get(settings.head, settings.head)
    told = {settings.head if settings.head in chosen else "chosen": name}
    chain = told | {role: head for role, head in chosen.items() if head != name}
    decoder, events = CountingDecoder(record.decoder), record.probes(settings.split)
    found = attention_geometry(
        decoder,
        record.theta,
        record.manifest.steps,
        events,
        record.benchmark.vocabulary,
        list(chain.values()),
        settings.pictures,
        settings.directions,
        settings.tokens,
    )
    rows = found.rows
    masses = rows[(rows["head"] == name) & (rows["measure"] == "attention_mass")]

    write_rows(out.rows, rows, ROW_UNITS, "one measure of one head on one role")
    write_rows(out.maps, found.maps, MAP_UNITS, "attention of one head from one role to another")
    write_rows(out.moves, found.moves, MOVE_UNITS, "one link of one head's retrieval chain")
    write_rows(
        out.directions_table,
        found.directions,
        DIRECTION_UNITS,
        "one place or token on one side of one singular direction of one head",
    )
    write_rows(out.patterns_table, found.patterns, PATTERN_UNITS, "attention on one position")
    figures_attention.patterns(found.patterns, out.patterns)
    figures_attention.roles(masses, out.roles)
    figures_chain.chain(rows, chain, out.chain)
    figures_chain.maps_by_role(found.maps, out.maps_by_role)
    figures_chain.directions(found.directions, name, out.directions)
    passes = passes_number(decoder.passes, len(events), decoder.settings.n_layers)
    publish(
        accounts_attention.attention(
            rows, found.maps, found.directions, found.moves, chain, passes
        ),
        facts,
        seeds={"run": record.manifest.seed},
    )
