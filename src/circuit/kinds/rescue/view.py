"""Where the answer's missing part enters again once a source is gone."""

from typing import Any

from circuit.reports.findings import Finding, Says, Sum
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Curves, Listing, Not, Where

SECTION = MECHANISM
QUESTION = "Where does what the answer lacks without a component enter again?"
_TOLD = {"ablation": "$ablations[0]"}
_SHARE = {"measure": "rescue_share", "step": "last"}
_LAST = {**_SHARE, **_TOLD}
_EACH: dict[str, Any] = {"each": ("source", "ablation"), "spoken": _TOLD}
_FREE = {"by_construction": ""}
_WRITE = {"repair": "write", "role": "all positions"}
_OTHERS, _ANOTHER = "answers of other programs", "states of another event"
_ALIKE, _RANDOM = "other groups of as many", "random subspaces of the same energy"
_OF = " where {source:words} is gone ({ablation}), at step {step}"


def _share(
    name: str,
    where: Where,
    says: Says,
    of: str = "{what}",
    controls: tuple[str, ...] = (_ANOTHER,),
    pick: tuple[str, ...] = ("what",),
    **more: Any,
) -> Finding:
    """A finding about the share that something brings back, of several the most."""
    number, where = f"share brought back by {of}{_OF}", {**_SHARE, **where}
    control = (_OTHERS, *controls)
    return Finding(
        name, where, pick=pick, control=control, number=number, says=says, **_EACH, **more
    )


_SETS = {"what": Not("all later components")}
FINDINGS = (
    Finding(
        "what is lost",
        {"repair": "whole", "measure": "rescue", "step": "last"},
        control=(_OTHERS,),
        number="answer lost" + _OF,
        says={
            "shown": "Without {source:words} the answer loses {effect} at step {step}.",
            "opposite": "Without {source:words} the answer gains: {effect}.",
            "open": "That the answer loses anything without {source:words} is not shown: {effect}.",
        },
        **_EACH,
    ),
    _share(
        "state that brings back most",
        {"repair": "state", **_FREE},
        {
            "shown": "Of what is lost without {source:words}, {effect} comes back as the state at "
            "{role:words}, {what:words}, alone is put back as it was.",
            "open": "No state of a single role, put back as it was, is shown to bring back what is "
            "lost without {source:words}.",
        },
        "the state at {role}, {what},",
        pick=("what", "role"),
    ),
    _share(
        "later write that brings back most",
        _WRITE,
        {
            "shown": "Of what {of} components behind {source:words} write, that of {what}, put "
            "back as it was, brings back most: {effect}.",
            "open": "No single write behind {source:words}, put back as it was, is shown to bring "
            "any of it back.",
        },
    ),
    _share(
        "later write that had made good most",
        _WRITE,
        {
            "opposite": "Without {source:words}, {what} writes otherwise than before and makes "
            "part of the loss good: put back as it was, its write brings {effect}.",
        },
        "{what} (smallest)",
        (),
        rank="smallest",
    ),
    _share(
        "input of a later head that brings back most",
        {"repair": "input"},
        {
            "shown": "Of single queries (q), keys (k) and values (v) of heads behind "
            "{source:words}, {what} brings back most: {effect}."
        },
    ),
    _share(
        "identity that brings back most",
        {"repair": "subspace", **_FREE},
        {
            "shown": "Without {source:words}, {subspace:words} at {role:words}, {what:words}, "
            "brings back {effect}, more than " + _RANDOM + ".",
            "open": "Without {source:words}, no identity in a state is shown to bring back more "
            "than its controls.",
        },
        "{subspace:words} at {role}, {what},",
        (_ANOTHER, "the other identity", _RANDOM),
        ("what", "role", "subspace"),
    ),
    _share(
        "group that brings back most",
        {"repair": "group", **_SETS},
        {
            "shown": "Without {source:words}, the writes of {what:words} together bring back "
            f"{{effect}}, more than those of {_ALIKE}.",
            "open": "Without {source:words}, no group's writes are shown to bring back more than "
            f"those of {_ALIKE}.",
        },
        controls=(_ALIKE,),
    ),
    _share(
        "components whose repairs depend on each other most",
        {"repair": "interaction", **_SETS},
        {
            "shown": "Behind {source:words}, {what:words} need each other most: together they "
            "bring back {effect} more than the sum of what each brings alone.",
            "opposite": "Behind {source:words}, {what:words} stand in for each other most, or are "
            "links of one chain: what they bring back together differs from the sum of what each "
            "brings alone by {effect}.",
        },
        "{what} beyond their single ones",
        (),
        rank="size",
    ),
    Sum(
        "order-averaged shares",
        {**_SHARE, "repair": "order_averaged"},
        parts="what",
        uncontrolled="parts of what is lost",
        number="order-averaged share" + _OF,
        says="Put back one after another, averaged over all orders, the later writes share out "
        "what is lost without {source:words} as {raised}; against it: {lowered}.",
        **_EACH,
    ),
    Finding(
        "miss of the whole stage",
        {"measure": "miss"},
        pick=("source", "ablation", "step"),
        uncontrolled="an identity, in float32",
        bound=1e-3,
        number="largest distance of a wholly repaired pass from the clean one",
        marks={"shown": "A clean stage put back as a whole misses the clean answer by {effect}."},
    ),
)
VIEWS = (
    Cells(
        "states",
        "Share of what is lost that a clean state brings back, step {last}",
        caption="A source (a panel each) is gone, and the clean state of one stage and role is put "
        "back: how much of the right value's logit, over the mean of all other values', returns. "
        "Stages that the loss has not reached are blank. Behind the last attention the prediction "
        "position is all that is read, so there the share is 1 by construction.",
        where={**_LAST, "repair": "state", "role": "$roles"},
        x="role",
        y="what",
        panels=("source",),
        control=(_ANOTHER,),
    ),
    Curves(
        "writes",
        "Share of what is lost that a later component's clean write brings back, over training",
        caption="Where a share is missing, no loss is shown that could be shared out. Shares of "
        "single writes need not sum to 1; below 0 a component had made part of the loss good.",
        where={"measure": "rescue_share", **_WRITE, **_TOLD},
        series="what",
        panels=("source",),
        control=(_OTHERS,),
    ),
)
TABLES = (
    Listing(
        "What brings back most at step {last}: states, identities, writes and inputs",
        {**_LAST, **_FREE, "repair": ("state", "subspace", "write", "input")},
        keys=("source", "repair", "what", "role", "subspace"),
        sort=True,
        control=(_OTHERS, _ANOTHER),
        top=24,
    ),
    Listing(
        "Groups and interactions at step {last}, the largest first",
        {**_LAST, "repair": ("group", "interaction")},
        keys=("source", "repair", "what"),
        sort=True,
        control=(_OTHERS, _ALIKE),
        top=24,
    ),
)
