"""Whether it could be known before birth which routes training would reinforce."""

from typing import Any

from circuit.reports.findings import Finding, When
from circuit.reports.sections import FORETOLD
from circuit.reports.views import Cells, Curves, Drawn, Listing, Not

SECTION = FORETOLD
QUESTION = "Could it be known before birth which routes training would reinforce?"
_BASELINES = ("strength", "gradient_norm", "layer")
_OURS = {"threshold": "$threshold", "run": "pooled"}
_AT_ONCE = {"measure": "rank_correlation", "holds": "at once", "run": "pooled"}
_RANDOM = ({"against": "random orders"},)
_DRAWN = ({"against": "drawing a candidate"},)
_COUNTED = "it is counted, not estimated"
_BEST = "where the ranking agrees best with the order of births, at step {step} of {of} cutoffs, "
_NUMBERS = "{effect}, {excess} beyond random orders, for all cutoffs at once."


def _birth_order(material: Any, path: str) -> None:
    from circuit.reports.bespoke.birth_order import birth_order

    birth_order(material.tables["rows"], material.settings["threshold"], path)


FINDINGS = (
    Finding(
        name="births",
        where={"measure": "births", **_OURS},
        uncontrolled=_COUNTED,
        says={"open": "There was nothing to foretell: no candidate route was born."},
    ),
    Finding(
        name="candidate routes",
        where={"measure": "routes", **_OURS},
        uncontrolled=_COUNTED,
        quiet=True,
    ),
    Finding(
        name="runs",
        where={"measure": "runs", **_OURS},
        bound=5,
        uncontrolled=_COUNTED,
        quiet=True,
        marks={
            "opposite": "{effect.short} runs: intervals over so few are rough and wide. Heads of "
            "one model are no independent draws either."
        },
    ),
    When(
        name="known from",
        where={"measure": "known_from", **_OURS},
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
        name="ranking at its best cutoff",
        where={**_AT_ONCE, "predictor": "ranking", "threshold": "$threshold"},
        pick=("step",),
        control=_RANDOM,
        number="rank correlation of the ranking at its best cutoff, step {step}",
        says={
            "shown": "It is beyond chance " + _BEST + _NUMBERS,
            "open": "It is not beyond chance even " + _BEST + _NUMBERS,
        },
    ),
    Finding(
        name="baseline at its best cutoff",
        where={**_AT_ONCE, "predictor": _BASELINES, "threshold": "$threshold"},
        each=("predictor",),
        pick=("step",),
        control=_RANDOM,
        number="rank correlation of {predictor:words} at its best cutoff, step {step}",
        says={"shown": "By itself {predictor:words} tells, best at step {step}: {effect}."},
    ),
    Finding(
        name="ranking ahead of a baseline",
        where={**_AT_ONCE, "measure": "advantage", "threshold": "$threshold"},
        each=("over",),
        pick=("step",),
        uncontrolled="it is the difference from a control, within each run",
        number="advantage of the ranking over {over:words} at its best cutoff, step {step}",
        quiet=True,
    ),
    Finding(
        name="first predicted is first born",
        where={"measure": "first_born", "predictor": "ranking", "step": "last", **_OURS},
        control=_DRAWN,
        number="whom the ranking puts first at step {step} is first born",
        says="Whom it puts first at step {step}, the last cutoff, is the first born in {effect} of "
        "{effect.count} runs, against {control.short} by drawing.",
    ),
    Finding(
        name="first predicted is strongest at the end",
        where={"measure": "strongest_at_end", "predictor": "ranking", "step": "last", **_OURS},
        control=_DRAWN,
        number="whom the ranking puts first at step {step} is strongest at the end",
        quiet=True,
    ),
    Finding(
        name="births drawn at another threshold",
        where={**_AT_ONCE, "predictor": "ranking", "threshold": "$other_thresholds"},
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
        name="births after a cutoff",
        where={"measure": "later_births", **_OURS},
        each=("step",),
        uncontrolled=_COUNTED,
        number="routes born after step {step}",
        quiet=True,
        marks={"open": "Nothing was left to foretell at step {step}."},
    ),
)
VIEWS = (
    Drawn(
        name="predicted_order",
        title="Predicted order and actual order of births",
        caption="The place that the ranking gives every candidate at each cutoff, and the order in "
        "which routes were born afterwards.",
        draw=_birth_order,
    ),
    Curves(
        name="scores",
        title="Rank correlation of predicted order with order of births, by cutoff",
        caption="How well the ranking and the baselines foretell the order of births; means over "
        "runs.",
        where={
            "measure": "rank_correlation",
            "predictor": ("ranking", *_BASELINES),
            "holds": "alone",
            **_OURS,
        },
        panels=("predictor",),
        control=("random orders",),
    ),
    Cells(
        name="hits",
        title="Whom a predictor puts first: first born, and strongest at the end",
        caption="In how many runs the route predicted first is the first born, and becomes the "
        "strongest; in brackets the share that drawing a candidate has.",
        where={
            "measure": ("first_born", "strongest_at_end"),
            "predictor": ("ranking", *_BASELINES),
            **_OURS,
        },
        x="step",
        y="predictor",
        panels=("measure",),
        control=("drawing a candidate",),
    ),
    Cells(
        name="features",
        title="What each feature tells by itself: rank correlation with the order of births",
        caption="The larger a feature, the earlier the birth. So many features were looked at that "
        "some exceed chance by chance.",
        where={
            "measure": "rank_correlation",
            "predictor": Not("ranking", *_BASELINES),
            "holds": "alone",
            **_OURS,
        },
        x="step",
        y="predictor",
    ),
)
TABLES = (
    Listing(
        title="The ranking at every cutoff: pooled rank correlation, and its excess over random "
        "orders, for all cutoffs at once",
        where={
            **_AT_ONCE,
            "predictor": "ranking",
            "threshold": "$threshold",
            "against": ("", "random orders", "excess"),
        },
        keys=("step", "against"),
    ),
    Listing(
        title="How far the ranking is ahead of the baselines, for all cutoffs at once",
        where={**_AT_ONCE, "measure": "advantage", "threshold": "$threshold"},
        keys=("over", "step"),
    ),
    Listing(
        title="Baselines by themselves, for all cutoffs at once",
        where={**_AT_ONCE, "predictor": _BASELINES, "threshold": "$threshold"},
        keys=("predictor", "step"),
        control=("excess",),
    ),
    Listing(
        title="Candidates and later births at every cutoff",
        where={"measure": ("candidates", "later_births"), **_OURS},
        keys=("step",),
        across="measure",
    ),
    Listing(
        title="Births: first checkpoint from which on a route has {threshold:.0%} of the largest "
        "final strength; not defined where a route is never born",
        where={"measure": ("birth", "birth_order", "final_strength"), "threshold": "$threshold"},
        keys=("run", "head"),
        across="measure",
    ),
    Listing(
        title="Final strengths, and the level that a birth must reach",
        where={"measure": ("birth_level", "final_strength"), "threshold": "$threshold"},
        keys=("run", "measure", "head"),
    ),
    Listing(
        title="Pooled rank correlation of every predictor with the order of births, by cutoff",
        where={"measure": "rank_correlation", "holds": "alone", **_OURS},
        keys=("predictor",),
        across="step",
    ),
    Listing(
        title="Hits of the route predicted first",
        where={
            "measure": ("first_born", "strongest_at_end"),
            "predictor": ("ranking", *_BASELINES),
            **_OURS,
        },
        keys=("measure", "predictor", "step"),
        control=("drawing a candidate",),
    ),
    Listing(
        title="Rank correlation of the ranking in every run",
        where={
            "measure": "rank_correlation",
            "predictor": "ranking",
            "holds": "alone",
            "threshold": "$threshold",
        },
        keys=("run", "step"),
    ),
    Listing(
        title="The ranking and the baselines where births are drawn at other thresholds, for all "
        "cutoffs at once",
        where={**_AT_ONCE, "threshold": "$other_thresholds"},
        keys=("threshold", "predictor", "step"),
        control=("excess",),
    ),
)
MARKS = (
    "{facts[cutoffs]} cutoffs and {facts[predictors]} predictors were looked at. What is said of "
    "the ranking and the baselines holds at all cutoffs at once; the 95% intervals of the figures "
    "do not.",
)
