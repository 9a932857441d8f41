"""Which families of features there are, what they do to the answer, and since when."""

from typing import Any

from circuit.reports.findings import Finding, Says, When
from circuit.reports.sections import WRITES
from circuit.reports.views import Cells, Curves, Dots, Listing, Not

SECTION = WRITES
QUESTION = (
    "Which features agree, what do such families carry of the answer, and when do they begin to?"
)
_RANDOM = "random features of the same rate"
_FAMILY = Not("all features", "")
_PARTS = Not("the whole score", "")
_CALLED = "{family} ({label:words} {group}; features {members})"


def _beside(name: str, measure: str, number: str, says: Says = "", **where: Any) -> Finding:
    """Something of every family (or two, or its first member) beside random features."""
    rows = {"measure": measure, "family": _FAMILY, **where}
    each = ("family", "rival") if measure in ("interaction", "difference") else ("family",)
    control = ({"against": _RANDOM},)
    return Finding(name, rows, each=each, control=control, number=number, says=says)


FINDINGS = (
    _beside(
        "what a family carries",
        "effect_share",
        "share of what all features at {role} do for the margin, family {family}",
        {
            "shown": f"Family {_CALLED} carries the answer: ablating it at {{role:words}} takes "
            "{effect} of the margin that all features there give, against {control:short} for "
            f"{_RANDOM}.",
            "open": f"That family {_CALLED} carries more of the answer than {_RANDOM} is not shown "
            "({effect}, against {control:short}).",
            "opposite": f"Family {_CALLED} carries less of the answer than {_RANDOM}: {{effect}}, "
            "against {control:short}.",
        },
        step="last",
    ),
    Finding(
        "what a family tells",
        {"measure": "label_share"},
        each=("family",),
        control=({"against": "shuffled labels"},),
        number="variance of the activation of {family} that the {label:words} explains",
    ),
    _beside(
        "how far a family's features agree",
        "agreement",
        "agreement of the features of {family} on other programs",
        {
            "shown": "The features of {family} agree on programs that did not choose them, too: "
            "{effect}, against {control:short}."
        },
    ),
    When(
        "a family becomes active",
        {"measure": "born_active"},
        each=("family",),
        number="from when {family} is at least half as active as at the end",
        says={"shown": "{family} is active from step {effect.mean:,.0f} on."},
    ),
    When(
        "a family becomes useful",
        {"measure": "born_useful"},
        each=("family",),
        number=f"from when ablating {{family}} costs more than {_RANDOM}",
        says={
            "shown": "{family} is useful from step {effect.mean:,.0f} on.",
            "open": "{family} is not shown to be useful to the end.",
        },
    ),
    _beside(
        "the member that carries most",
        "member_effect",
        "margin lost without feature {member} alone, the first of {family}",
        rank="1",
    ),
    _beside(
        "how a family's effect changed",
        "effect_change",
        "effect of {family} at step {step} less that at step {earlier}",
        {"shown": "From step {earlier} to step {step} the effect of {family} grew by {effect}."},
    ),
    _beside(
        "what a family's later part brings an earlier state",
        "sub_patch",
        "margin that the last state's {family} brings to step {step}",
        {
            "shown": "Put into the state of step {earlier}, the last one's {family} raises the "
            "margin by {effect}."
        },
    ),
    _beside(
        "what a family carries of a pair's difference",
        "pair_patch_share",
        "share of the {pair:words} pairs' contrast moved by {family}",
        {
            "shown": "With the other program's part of a {pair:words} pair, {family} moves "
            "{effect} of what all features move."
        },
    ),
    Finding(
        "what feeds a family",
        {"measure": "lineage_share", "component": _PARTS},
        each=("family",),
        pick=("component",),
        control=({"against": _RANDOM},),
        number="share of the score of {family} lost without {component}",
        says={
            "shown": "Of {of} earlier writes {component} feeds {family} most: without it "
            "{effect} of its activation is lost.",
            "open": f"No earlier write is shown to feed {{family}} more than {_RANDOM}.",
        },
    ),
    _beside(
        "whether two families stand in for each other",
        "interaction",
        "cost of ablating {family} and {rival} beyond the sum of either",
        {
            "shown": "{family} and {rival} stand in for each other: together they cost {effect} "
            "more than the sum of either.",
            "opposite": "{family} and {rival} need each other: together they cost less than the "
            "sum of either, by {effect}.",
        },
    ),
    _beside(
        "which of two families carries more",
        "difference",
        "cost of ablating {family} less that of {rival}",
    ),
)
VIEWS = (
    Curves(
        "trajectories",
        "How active families are over training, and what ablating them costs",
        caption="Mean activation of a family at its role, and what the margin loses without it, "
        "on programs that did not choose it.",
        where={"measure": ("score", "effect"), "family": _FAMILY},
        series="against",
        panels=("family", "measure"),
        control=(_RANDOM,),
    ),
    Dots(
        "births",
        "When families become active, and when useful",
        caption="Active: from when on its score is at least half the last one. Useful: from when "
        "on ablating the family costs more than ablating " + _RANDOM + ".",
        where={"measure": ("born_active", "born_useful")},
        y=("family", "measure"),
    ),
    Dots(
        "members",
        "What the margin loses without single features",
        caption="Each beside features that fire as often, in the order of the programs that chose.",
        where={"measure": "member_effect"},
        y=("family", "member"),
        control=(_RANDOM,),
    ),
    Dots(
        "sub_patches",
        "What a family's part of another state does",
        caption="The last checkpoint's part put into step {earlier}, and the other program's part "
        "of a pair put into the last checkpoint.",
        where={"measure": ("sub_patch", "pair_patch"), "family": _FAMILY},
        y=("measure", "family"),
        control=(_RANDOM,),
    ),
    Dots(
        "lineage",
        "What feeds families: share of the score lost without an earlier write",
        where={"measure": "lineage_share", "component": _PARTS},
        y=("family", "component"),
        control=(_RANDOM,),
    ),
    Cells(
        "competition",
        "What ablating two families costs beyond the sum of either",
        caption="Above 0 they stand in for each other, below 0 they need each other.",
        where={"measure": "interaction"},
        x="family",
        y="rival",
        control=(_RANDOM,),
    ),
)
TABLES = (
    Listing(
        "Families side by side, over training",
        {"measure": ("score", "effect", "effect_share"), "family": _FAMILY},
        keys=("family", "measure", "step"),
        control=(_RANDOM,),
    ),
    Listing(
        "Families: the label that tells them, and the share of their variance that it explains",
        {"measure": "label_share"},
        keys=("family", "label", "group", "members"),
        control=("shuffled labels",),
    ),
    Listing(
        "How families change from step {earlier} to the last",
        {"measure": ("score_change", "effect_change"), "family": _FAMILY},
        keys=("family", "measure"),
        control=(_RANDOM,),
    ),
    Listing(
        "Two families: which carries more, what they cost beyond the sum, and their order-averaged "
        "costs",
        {"measure": ("difference", "interaction", "order_averaged")},
        keys=("measure", "family", "rival"),
        control=(_RANDOM,),
    ),
    Listing(
        "Agreement of a family's features, and how often they were together",
        {"measure": ("agreement", "together")},
        keys=("family", "measure"),
        control=(_RANDOM,),
    ),
)
