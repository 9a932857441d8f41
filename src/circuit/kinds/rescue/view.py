"""Where the answer's missing part enters again once a source is gone."""

from typing import Any

from circuit.reports.findings import Finding, Says, Sum
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Curves, Listing, Not, Where

SECTION = MECHANISM
QUESTION = "Where does what the answer lacks without a component enter again?"
_SHARE = {"measure": "rescue_share", "step": "last"}
_TOLD = {"ablation": "$ablation"}
_EACH: dict[str, Any] = {"each": ("source", "ablation"), "spoken": _TOLD}
_EVERYWHERE = {"role": "all positions"}
_FREE = {"by_construction": ""}
_OTHERS, _ANOTHER = "answers of other programs", "states of another event"
_ALIKE, _RANDOM = "other groups of as many", "random subspaces of the same energy"
_BY_OTHERS = ({"against": _OTHERS},)
_CLEAN = (*_BY_OTHERS, {"against": _ANOTHER})
_SUBSPACES = (*_CLEAN, {"against": "the other identity"}, {"against": _RANDOM})
_SETS = Not("all later components")
_OF = " where {source:words} is gone ({ablation}), at step {step}"


def _share(name: str, where: Where, says: Says, of: str = "{what}", **more: Any) -> Finding:
    """A finding about the share that something brings back, of several the most."""
    control = more.pop("control", _CLEAN)
    number, pick = f"share brought back by {of}{_OF}", more.pop("pick", ("what",))
    where = {**_SHARE, **where}
    return Finding(
        name, where, pick=pick, control=control, number=number, says=says, **_EACH, **more
    )


FINDINGS = (
    Finding(
        "what is lost",
        {"repair": "whole", "measure": "rescue", "step": "last"},
        control=_BY_OTHERS,
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
            "shown": "Of what is lost without {source:words} the clean state at {role:words}, "
            "{what:words}, brings back {effect}.",
            "open": "No single role's clean state is shown to bring back what is lost without "
            "{source:words}.",
        },
        "the state at {role}, {what},",
        pick=("what", "role"),
    ),
    _share(
        "later write that brings back most",
        {"repair": "write", **_EVERYWHERE},
        {
            "shown": "Of {of} components behind {source:words} the clean write of {what} brings "
            "back most: {effect}.",
            "open": "No clean write behind {source:words} is shown to bring any of it back.",
        },
    ),
    _share(
        "later write that had made good most",
        {"repair": "write", **_EVERYWHERE},
        {
            "opposite": "Without {source:words}, {what} writes otherwise than before and makes "
            "part of the loss good: its clean write put back brings {effect}.",
        },
        "{what} (smallest)",
        rank="smallest",
        control=_BY_OTHERS,
    ),
    _share(
        "input of a later head that brings back most",
        {"repair": "input"},
        {
            "shown": "Of single inputs of heads behind {source:words}, {what} brings back most: "
            "{effect}."
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
        pick=("what", "role", "subspace"),
        control=_SUBSPACES,
    ),
    _share(
        "group that brings back most",
        {"repair": "group", "what": _SETS},
        {
            "shown": "Without {source:words}, {what:words} together bring back {effect}, more than "
            + f"{_ALIKE}.",
            "open": "Without {source:words}, no group is shown to bring back more than "
            + f"{_ALIKE}.",
        },
        control=(*_BY_OTHERS, {"against": _ALIKE}),
    ),
    _share(
        "components whose repairs overlap most",
        {"repair": "interaction", "what": _SETS},
        {
            "opposite": "{what:words} stand in for each other behind {source:words}, or are links "
            "of one chain: together they bring back {effect} beyond the sum of what each does "
            "alone.",
        },
        "{what} beyond their single ones (smallest)",
        rank="smallest",
        control=_BY_OTHERS,
    ),
    _share(
        "components whose repairs need each other most",
        {"repair": "interaction", "what": _SETS},
        {
            "shown": "Behind {source:words}, {what:words} need each other most: {effect} beyond "
            "the sum of what each does alone."
        },
        "{what} beyond their single ones (largest)",
        control=_BY_OTHERS,
    ),
    Sum(
        "order-averaged shares",
        {**_SHARE, "repair": "order_averaged"},
        parts="what",
        uncontrolled="parts of what is lost",
        number="order-averaged share" + _OF,
        says="Over all orders in which components come back, what is lost without {source:words} "
        "is shared out as {raised}; against it: {lowered}.",
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
        caption="A source is gone, and the clean state of one stage and role is put back. Stages "
        "that the loss has not reached are blank. Behind the last attention the prediction "
        "position is all that is read, so there the share is 1 by construction.",
        where={**_SHARE, "repair": "state", "role": "$roles", **_TOLD},
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
        where={"measure": "rescue_share", "repair": "write", **_EVERYWHERE, **_TOLD},
        series="what",
        panels=("source",),
        control=(_OTHERS,),
    ),
)
_LAST = {**_SHARE, **_TOLD}
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
    Listing(
        "Order-averaged shares of later components at step {last}",
        {**_LAST, "repair": "order_averaged"},
        keys=("source", "what"),
    ),
    Listing(
        "By construction at step {last}: whole stages, and the position that is read",
        {**_LAST, "repair": "state", "by_construction": Not("")},
        keys=("source", "what", "role", "by_construction"),
    ),
)
