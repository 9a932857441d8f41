"""Whether features from before birth tell in which order a study's routes are born."""

from __future__ import annotations

from circuit.artifacts import read_rows
from circuit.kinds.foretold.settings import Settings
from circuit.measures.replication.foretold import ROW_UNITS, foretold, study_rows
from circuit.measuring import Job, Measured, Table


def measure(job: Job[Settings]) -> Measured:
    """Scores of every predictor, births, and from when on their order could be known."""
    asked, runs = job.settings, job.facts.runs
    features = [read_rows(file) for file in job.given["features"]]
    features = [rows[(rows["against"] == "") & (rows["feature"] == "")] for rows in features]
    scans = [read_rows(file) for file in job.given["scan"]]
    told = {
        threshold: foretold(features, scans, runs, asked.measure, threshold)
        for threshold in dict.fromkeys((asked.threshold, *asked.other_thresholds))
    }
    cutoffs = sorted({int(step) for rows in features for step in rows["step"]})
    rows, own = study_rows(told, cutoffs, asked.seed), told[asked.threshold][0]
    return Measured(
        tables={
            "rows": Table(rows, "one score of one predictor, or one birth", {"threshold": "share"}),
            "predictions": Table(own, "one predictor's place of one candidate", ROW_UNITS),
        },
        facts={"cutoffs": len(cutoffs), "predictors": own["predictor"].nunique()},
        seeds={"bootstrap": asked.seed},
    )
