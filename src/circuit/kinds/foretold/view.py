"""Whether it could be known before birth which routes training would reinforce."""

from typing import Any

from circuit.reports.findings import Finding, When
from circuit.reports.sections import FORETOLD
from circuit.reports.views import Cells, Curves, Drawn, Listing, Not

SECTION = FORETOLD
QUESTION = "Could it be known before birth which routes training would reinforce?"
_BASELINES = ("strength", "gradient_norm", "layer")
_JUDGED = ("ranking", *_BASELINES)
_OURS = {"threshold": "$threshold", "run": "pooled"}
_AT_ONCE = {"measure": "rank_correlation", "holds": "at once", "run": "pooled"}
_HERE = {**_AT_ONCE, "threshold": "$threshold"}
_ALONE = {"measure": "rank_correlation", "holds": "alone"}
_HITS = {"measure": ("first_born", "strongest_at_end"), "predictor": _JUDGED, **_OURS}
_RANDOM = ({"against": "random orders"},)
_COUNTED = "it is counted, not estimated"
_BEST = "where the ranking agrees best with the order of births, at step {step} of {of} cutoffs, "
_NUMBERS = "{effect}, {excess} beyond random orders, for all cutoffs at once."


def _birth_order(material: Any, path: str) -> None:
    from circuit.reports.bespoke.birth_order import birth_order

    birth_order(material.tables["rows"], material.settings["threshold"], path)


