"""What a component's write does to a later state: what its effects show."""

from functools import partial

from circuit.reports.findings import Finding, Sum, When
from circuit.reports.sections import WRITES
from circuit.reports.views import Curves, Dots, Listing

SECTION = WRITES
QUESTION = "What does a component's write do to a later state, and through which part?"
_OTHER, _BOTTOM, _LOSS = "gradient of another event", "bottom head", "ablation"
_EFFECT = {"measure": "effect", "side": ""}
_WHOLE, _LAST = {**_EFFECT, "part": "whole"}, {"step": "last"}
_SIDES = {"measure": "effect", "side": ("target", "source"), **_LAST}
_OVERLAP, _VALUES = {"measure": "overlap"}, {"measure": "value_effect", **_LAST}
_CONTROLS = ({"against": _OTHER}, {"against": _BOTTOM})
_EACH = ("write",)
_write, _sum = partial(Finding, each=_EACH), partial(Sum, each=_EACH)
FINDINGS = (
    _write(
        "worth",
        {**_WHOLE, **_LAST},
        control=_CONTROLS,
        says="That at step {step} the write of {source} ({write:words}) helps the answer "
        "{is_shown}: as the reference checkpoint reads it in {target:words}, it is worth {effect}, "
        "{excess} more than read by the gradient of another event.",
        key="what {source} writes is worth to the answer",
        clause={
            "shown": "what {source} writes is worth {effect:short} to the answer",
            "open": "that what {source} writes helps the answer {is_shown}",
        },
    ),
    _sum(
        "worth of {write} by part",
        {**_EFFECT, **_LAST, "part": ("skip", "mlp")},
        parts="part",
        names={"skip": "through the skip connection", "mlp": "through the MLP"},
        uncontrolled="an exact sum, whose whole has its controls",
        says="Of the worth of {write:words}, {raised}.",
    ),
    _sum(
        "worth of {write} by where it is written",
        {**_WHOLE, **_LAST, "side": "source"},
        parts="role",
        names={"other": "other positions", "together": "several positions together"},
        uncontrolled="an exact sum of what removals at single roles' positions give",
        says="Of what {source} writes, this helps: {raised}; this hurts: {lowered}.",
    ),
    When("half-way step of {write}", {"measure": "half_way"}, each=_EACH),
    _write("worth at the start", {**_WHOLE, "step": "first"}, control=_CONTROLS),
    _write(
        "worth to another event's answer",
        {**_WHOLE, **_LAST, "against": _OTHER},
        uncontrolled="0 where the write is about the answer at hand",
        marks=dict.fromkeys(
            ("shown", "opposite"),
            "{write}: read by the gradients of other events the write is worth {effect}, which is "
            "not about the answer at hand.",
        ),
    ),
    _write(
        "worth beside the cost of removal",
        {**_WHOLE, **_LAST},
        control=({"against": _LOSS},),
        bound=None,
        marks=dict.fromkeys(
            ("shown", "opposite"),
            "{write}: removing its source costs the answer {control}, its effect is {effect}: the "
            "rest passes by the target, or the reference checkpoint's gradient misses it.",
        ),
    ),
    _write(
        "overlap of its directions with the mature ones at the start",
        {**_OVERLAP, "side": "own role", "step": "first"},
        control=({"against": "random subspaces"},),
        bound=None,
    ),
    _write(
        "share of variance between answer values",
        {"measure": "value_share", **_LAST},
        control=({"against": "exchanged values"},),
        bound=None,
    ),
)
VIEWS = (
    Curves(
        "write_effect",
        "What writes do to later states, over training",
        caption="What the target has through the write, times the gradient of the answer in the "
        "reference checkpoint; ablation is the cost of removing the source to the answer.",
        where={**_EFFECT, "part": ("whole", "skip", "mlp")},
        panels=("write", "part"),
        control=(_OTHER, _BOTTOM, _LOSS),
    ),
    Dots(
        "write_positions",
        "Where writes act, and from where",
        caption="Where the change is read (target), and where the write must be removed to bring "
        "it about (source); together: what removing all has beyond the sum.",
        where=_SIDES,
        y=("role",),
        panels=("write", "side"),
    ),
    Curves(
        "write_subspace",
        "In which directions components write, beside their mature writes",
        caption="Mean squared cosine of the top {rank} principal components of the writes at a "
        "role with those of the reference checkpoint.",
        where=_OVERLAP,
        panels=_EACH,
        series="role",
        control=("random subspaces",),
        note="Bands of lines: jackknife.",
    ),
    Dots(
        "write_values",
        "What writes do for each answer value",
        where=_VALUES,
        y=("value",),
        panels=_EACH,
        order="size",
        note="Intervals: over programs.",
    ),
)
_SPREAD = ("mean_over_observations", "between_values", "within_values", "value_share")
TABLES = (
    Listing(
        "Effects of writes at step {last}, their parts and controls",
        {**_EFFECT, **_LAST},
        control=(_OTHER, _BOTTOM, _LOSS),
    ),
    Listing("Effects at step {last} by position", _SIDES, keys=("write", "side", "role")),
    Listing(
        "Overlap of write subspaces with the mature ones, at the write's own role",
        {**_OVERLAP, "side": "own role"},
        keys=("step", "write", "role"),
    ),
    Listing(
        "Share of the variance of the writes in that subspace",
        {"measure": "explained", "side": "own role"},
        keys=("step",),
        across="write",
    ),
    Listing(
        "Effects over answer values: standard deviations between values and within them, share of "
        "the variance between, and how many exchanges of values reach it",
        {"measure": (*_SPREAD, "exchanges_that_reach_it", "values")},
        keys=("step", "write"),
        across="measure",
    ),
    Listing("Effects by answer value at step {last}", _VALUES, keys=("write", "value"), sort=True),
)
