"""Candidate routes in one frame: strength, change, and whether training pushes them."""

from pathlib import Path

from circuit.artifacts import write_rows
from circuit.job import job
from circuit.kinds.route_competition.settings import Settings
from circuit.measures.births.named_window import window_steps
from circuit.measures.routes.competition import UNITS, run_routes
from circuit.measures.routes.ranking import RANKING_UNITS, early_signs, rank_routes
from circuit.model.counting import CountingDecoder
from circuit.reports import accounts_routes, figures_routes
from circuit.reports.publish import publish
from circuit.scalars.features import load_dictionaries
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    window = window_steps(settings.window, snakemake.input.get("windows"))
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    decoder, train_split = CountingDecoder(record.decoder), record.manifest.recipe.train_split
    dictionaries = load_dictionaries(settings.model_dump(), snakemake.input.get("dictionaries", []))
    frame, routes = run_routes(record, decoder, settings, window, dictionaries)
    first, last = frame.values[window[0]], frame.values[window[1]]
    ranking = rank_routes(routes, first, last)
    signs = early_signs(frame.rows, ranking.table, first, settings.seed)

    write_rows(out.rows, frame.rows, UNITS, "one measure of one route at one checkpoint")
    write_rows(out.ranking, ranking.table, RANKING_UNITS, "one route over the window")
    figures_routes.ranked(frame.rows, ranking.table, train_split, out.ranked)
    figures_routes.alignment(frame.rows, ranking.roles, out.alignment)
    publish(
        accounts_routes.competition(
            frame.rows,
            ranking.table,
            signs,
            ranking.confirmed,
            train_split,
            decoder.passes,
            frame.backward,
            decoder.settings.n_layers,
        ),
        facts,
        seeds={"run": record.manifest.seed, "exchanged answers": settings.seed},
    )
