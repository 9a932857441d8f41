"""What carries a window's change: what the transplants show."""

from circuit.reports.findings import Criteria, Finding, Test
from circuit.reports.sections import FORMATION
from circuit.reports.views import Cells, Dots, Listing, Not

SECTION = FORMATION
QUESTION = "Which activations and weights carry the change of behaviour in this window?"
_SHARE = {"measure": "answer_margin_share"}
_BRINGS, _TAKES = {"direction": "brings"}, {"direction": "takes_away"}
_BOTH = {"direction": ("brings", "takes_away")}
_TOLD = {"what": "weights", "grouping": "$grouping"}
_SUM = "sum of groups"
_ANOTHER, _RANDOM = "the same states of another event", "a random change of the same size"
_START = "step {facts[window][0]}"
FINDINGS = (
    Finding(
        "change of the answer margin",
        {"direction": "change", "measure": "answer_margin"},
        uncontrolled="a change between two checkpoints is 0 where nothing was learned",
        number="change of answer margin, " + _START + " to {step}",
        says={
            "shown": "From " + _START + " to {step} the answer margin rose by {effect}.",
            "opposite": "From " + _START + " to {step} the answer margin fell ({effect}).",
            "open": "From " + _START + " to {step} the answer margin did not change beyond its "
            "interval ({effect}), so there is no change that a part could carry.",
        },
        marks={
            "open": "The change's interval holds 0: shares of it are left out, effects are given.",
            "opposite": "",
        },
    ),
    Finding(
        "weights that take it away",
        {**_SHARE, **_TAKES, **_TOLD, "part": Not(_SUM)},
        pick=("part",),
        control=({"against": _RANDOM},),
        number="share of the change that the weights of {part} take away",
        says={
            "shown": "Putting the weights of {part} back to those of " + _START + " takes away "
            "{effect} of this change, {excess} more than " + _RANDOM + ".",
            "open": "No group's weights, put back to those of " + _START + ", are shown to take "
            "away more of it than " + _RANDOM + " ({part}: {effect} against {control}).",
        },
    ),
    Finding(
        "state that brings most",
        {**_SHARE, **_BRINGS, "what": "states"},
        pick=("part",),
        control=({"against": _ANOTHER},),
        number="share of the change that {part} brings alone",
        says={
            "shown": "Put alone into the model of " + _START + ", {part} brings most of it, "
            "{effect}, against {control} with " + _ANOTHER + ".",
            "open": "Put alone into the model of " + _START + ", no state is shown to bring some "
            "of it ({part}: {effect}).",
        },
    ),
    Finding(
        "weights that bring most",
        {**_SHARE, **_BRINGS, "what": "weights", "part": Not(_SUM)},
        pick=("grouping", "part"),
        control=({"against": _RANDOM},),
        number="share of the change that the weights of {part} bring alone",
        says={
            "shown": "Of weights, those of {part} do best beside their control: they bring "
            "{effect}, against {control} with " + _RANDOM + ".",
            "open": "No group's weights are shown to bring more than " + _RANDOM + ".",
        },
    ),
    Finding(
        "states that it rests on",
        {**_SHARE, **_TAKES, "what": "states", "role": Not("causal_prefix")},
        each=("role",),
        pick=("stage",),
        bound=0.5,
        uncontrolled="another event's states carry another answer and take away more than the "
        "change, so they are a scale and no control; that half of it is gone is the bound",
        number="share of the change that {part} takes away",
        says={
            "shown": "Put back, the states at {role:words} take away most at {stage:words}, more "
            "than half: {effect}.",
            "open": "Put back, the states at {role:words} are at no stage shown to take away half "
            "(at {stage:words} {effect}).",
        },
    ),
    Finding(
        "reads answered right",
        {"what": "end", "measure": "correct", "step": "last"},
        control=({"step": "first"},),
        bound=None,
        number="reads answered right at step {step}",
    ),
    Finding(
        "sum over groups",
        {**_SHARE, **_BOTH, **_TOLD, "part": _SUM},
        each=("direction",),
        control=({"against": _RANDOM},),
        number="sum over groups ({grouping}), {direction:words}; single parts need not sum to 100%",
    ),
    Criteria(
        "all weights",
        {**_SHARE, **_BOTH, "what": "all weights"},
        each=("direction",),
        uncontrolled="all weights of one end in the other are the other end",
        tests=(Test("all of the change", {}, above=0.9999),),
        marks={"open": "All weights of one end put into the other do not give the other end."},
    ),
)
VIEWS = (
    Cells(
        "activations",
        "Share of the margin's change that the states at a stage and role carry",
        caption="The target's states put into the source (brings) and the source's into the target "
        "(takes away). States of another event (in brackets) carry another answer, so they take "
        "away more than the change and bring less than nothing.",
        where={**_SHARE, **_BOTH, "what": "states"},
        x="role",
        y="stage",
        panels=("direction",),
        control=(_ANOTHER,),
    ),
    Dots(
        "weights",
        "Share of the margin's change that the weights of a group carry ({grouping:words})",
        where={**_SHARE, **_BOTH, **_TOLD, "part": Not(_SUM)},
        y=("part",),
        panels=("direction",),
        control=(_RANDOM,),
        order="size",
        top=14,
        note="The random change is one draw.",
    ),
)
TABLES = (
    *(
        Listing(
            f"{what.capitalize()}: share of the margin's change that they {direction}",
            {**_SHARE, **where, "what": what},
            keys=keys,
            control=control,
            sort=what == "weights",
            top=30 if what == "weights" else None,
        )
        for what, keys, control in (
            ("weights", ("grouping", "part"), (_RANDOM, "excess")),
            ("states", ("stage", "role"), (_ANOTHER,)),
        )
        for direction, where in (("take away", _TAKES), ("bring", _BRINGS))
    ),
    Listing(
        "What groups' weights take away, by measure",
        {
            **_TAKES,
            **_TOLD,
            "measure": (
                "answer_margin",
                "answer_margin_share",
                "answer_margin_fixed_source_share",
                "correct_share",
            ),
        },
        keys=("part",),
        across="measure",
    ),
    Listing("Behaviour at both ends", {"what": "end", "measure": ("answer_margin", "correct")}),
)
