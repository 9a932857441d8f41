"""What a component's write does to a later state: what its effects show."""

from circuit.reports.findings import Finding, Sum, When
from circuit.reports.sections import WRITES
from circuit.reports.views import Curves, Dots, Listing

SECTION = WRITES
QUESTION = "What does a component's write do to a later state, and through which part?"
_OTHER, _BOTTOM, _LOSS = "gradient of another event", "bottom head", "ablation"
_EFFECT = {"measure": "effect", "side": ""}
_WHOLE = {**_EFFECT, "part": "whole"}
_CONTROLS = ({"against": _OTHER}, {"against": _BOTTOM})
_AT = ": as the reference checkpoint reads it in {target:words}, it is worth {effect}, {excess} "
_READ = _AT + "more than read by the gradient of another event."
FINDINGS = (
    Finding(
        name="worth",
        where={**_WHOLE, "step": "last"},
        each=("write",),
        control=_CONTROLS,
        number="worth of {write}, at step {step}",
        says={
            "shown": "At step {step} the write of {source} ({write:words}) helps the answer"
            + _READ,
            "opposite": "At step {step} the write of {source} ({write:words}) hurts the answer"
            + _READ,
            "open": "At step {step} the write of {source} ({write:words}) is not shown to do more "
            "for the answer than its controls" + _READ,
        },
    ),
    Sum(
        name="worth of {write} by part",
        where={**_EFFECT, "part": ("skip", "mlp"), "step": "last"},
        each=("write",),
        parts="part",
        names={"skip": "through the skip connection", "mlp": "through the MLP"},
        uncontrolled="an exact sum, whose whole has its controls",
        says="Of the worth of {write:words}, {raised}.",
    ),
    Sum(
        name="worth of {write} by where it is written",
        where={**_WHOLE, "side": "source", "step": "last"},
        each=("write",),
        parts="role",
        names={"other": "other positions", "together": "several positions together"},
        uncontrolled="an exact sum of what removals at single roles' positions give",
        says="Of what {source} writes, that at these positions helps: {raised}; at these it hurts: "
        "{lowered}.",
    ),
    When(
        name="half-way step of {write}",
        where={"measure": "half_way"},
        each=("write",),
        uncontrolled="a step on the curve of the effect, which has its controls",
        quiet=True,
    ),
    Finding(
        name="worth at the start",
        where={**_WHOLE, "step": "first"},
        each=("write",),
        control=_CONTROLS,
        number="worth of {write}, at step {step}",
        quiet=True,
    ),
    Finding(
        name="worth to another event's answer",
        where={**_WHOLE, "against": _OTHER, "step": "last"},
        each=("write",),
        uncontrolled="0 where the write is about the answer at hand",
        number="worth of {write} to another event's answer, at step {step}",
        marks=dict.fromkeys(
            ("shown", "opposite"),
            "{write}: read by the gradients of other events the write is worth {effect}, which is "
            "not about the answer at hand.",
        ),
        quiet=True,
    ),
    Finding(
        name="worth beside the cost of removal",
        where={**_WHOLE, "step": "last"},
        each=("write",),
        control=({"against": _LOSS},),
        bound=None,
        number="worth of {write} beside what removing its source costs the answer itself",
        marks=dict.fromkeys(
            ("shown", "opposite"),
            "{write}: removing its source costs the answer {control}, its effect is {effect}: the "
            "rest passes by the target state, or is not seen by the gradient of the reference "
            "checkpoint.",
        ),
        quiet=True,
    ),
    Finding(
        name="directions at the start",
        where={"measure": "overlap", "side": "own role", "step": "first"},
        each=("write",),
        control=({"against": "random subspaces"},),
        bound=None,
        number="overlap of the {rank} directions of {write} with the mature ones, at step {step}",
        quiet=True,
    ),
    Finding(
        name="share of variance between answer values",
        where={"measure": "value_share", "step": "last"},
        each=("write",),
        control=({"against": "exchanged values"},),
        bound=None,
        number="share of the variance of {write} that lies between answer values, at step {step}",
        quiet=True,
    ),
)
VIEWS = (
    Curves(
        name="write_effect",
        title="What writes do to later states, over training",
        caption="What every write is worth at its target over training, its exact parts, and the "
        "controls: what the target state has through the write, times the gradient of the answer "
        "in the reference checkpoint. A target right after attention has no MLP part. Ablation: "
        "the cost of removing the source to the answer itself, which is the effect by construction "
        "in the reference checkpoint, if the gradient is integrated and nothing passes by.",
        where={**_EFFECT, "part": ("whole", "skip", "mlp")},
        panels=("write", "part"),
        control=(_OTHER, _BOTTOM, _LOSS),
    ),
    Dots(
        name="write_positions",
        title="Where writes act, and from where",
        caption="At which positions the change is read (target), and at which positions the write "
        "must be removed to bring it about (source). Together: what removing all has beyond the "
        "sum.",
        where={"measure": "effect", "side": ("target", "source"), "step": "last"},
        y=("role",),
        panels=("write", "side"),
    ),
    Curves(
        name="write_subspace",
        title="In which directions components write, beside their mature writes",
        caption="Overlap of the top {rank} principal components of the writes at a role's "
        "positions with those of the reference checkpoint: the mean squared cosine.",
        where={"measure": "overlap"},
        panels=("write",),
        series="role",
        control=("random subspaces",),
        note="Bands of lines: jackknife.",
    ),
    Dots(
        name="write_values",
        title="What writes do for each answer value",
        caption="The effect of every write for every answer value, with intervals over programs.",
        where={"measure": "value_effect", "step": "last"},
        y=("value",),
        panels=("write",),
        order="size",
    ),
)
TABLES = (
    Listing(
        title="Effects of writes at step {last}, their parts and controls",
        where={**_EFFECT, "step": "last"},
        keys=("write", "source", "target", "part"),
        control=(_OTHER, _BOTTOM, _LOSS),
    ),
    Listing(
        title="Effects at step {last} by position",
        where={"measure": "effect", "side": ("target", "source"), "step": "last"},
        keys=("write", "side", "role"),
    ),
    Listing(
        title="Overlap of write subspaces with the mature ones, at the write's own role",
        where={"measure": "overlap", "side": "own role"},
        keys=("step", "write", "role"),
    ),
    Listing(
        title="Share of the variance of the writes in that subspace",
        where={"measure": "explained", "side": "own role"},
        keys=("step",),
        across="write",
    ),
    Listing(
        title="Effects over answer values: standard deviations between values and within them, "
        "share of the variance between, and how many exchanges of values reach it",
        where={
            "measure": (
                "mean_over_observations",
                "between_values",
                "within_values",
                "value_share",
                "exchanges_that_reach_it",
                "values",
            )
        },
        keys=("step", "write"),
        across="measure",
    ),
    Listing(
        title="Effects by answer value at step {last}",
        where={"measure": "value_effect", "step": "last"},
        keys=("write", "value"),
        sort=True,
    ),
)
