"""Whether one dictionary serves all checkpoints, and what its features tell."""

from typing import Any

from circuit.reports.findings import Finding, When
from circuit.reports.sections import WRITES
from circuit.reports.views import Curves, Dots, Drawn, Listing

SECTION = WRITES
QUESTION = (
    "Does one dictionary of features serve the states at {stage} of all checkpoints, and what do "
    "its features tell?"
)
_EXPLAINS = (
    "One dictionary of {size} features explains {effect} of the variance of states at {stage} at "
    "step {step}"
)
_SHARE = "variance of activation that the label explains, family {family}"
_CONTEXT = {"named_by": "context"}


def _births(found: Any, path: str) -> None:
    from circuit.reports.bespoke.feature_births import feature_births

    feature_births(found.tables["rows"], found.tables["features"], path)


FINDINGS = (
    Finding(
        name="explains states",
        where={"measure": "r2", "step": "last"},
        control=({"against": "principal components"},),
        number="variance explained by the dictionary, at step {step}",
        says={
            "shown": _EXPLAINS + ", {excess} more than as many principal components.",
            "open": _EXPLAINS + ", no more and no less than as many principal components "
            "({control:short}).",
            "opposite": _EXPLAINS + ", less than as many principal components ({excess}).",
        },
    ),
    When(
        name="explains half",
        where={"measure": "explains_half"},
        uncontrolled="a landmark of one curve",
        says={
            "shown": "From step {effect.mean:,.0f} on it explains at least half of it.",
            "open": "At the end of training it explains less than half.",
        },
        marks={
            "open": "The dictionary leaves more than half of the last checkpoint's variance "
            "unexplained: scores of its features say little about the states."
        },
    ),
    Finding(
        name="features active on a state",
        where={"measure": "active_features", "step": "last"},
        uncontrolled="how sparse it is depends on the sparsity asked for",
        number="features active on a state, at step {step}",
        says="{effect:short} features are active on a state",
    ),
    Finding(
        name="dead features",
        where={"measure": "dead_share", "step": "last"},
        uncontrolled="a share of all features, counted",
        number="dead features, at step {step}",
        says="and {effect:short} of them are dead at step {step}.",
    ),
    Finding(
        name="what a family tells",
        where={"measure": "label_share", **_CONTEXT},
        each=("family",),
        control=({"against": "shuffled labels"},),
        number=_SHARE,
        says={
            "shown": "The {label:words} at {role:words} explains {effect:short} of the variance of "
            "the activation of features {members} on held-out programs (shuffled labels "
            "{control:short}).",
            "open": "No features tell the {label:words} at {role:words}: it explains "
            "{effect:short} of the variance of the best ones' activation on held-out programs, and "
            "shuffled labels {control}.",
            "opposite": "No features tell the {label:words} at {role:words}: it explains less of "
            "their activation ({effect}) than shuffled labels.",
        },
    ),
    Finding(
        name="what a family tells that the token names",
        where={"measure": "label_share", "named_by": "token"},
        each=("family",),
        control=({"against": "shuffled labels"},),
        number=_SHARE + " (the token itself names the label)",
        quiet=True,
    ),
    Finding(
        name="how active a family becomes",
        where={"measure": "score", "step": "last", **_CONTEXT},
        each=("family",),
        control=({"step": "first"}, {"against": "other features"}),
        bound=None,
        number="score of family {family} at step {step}",
        quiet=True,
    ),
    When(
        name="{family} rose most by",
        where={"measure": "rise_ends", **_CONTEXT},
        each=("family",),
        uncontrolled="a landmark of one curve",
        says={"shown": "Family {family} rose most up to step {effect.mean:,.0f}."},
    ),
)
VIEWS = (
    Curves(
        name="reconstruction",
        title="What the dictionary explains of states",
        caption="Share of the variance of held-out states that the dictionary explains at every "
        "checkpoint, against as many principal components as features are active there.",
        where={"measure": "r2", "against": ("", "principal components")},
        series="against",
    ),
    Curves(
        name="activity",
        title="How many features are active",
        caption="Features active on a state, and the share of features that are dead.",
        where={"measure": ("active_features", "dead_share")},
        panels=("measure",),
    ),
    Drawn(
        name="feature_births",
        title="When features are born",
        caption="Features that are active at each checkpoint, and those that are born and gone "
        "there, by what they fire on at the end.",
        draw=_births,
    ),
    Curves(
        name="feature_families",
        title="How active families of features become",
        caption="Mean activation of every family at its role over training, on programs that did "
        "not choose it: the scalar feature_score. Control: all other features that fire there. "
        "Token: the token itself names the label.",
        where={"measure": "score", "against": ("", "other features")},
        panels=("label", "role", "named_by"),
        series="against",
    ),
    Dots(
        name="told",
        title="What families of features tell at step {last}",
        caption="Share of the variance of their features' activation that the label explains.",
        where={"measure": "label_share"},
        y=("label", "role", "named_by"),
        control=("shuffled labels",),
    ),
)
TABLES = (
    Listing(
        title="Variance explained at checkpoints",
        where={"measure": "r2"},
        keys=("step",),
        control=("principal components", "excess"),
    ),
    Listing(
        title="Active and dead features at checkpoints",
        where={"measure": ("active_features", "dead_share")},
        keys=("step",),
        across="measure",
    ),
    Listing(
        title="Families of features: the share of their activation's variance that the label "
        "explains on held-out programs",
        where={"measure": "label_share"},
        keys=("family", "named_by", "members"),
        control=("shuffled labels",),
    ),
    Listing(
        title="Families' mean activation at the first and the last checkpoint",
        where={"measure": "score", "step": ("first", "last")},
        keys=("family", "step"),
        control=("other features",),
    ),
    Listing(
        title="Families: told features, and the steps between which the score rose most",
        where={"measure": ("members_told", "rise_begins", "rise_ends")},
        keys=("family",),
        across="measure",
    ),
    Listing(
        title="What features fire on",
        where={"measure": ("features", "told_features", "median_share")},
        keys=("role", "label", "named_by"),
        across="measure",
    ),
    Listing(
        title="Features that are told most by what the token does not name",
        table="features",
        where={"told": "yes", **_CONTEXT},
        keys=("feature", "role", "label", "group", "fires_on", "born", "gone"),
        sort=True,
        top=20,
        control=("shuffled labels",),
    ),
)