FINDINGS = (
    Finding(
        "births",
        {"measure": "births", **_OURS},
        uncontrolled=_COUNTED,
        says={"open": "There was nothing to foretell: no candidate route was born."},
    ),
    Finding("candidate routes", {"measure": "routes", **_OURS}, uncontrolled=_COUNTED),
    Finding(
        "runs",
        {"measure": "runs", **_OURS},
        bound=5,
        uncontrolled=_COUNTED,
        marks={
            "opposite": "{effect.short} runs: intervals over so few are rough and wide. Heads of "
            "one model are no independent draws either."
        },
    ),
    When(
        "known from",
        {"measure": "known_from", **_OURS},
        uncontrolled="random orders and every baseline are what it must lie beyond",
        says={
            "shown": "It could be known before birth which routes training would reinforce: at "
            "{effect.short} the ranking agrees with the order of births better than chance and "
            "than every baseline.",
            "open": "That it could be known before birth which routes training would reinforce is "
            "not shown: at no cutoff is the ranking beyond both chance and every baseline.",
        },
    ),
    Finding(
        "ranking at its best cutoff",
        {**_HERE, "predictor": "ranking"},
        pick=("step",),
        control=_RANDOM,
        number="rank correlation of the ranking at its best cutoff, step {step}",
        says={
            "shown": "It is beyond chance " + _BEST + _NUMBERS,
            "open": "It is not beyond chance even " + _BEST + _NUMBERS,
        },
    ),
    Finding(
        "baseline at its best cutoff",
        {**_HERE, "predictor": _BASELINES},
        each=("predictor",),
        pick=("step",),
        control=_RANDOM,
        number="rank correlation of {predictor:words} at its best cutoff, step {step}",
        says={"shown": "By itself {predictor:words} tells, best at step {step}: {effect}."},
    ),
    Finding(
        "ranking ahead of a baseline",
        {**_HERE, "measure": "advantage"},
        each=("over",),
        pick=("step",),
        uncontrolled="it is the difference from a control, within each run",
        number="advantage of the ranking over {over:words} at its best cutoff, step {step}",
    ),
    Finding(
        "first predicted",
        {**_HITS, "predictor": "ranking", "step": "last"},
        each=("measure",),
        spoken={"measure": "first_born"},
        control=({"against": "drawing a candidate"},),
        number="whom the ranking puts first at step {step}: {measure:words}",
        says="Whom it puts first at step {step}, the last cutoff, is the first born in {effect} of "
        "{effect.count} runs, against {control.short} by drawing.",
    ),
    Finding(
        "births drawn at another threshold",
        {**_AT_ONCE, "predictor": "ranking", "threshold": "$other_thresholds"},
        each=("threshold",),
        pick=("step",),
        control=_RANDOM,
        number="rank correlation of the ranking at step {step}, births at {threshold:.0%}",
        says={
            "shown": "With births drawn at {threshold:.0%} of the largest final strength it is "
            "beyond chance at its best cutoff, step {step}: {effect.short}.",
            "open": "With births drawn at {threshold:.0%} of the largest final strength it is not "
            "beyond chance at its best cutoff either, step {step}: {effect.short}.",
        },
    ),
    Finding(
        "births after a cutoff",
        {"measure": "later_births", **_OURS},
        each=("step",),
        uncontrolled=_COUNTED,
        number="routes born after step {step}",
        marks={"open": "Nothing was left to foretell at step {step}."},
    ),
)
VIEWS = (
    Drawn(
        "predicted_order",
        "Predicted order and actual order of births",
        caption="The place that the ranking gives every candidate at each cutoff, and the order in "
        "which routes were born afterwards.",
        draw=_birth_order,
    ),
    Curves(
        "scores",
        "Rank correlation of predicted order with order of births, by cutoff",
        caption="How well the ranking and the baselines foretell the order of births; means over "
        "runs.",
        where={**_ALONE, "predictor": _JUDGED, **_OURS},
        panels=("predictor",),
        control=("random orders",),
    ),
    Cells(
        "hits",
        "Whom a predictor puts first: first born, and strongest at the end",
        caption="In how many runs the route predicted first is the first born, and becomes the "
        "strongest; in brackets the share that drawing a candidate has.",
        where=_HITS,
        x="step",
        y="predictor",
        panels=("measure",),
        control=("drawing a candidate",),
    ),
    Cells(
        "features",
        "What each feature tells by itself: rank correlation with the order of births",
        caption="The larger a feature, the earlier the birth. So many features were looked at that "
        "some exceed chance by chance.",
        where={**_ALONE, "predictor": Not(*_JUDGED), **_OURS},
        x="step",
        y="predictor",
    ),
)
TABLES = (
    Listing(
        "The ranking at every cutoff: pooled rank correlation, and its excess over random orders, "
        "for all cutoffs at once",
        {**_HERE, "predictor": "ranking", "against": ("", "random orders", "excess")},
        keys=("step", "against"),
    ),
    Listing(
        "How far the ranking is ahead of the baselines, for all cutoffs at once",
        {**_HERE, "measure": "advantage"},
        keys=("over", "step"),
    ),
    Listing(
        "Baselines by themselves, for all cutoffs at once",
        {**_HERE, "predictor": _BASELINES},
        keys=("predictor", "step"),
        control=("excess",),
    ),
    Listing(
        "Candidates and later births at every cutoff",
        {"measure": ("candidates", "later_births"), **_OURS},
        keys=("step",),
        across="measure",
    ),
    Listing(
        "Births: first checkpoint from which on a route has {threshold:.0%} of the largest final "
        "strength; not defined where a route is never born",
        {"measure": ("birth", "birth_order", "final_strength"), "threshold": "$threshold"},
        keys=("run", "head"),
        across="measure",
    ),
    Listing(
        "Final strengths, and the level that a birth must reach",
        {"measure": ("birth_level", "final_strength"), "threshold": "$threshold"},
        keys=("run", "measure", "head"),
    ),
    Listing(
        "Pooled rank correlation of every predictor with the order of births, by cutoff",
        {**_ALONE, **_OURS},
        keys=("predictor",),
        across="step",
    ),
    Listing(
        "Hits of the route predicted first",
        _HITS,
        keys=("measure", "predictor", "step"),
        control=("drawing a candidate",),
    ),
    Listing(
        "Rank correlation of the ranking in every run",
        {**_ALONE, "predictor": "ranking", "threshold": "$threshold"},
        keys=("run", "step"),
    ),
    Listing(
        "The ranking and the baselines where births are drawn at other thresholds, for all cutoffs "
        "at once",
        {**_AT_ONCE, "threshold": "$other_thresholds"},
        keys=("threshold", "predictor", "step"),
        control=("excess",),
    ),
)
MARKS = (
    "{facts[cutoffs]} cutoffs and {facts[predictors]} predictors were looked at. What is said of "
    "the ranking and the baselines holds at all cutoffs at once; the 95% intervals of the figures "
    "do not.",
)
