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
_CONTEXT = {"named_by": "context"}
_RECOVERED = ("ce_recovered", "kl_recovered", "ce_recovered_of_zero", "kl_recovered_of_zero")


def _births(found: Any, path: str) -> None:
    from circuit.reports.bespoke.feature_births import feature_births

    feature_births(found.tables["rows"], found.tables["features"], path)


FINDINGS = (
    Finding(
        "explains states",
        {"measure": "explained_variance", "step": "last"},
        control=({"against": "principal components"}, {"against": "frozen decoder"}),
        number="variance explained by the dictionary, at step {step}",
        says="That a dictionary of {size} features explains more than as many principal components "
        "and than random features {is_shown}: {effect} of the variance of states at {stage} at "
        "step {step}, {excess} more than the components.",
    ),
    When(
        "explains half",
        {"measure": "explains_half"},
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
        "features active on a state",
        {"measure": "active_features", "step": "last"},
        uncontrolled="how sparse it is depends on the sparsity asked for",
        says="{effect:short} features are active on a state",
    ),
    Finding(
        "dead features",
        {"measure": "dead_share", "step": "last"},
        uncontrolled="a share of all features, counted",
        says="and {effect:short} of them are dead at step {step}.",
    ),
    Finding(
        "keeps the answer",
        {"measure": "ce_recovered"},
        control=({"against": "principal components"}, {"against": "frozen decoder"}),
        number="cross entropy of the answer that the dictionary's states recover, at step {step}",
        says="That its states keep more of the answer than those of the components and of random "
        "features {is_shown}: in the place of the states they recover {effect} of the cross "
        "entropy that is lost when all states are their mean.",
    ),
    Finding(
        "keeps the distribution",
        {"measure": "kl_recovered"},
        control=({"against": "principal components"}, {"against": "frozen decoder"}),
        number="divergence from the clean answers that its states recover, at step {step}",
    ),
    Finding(
        "found again with another seed",
        {"measure": "matched_cosine"},
        control=({"against": "random directions"},),
        bound=None,
        number="cosine of features with those of other seeds, matched one to one",
        says="Matched one to one, features of dictionaries that differ in nothing but their seed "
        "agree by {effect} (random directions {control:short}): what is told of a single feature "
        "is told of this dictionary.",
    ),
    Finding(
        "what a family tells",
        {"measure": "label_share", **_CONTEXT},
        each=("family",),
        control=({"against": "shuffled labels"},),
        says="That features {members} tell the {label:words} at {role:words} {is_shown}: it "
        "explains {effect:short} of the variance of their activation on held-out programs "
        "(shuffled labels {control:short}).",
    ),
    Finding(
        "what a family tells that the token names",
        {"measure": "label_share", "named_by": "token"},
        each=("family",),
        control=({"against": "shuffled labels"},),
    ),
    Finding(
        "how active a family becomes",
        {"measure": "score", "step": "last", **_CONTEXT},
        each=("family",),
        control=({"step": "first"}, {"against": "other features"}),
        bound=None,
    ),
    When(
        "{family} rose most by",
        {"measure": "rise_ends", **_CONTEXT},
        each=("family",),
        says={"shown": "Family {family} rose most up to step {effect.mean:,.0f}."},
    ),
)
VIEWS = (
    Curves(
        "reconstruction",
        "What the dictionary explains of states",
        caption="Variance explained on held-out programs, beside that of as many principal "
        "components as features are active. Below 0 a state's mean would do better, as where "
        "states are small beside those of other checkpoints.",
        where={"measure": "explained_variance", "against": ("", "principal components")},
        series="against",
    ),
    Dots(
        "recovered",
        "What the dictionary's states keep of the answer at step {last}",
        caption="Share recovered of what an ablation of the states costs: cross entropy (CE) of "
        "the answer, and divergence (KL) from the clean distribution.",
        where={"measure": _RECOVERED},
        y=("measure",),
        control=("principal components", "frozen decoder"),
    ),
    Curves(
        "activity",
        "How many features are active",
        caption="Features active on a state, and the share of features that are dead.",
        where={"measure": ("active_features", "dead_share")},
        panels=("measure",),
    ),
    Drawn(
        "feature_births",
        "When features are born",
        caption="Features born, active and gone at each checkpoint, by what they fire on last.",
        draw=_births,
    ),
    Curves(
        "feature_families",
        "How active families of features become",
        caption="Mean activation of every family at its role, on programs that did not choose it, "
        "and of all other features that fire there.",
        where={"measure": "score", "against": ("", "other features")},
        panels=("label", "role", "named_by"),
        series="against",
    ),
    Dots(
        "told",
        "What families of features tell at step {last}",
        caption="Share of the variance of their activation that the label explains.",
        where={"measure": "label_share"},
        y=("label", "role", "named_by"),
        control=("shuffled labels",),
    ),
)
TABLES = (
    Listing(
        "Variance explained at checkpoints",
        {"measure": "explained_variance"},
        keys=("step",),
        control=("principal components", "frozen decoder"),
    ),
    Listing(
        "The answer at step {last} with other states in the place of the model's",
        {"measure": ("answer_loss", "kl")},
        keys=("measure",),
        control=("clean", "principal components", "frozen decoder", "mean ablation"),
    ),
    Listing(
        "Active and dead features at checkpoints",
        {"measure": ("active_features", "dead_share")},
        keys=("step",),
        across="measure",
    ),
    Listing(
        "Families of features: the share of their activation's variance that the label "
        "explains on held-out programs",
        {"measure": "label_share"},
        keys=("family", "named_by", "members"),
        control=("shuffled labels",),
    ),
    Listing(
        "Families' mean activation at the first and the last checkpoint",
        {"measure": "score", "step": ("first", "last")},
        keys=("family", "step"),
        control=("other features",),
    ),
    Listing(
        "Families: told features, and the steps between which the score rose most",
        {"measure": ("members_told", "rise_begins", "rise_ends")},
        keys=("family",),
        across="measure",
    ),
    Listing(
        "What features fire on",
        {"measure": ("features", "told_features", "median_share")},
        keys=("role", "label", "named_by"),
        across="measure",
    ),
    Listing(
        "Features that are told most by what the token does not name",
        {"told": "yes", **_CONTEXT},
        table="features",
        keys=("feature", "role", "label", "group", "fires_on", "born", "gone"),
        sort=True,
        top=20,
        control=("shuffled labels",),
    ),
)
