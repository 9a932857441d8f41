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
        name="change of the answer margin",
        where={"direction": "change", "measure": "answer_margin"},
        uncontrolled="a change between two checkpoints is 0 where nothing was learned",
        number="change of answer margin, " + _START + " to {step}",
        says={
            "shown": "From " + _START + " to {step} the answer margin rose by {effect}.",
            "opposite": "From " + _START + " to {step} the answer margin fell ({effect}).",
            "open": "From " + _START + " to {step} the answer margin did not change beyond its "
            "interval ({effect}), so there is no change that a part could carry.",
        },
        marks={
            "open": "The change's interval holds 0: shares of it are left out, effects are given."
        },
    ),
    Finding(
        name="weights that take it away",
        where={**_SHARE, **_TAKES, **_TOLD, "part": Not(_SUM)},
        pick=("part",),
        control=({"against": _RANDOM},),
        number="share of the change that the weights of {part} take away",
        says={
            "shown": "Putting the weights of {part} back to those of " + _START + " takes away "
            "{effect} of this change, {excess} more than " + _RANDOM + ".",
            "open": "No group's weights, put back to those of " + _START + ", are shown to take "
            "away more of it than " + _RANDOM + " ({part}: {effect} against {control}).",
            "opposite": "Put back to those of " + _START + ", even the weights of {part} take "
            "away less of it than " + _RANDOM + " ({effect} against {control}).",
        },
    ),
    Finding(
        name="state that brings most",
        where={**_SHARE, **_BRINGS, "what": "states"},
        pick=("part",),
        control=({"against": _ANOTHER},),
        number="share of the change that {part} brings alone",
        says={
            "shown": "Put alone into the model of " + _START + ", {part} brings most of it, "
            "{effect}, against {control} with " + _ANOTHER + ".",
            "open": "Put alone into the model of " + _START + ", no state is shown to bring some "
            "of it ({part}: {effect}).",
            "opposite": "Put alone into the model of " + _START + ", even {part} brings less than "
            "nothing ({effect}).",
        },
    ),
    Finding(
        name="weights that bring most",
        where={**_SHARE, **_BRINGS, "what": "weights", "part": Not(_SUM)},
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
        name="states that it rests on",
        where={**_SHARE, **_TAKES, "what": "states", "role": Not("causal_prefix")},
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
            "opposite": "Put back, the states at {role:words} take away less than half even at "
            "{stage:words} ({effect}).",
        },
    ),
    Finding(
        name="reads answered right",
        where={"what": "end", "measure": "correct", "step": "last"},
        control=({"step": "first"},),
        bound=None,
        number="reads answered right at step {step}",
        quiet=True,
    ),
    Finding(
        name="sum over groups",
        where={**_SHARE, **_BOTH, **_TOLD, "part": _SUM},
        each=("direction",),
        control=({"against": _RANDOM},),
        number="sum over groups ({grouping}), {direction:words}; single parts need not sum to 100%",
        quiet=True,
    ),
    Criteria(
        name="all weights",
        where={**_SHARE, **_BOTH, "what": "all weights"},
        each=("direction",),
        uncontrolled="all weights of one end in the other are the other end",
        tests=(Test("all of the change", {}, above=0.9999),),
        marks=dict.fromkeys(
            ("open", "opposite"),
            "All weights of one end put into the other do not give the other end.",
        ),
    ),
)
VIEWS = (
    Cells(
        name="activations",
        title="Share of the margin's change that the states at a stage and role carry",
        caption="Share of the margin's change that the states at a stage and role carry: the "
        "target's put into the source (brings) and the source's into the target (takes away). In "
        "brackets the same states of another event: they carry another answer, so they take away "
        "more than the change and bring less than nothing.",
        where={**_SHARE, **_BOTH, "what": "states"},
        x="role",
        y="stage",
        panels=("direction",),
        control=(_ANOTHER,),
    ),
    Dots(
        name="weights",
        title="Share of the margin's change that the weights of a group carry ({grouping:words})",
        caption="Share of the margin's change that a group's weights carry, in both directions, "
        "with 95% intervals; hollow: a change of the same size in a random direction.",
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
            title=f"Weights: share of the margin's change that {they}",
            where={**_SHARE, **where, "what": "weights"},
            keys=("grouping", "part"),
            control=(_RANDOM, "excess"),
            sort=True,
            top=30,
        )
        for they, where in (("they take away", _TAKES), ("they bring", _BRINGS))
    ),
    *(
        Listing(
            title=f"States: share of the margin's change that {they}",
            where={**_SHARE, **where, "what": "states"},
            keys=("stage", "role"),
            control=(_ANOTHER,),
        )
        for they, where in (("they take away", _TAKES), ("they bring", _BRINGS))
    ),
    Listing(
        title="What groups' weights take away, by measure",
        where={
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
    Listing(
        title="Behaviour at both ends",
        where={"what": "end", "measure": ("answer_margin", "correct")},
        keys=("step", "measure"),
    ),
)
