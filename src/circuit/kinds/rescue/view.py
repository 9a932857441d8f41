"""Where the answer's missing part enters again once a source is gone."""

from circuit.reports.findings import Finding, Sum
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Curves, Listing, Not

SECTION = MECHANISM
QUESTION = "Where does what the answer lacks without a component enter again?"
_SHARE = {"measure": "rescue_share", "step": "last"}
_EACH = ("source", "ablation")
_TOLD = {"ablation": "$ablation"}
_EVERYWHERE = {"role": "all positions"}
_OTHERS = {"against": "answers of other programs"}
_ANOTHER = {"against": "states of another event"}
_CLEAN = (_OTHERS, _ANOTHER)
_ALIKE = {"against": "other groups of as many"}
_RANDOM = {"against": "random subspaces of the same energy"}
_IDENTITY = {"against": "the other identity"}
_OF = "{source:words} is gone ({ablation}), at step {step}"
FINDINGS = (
    Finding(
        "what is lost",
        {"repair": "whole", "measure": "rescue", "step": "last"},
        each=_EACH,
        spoken=_TOLD,
        control=(_OTHERS,),
        number="answer lost where " + _OF,
        says={
            "shown": "Without {source:words} the answer loses {effect} at step {step}.",
            "opposite": "Without {source:words} the answer gains: {effect}.",
            "open": "That the answer loses anything without {source:words} is not shown: {effect}.",
        },
    ),
    Finding(
        "state that brings back most",
        {**_SHARE, "repair": "state", "by_construction": ""},
        each=_EACH,
        spoken=_TOLD,
        pick=("what", "role"),
        control=_CLEAN,
        number="share brought back by the state at {role}, {what}, where " + _OF,
        says={
            "shown": "Of what is lost without {source:words} the clean state at {role:words}, "
            "{what:words}, brings back {effect}.",
            "open": "No single role's clean state is shown to bring back what is lost without "
            "{source:words}.",
        },
    ),
    Finding(
        "later write that brings back most",
        {**_SHARE, "repair": "write", **_EVERYWHERE},
        each=_EACH,
        spoken=_TOLD,
        pick=("what",),
        control=_CLEAN,
        number="share brought back by the write of {what}, where " + _OF,
        says={
            "shown": "Of {of} components behind {source:words} the clean write of {what} brings "
            "back most: {effect}.",
            "open": "No clean write behind {source:words} is shown to bring any of it back.",
        },
    ),
    Finding(
        "later write that had made good most",
        {**_SHARE, "repair": "write", **_EVERYWHERE},
        each=_EACH,
        spoken=_TOLD,
        pick=("what",),
        rank="smallest",
        control=(_OTHERS,),
        number="share taken away by the clean write of {what}, where " + _OF,
        says={
            "opposite": "Without {source:words}, {what} writes otherwise than before and makes "
            "part of the loss good: its clean write put back brings {effect}.",
        },
    ),
    Finding(
        "input of a later head that brings back most",
        {**_SHARE, "repair": "input"},
        each=_EACH,
        spoken=_TOLD,
        pick=("what",),
        control=_CLEAN,
        number="share brought back by the input {what}, where " + _OF,
        says={
            "shown": "Of single inputs of heads behind {source:words}, {what} brings back most: "
            "{effect}."
        },
    ),
    Finding(
        "identity that brings back most",
        {**_SHARE, "repair": "subspace", "by_construction": ""},
        each=_EACH,
        spoken=_TOLD,
        pick=("what", "role", "subspace"),
        control=(*_CLEAN, _IDENTITY, _RANDOM),
        number="share brought back by {subspace:words} at {role}, {what}, where " + _OF,
        says={
            "shown": "Without {source:words}, {subspace:words} at {role:words}, {what:words}, "
            "brings back {effect}, more than " + _RANDOM["against"] + ".",
            "open": "Without {source:words}, no identity in a state is shown to bring back more "
            "than its controls.",
        },
    ),
    Finding(
        "group that brings back most",
        {**_SHARE, "repair": "group", "what": Not("all later components")},
        each=_EACH,
        spoken=_TOLD,
        pick=("what",),
        control=(_OTHERS, _ALIKE),
        number="share brought back by {what} together, where " + _OF,
        says={
            "shown": "Without {source:words}, {what:words} together bring back {effect}, more than "
            + _ALIKE["against"]
            + ".",
            "open": "Without {source:words}, no group is shown to bring back more than "
            + _ALIKE["against"]
            + ".",
        },
    ),
    Finding(
        "components whose repairs overlap most",
        {**_SHARE, "repair": "interaction", "what": Not("all later components")},
        each=_EACH,
        spoken=_TOLD,
        pick=("what",),
        rank="smallest",
        control=(_OTHERS,),
        number="share that {what} bring back beyond their single ones, where " + _OF,
        says={
            "opposite": "{what:words} stand in for each other behind {source:words}, or are links "
            "of one chain: together they bring back {effect} beyond the sum of what each does "
            "alone.",
        },
    ),
    Finding(
        "components whose repairs need each other most",
        {**_SHARE, "repair": "interaction", "what": Not("all later components")},
        each=_EACH,
        spoken=_TOLD,
        pick=("what",),
        control=(_OTHERS,),
        number="share that {what} bring back beyond their single ones, where " + _OF,
        says={
            "shown": "Behind {source:words}, {what:words} need each other most: {effect} beyond "
            "the sum of what each does alone."
        },
    ),
    Sum(
        "order-averaged shares",
        {**_SHARE, "repair": "order_averaged"},
        each=_EACH,
        spoken=_TOLD,
        parts="what",
        uncontrolled="parts of what is lost",
        number="order-averaged share where " + _OF,
        says="Over all orders in which components come back, what is lost without {source:words} "
        "is shared out as {raised}; against it: {lowered}.",
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
        control=(_ANOTHER["against"],),
    ),
    Curves(
        "writes",
        "Share of what is lost that a later component's clean write brings back, over training",
        caption="Where a share is missing, no loss is shown that could be shared out. Shares of "
        "single writes need not sum to 1; below 0 a component had made part of the loss good.",
        where={"measure": "rescue_share", "repair": "write", **_EVERYWHERE, **_TOLD},
        series="what",
        panels=("source",),
        control=(_OTHERS["against"],),
    ),
)
_CONTROLS = (_OTHERS["against"], _ANOTHER["against"])
TABLES = (
    Listing(
        "What brings back most at step {last}: states, identities, writes and inputs",
        {
            **_SHARE,
            **_TOLD,
            "repair": ("state", "subspace", "write", "input"),
            "by_construction": "",
        },
        keys=("source", "repair", "what", "role", "subspace"),
        sort=True,
        control=_CONTROLS,
        top=24,
    ),
    Listing(
        "Groups and interactions at step {last}, the largest first",
        {**_SHARE, **_TOLD, "repair": ("group", "interaction")},
        keys=("source", "repair", "what"),
        sort=True,
        control=(_OTHERS["against"], _ALIKE["against"]),
        top=24,
    ),
    Listing(
        "Order-averaged shares of later components at step {last}",
        {**_SHARE, **_TOLD, "repair": "order_averaged"},
        keys=("source", "what"),
    ),
    Listing(
        "By construction at step {last}: whole stages, and the position that is read",
        {**_SHARE, **_TOLD, "repair": "state", "by_construction": Not("")},
        keys=("source", "what", "role", "by_construction"),
    ),
)
