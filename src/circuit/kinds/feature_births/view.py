"""How many features are born when, beyond what nulls show; which, and what they tell."""

from typing import Any

from circuit.reports.findings import Finding, When
from circuit.reports.sections import FORMATION
from circuit.reports.views import Curves, Drawn, Listing, Not

SECTION = FORMATION
QUESTION = "When are features of the states at {stage} born, and what do the new ones tell?"
_LAST = {"step": "last"}
_SHUFFLED, _UNTRAINED, _EVEN = "shuffled time", "untrained models", "births spread evenly"
_NULLS = ({"against": _SHUFFLED}, {"against": _UNTRAINED})
_CONTEXT = {"named_by": "context"}


def _lives(found: Any, path: str) -> None:
    from circuit.reports.bespoke.feature_lives import feature_lives

    feature_lives(found.tables["curves"], found.tables["features"], path)


def _page(found: Any, path: str) -> None:
    from circuit.reports.bespoke.feature_page import write_feature_page

    write_feature_page(found, path)


FINDINGS = (
    Finding(
        "features that are born",
        {"measure": "born_share", **_LAST},
        control=_NULLS,
        number="features born after the first checkpoint",
        says={
            "shown": "{effect} of live features are born after the first checkpoint, in one step "
            "and confirmed by latent scaling, against {control} in shuffled time.",
            "open": "That features are born in the order of time is not shown: {effect} are, "
            "against {control} in shuffled time.",
        },
    ),
    When(
        "half of the births",
        {"measure": "half_born"},
        says={"shown": "Half of these births have happened by step {effect.mean:,.0f}."},
    ),
    Finding(
        "births cluster",
        {"measure": "same_checkpoint"},
        control=({"against": _EVEN},),
        number="chance that two births fall on the same checkpoint",
        says={
            "shown": "Births cluster: two of them fall on the same checkpoint with a chance of "
            "{effect}, against {control} were they spread evenly.",
            "open": "That births cluster is not shown ({effect} fall on the same checkpoint, "
            "against {control} were they spread evenly).",
        },
    ),
    Finding(
        "births by norm alone",
        {"measure": "born_by_norm", **_LAST},
        control=_NULLS,
        number="features born after the first checkpoint by their norms alone",
    ),
    When(
        "told features born by",
        {"measure": "told_born"},
        each=("label", "role"),
        spoken=_CONTEXT,
        number="step by which half of the births told by {label} at {role} have happened",
        says={
            "shown": "Of the new features that tell the {label:words} ({role:words}), half are "
            "born by step {effect.mean:,.0f}."
        },
    ),
    Finding(
        "explains states",
        {"measure": "r2", **_LAST},
        control=({"against": "principal components"},),
        number="variance explained by the crosscoder, at step {step}",
        says="That the crosscoder explains more of the states at step {step} than as many "
        "principal components of all checkpoints {is_shown}: {effect}, {excess} more.",
        marks={
            "opposite": "Principal components explain the last checkpoint's states better: births "
            "say little about them."
        },
    ),
    Finding(
        "features active on an input",
        {"measure": "active_features"},
        uncontrolled="how sparse it is is asked for",
    ),
    Finding("dead features", {"measure": "dead_share"}, uncontrolled="counted"),
)
VIEWS = (
    Drawn(
        "lives",
        "When features live",
        caption="Decoder norms of all features over checkpoints, in the order of their births.",
        draw=_lives,
    ),
    Curves(
        "births",
        "How many features are born at each checkpoint",
        caption="Confirmed births, beside those in shuffled time and in models never trained.",
        where={"measure": "births"},
        series="measure",
        control=(_SHUFFLED, _UNTRAINED),
    ),
    Curves(
        "shown_features",
        "Norms and latent scalings of features that are told",
        caption="The decoder's norm, and how much of the feature held-out states have: in what "
        "other features leave over, and in all. Where these are there before the norm is, the "
        "birth is the crosscoder's, not the model's.",
        table="curves",
        where={"measure": ("norm", "left_over", "in_states"), "shown": Not("")},
        series="measure",
        panels=("shown",),
    ),
    Curves(
        "reconstruction",
        "What the crosscoder explains of held-out states",
        where={"measure": "r2", "against": ("", "principal components")},
        series="against",
    ),
    Drawn("page", "What features fire on", suffix_=".html", draw=_page),
)
TABLES = (
    Listing(
        "What became of features",
        {"measure": "features"},
        keys=("life",),
    ),
    Listing(
        "Births of features that are told, and the step by which half of them have happened",
        {"measure": ("told_births", "told_born")},
        keys=("label", "role", "named_by"),
        across="measure",
    ),
    Listing(
        "Features that are born and told, by how well they are told",
        {"told": "yes", "life": "born"},
        table="features",
        keys=("feature", "role", "label", "group", "fires_on", "born", "born_left_over", "gone"),
        sort=True,
        top=20,
        control=("shuffled labels",),
    ),
    Listing(
        "Variance explained at checkpoints",
        {"measure": "r2"},
        keys=("step",),
        control=("principal components", "excess"),
    ),
)
