"""Whether features from before birth tell in which order a study's routes are born."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from circuit.artifacts import read_rows
from circuit.estimates import estimates, keys_of
from circuit.kinds.foretold.settings import Settings
from circuit.measures.replication.foretold import (
    ALONE,
    CORRELATION,
    DRAWN,
    FIRST_BORN,
    POOLED,
    RANDOM,
    STRONGEST,
    judged,
    known_from,
    scores,
)
from circuit.measures.replication.route_births import (
    BASELINES,
    RANKED,
    RANKING,
    ROW_UNITS,
    birth_rows,
    foretold,
)
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
    rows, own = study_rows(told, cutoffs, asked.seed), told[asked.threshold].rows
    return Measured(
        tables={
            "rows": Table(rows, "one score of one predictor, or one birth", {"threshold": "share"}),
            "predictions": Table(own, "one predictor's place of one candidate", ROW_UNITS),
        },
        facts={"cutoffs": len(cutoffs), "predictors": own["predictor"].nunique()},
        seeds={"bootstrap": asked.seed},
    )


def study_rows(told: Mapping[float, Any], cutoffs: Sequence[int], seed: int) -> pd.DataFrame:
    """All estimates, by the threshold at which a route counts as born.

    Args:
        told: :class:`circuit.measures.replication.route_births.Foretold` by threshold: of the first
            everything is told, of the others what the ranking and its baselines foretell.
    """
    parts: list[pd.DataFrame] = []
    for threshold, (rows, born) in told.items():
        first = not parts
        scored = scores(rows if first else judged(rows), seed)
        known = pd.DataFrame({"run": [POOLED], "mean": [known_from(scored)], "step": cutoffs[-1]})
        gaps = _undefined(scored, cutoffs)
        found = [scored, gaps, birth_rows(born), *_counts(born, cutoffs), _places(rows)]
        kept = found if first else [scored[scored["run"] == POOLED]]
        kept = [*kept, estimates(known, "step", measure="known_from")]
        one = pd.concat(kept, ignore_index=True)
        parts.append(one.assign(threshold=threshold))
    every = pd.concat(parts, ignore_index=True)
    return estimates(every.fillna(dict.fromkeys(keys_of(every), "")))


def _undefined(scored: pd.DataFrame, cutoffs: Sequence[int]) -> pd.DataFrame:
    """Pooled scores that are not defined, where the ranking or one of its features has none."""
    asked = {CORRELATION: (ALONE, RANDOM), FIRST_BORN: (ALONE, DRAWN), STRONGEST: (ALONE, DRAWN)}
    names = [RANKING, *(name for name in RANKED if name not in BASELINES)]
    there = set(scored[["measure", "step", "predictor"]].itertuples(index=False, name=None))
    rows = [
        (measure, step, name, holds, against)
        for measure, (holds, control) in asked.items()
        for step in cutoffs
        for name in names
        for against in ("", control)
        if (measure, step, name) not in there
    ]
    frame = pd.DataFrame(rows, columns=["measure", "step", "predictor", "holds", "against"])
    units = {CORRELATION: "correlation", FIRST_BORN: "share", STRONGEST: "share"}
    return estimates(frame.assign(mean=float("nan"), run=POOLED), units)


def _counts(born: pd.DataFrame, cutoffs: Sequence[int]) -> list[pd.DataFrame]:
    """How many runs, routes and births there are, and candidates that are left at each cutoff."""
    arrived = int(born["born"].sum())
    left = [len(born) - int((born["step"] <= step).sum()) for step in cutoffs]
    after = [int((born["step"] > step).sum()) for step in cutoffs]
    whole = {"runs": born["run"].nunique(), "routes": len(born), "births": arrived}
    parts = [
        pd.DataFrame({"measure": list(whole), "mean": list(whole.values()), "step": cutoffs[-1]}),
        pd.DataFrame({"measure": "candidates", "mean": left, "step": cutoffs}),
        pd.DataFrame({"measure": "later_births", "mean": after, "step": cutoffs}),
    ]
    return [estimates(part, "1", run=POOLED) for part in parts]


def _places(rows: pd.DataFrame) -> pd.DataFrame:
    """The place that the ranking gives every candidate of a run at each cutoff."""
    own = rows[rows["predictor"] == RANKING]
    places = own[["run", "head", "predictor", "step"]].assign(mean=own["predicted"])
    return estimates(places, "1", measure="predicted_place")
