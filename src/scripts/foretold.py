"""Whether features from before birth tell in which order a study's routes are born."""

from functools import partial

from circuit.artifacts import read_rows, write_rows
from circuit.job import job
from circuit.kinds.foretold.settings import Settings
from circuit.measures.replication.foretold import SCORE_UNITS, judged, scores, verdicts
from circuit.measures.replication.selection import BIRTH_UNITS, ROW_UNITS, foretold
from circuit.reports import accounts_selection, figures_selection
from circuit.reports.publish import publish

with job(snakemake, torch=False) as facts:
    runs, given, out = snakemake.params.runs, snakemake.input, snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    features = [read_rows(file) for file in given.features]
    features = [rows[(rows["against"] == "") & (rows["feature"] == "")] for rows in features]
    scans = [read_rows(file) for file in given.scans]
    cutoffs = sorted({int(step) for table in features for step in table["step"]})
    of_study = partial(foretold, features, scans, runs, settings.measure)
    rows, born = of_study(settings.threshold)
    scored = scores(rows, settings.seed)
    told = verdicts(scored, cutoffs)
    others = {
        threshold: verdicts(scores(judged(of_study(threshold).rows), settings.seed), cutoffs)
        for threshold in settings.other_thresholds
    }

    write_rows(out.rows, rows, ROW_UNITS, "one predictor's place of one candidate at one cutoff")
    write_rows(out.births_table, born, BIRTH_UNITS, "one route of one run")
    write_rows(out.scores, scored, SCORE_UNITS, "one score of one predictor at one cutoff")
    figures_selection.predicted_order(rows, born, out.predicted_order)
    figures_selection.selection_scores(scored, told, out.selection_scores)
    publish(
        accounts_selection.foretold(scored, told, born, settings.threshold, others),
        facts,
        seeds={"bootstrap": settings.seed},
    )
