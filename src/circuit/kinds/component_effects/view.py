"""Which components the answer rests on, which act through others, what single ablation misses."""

from typing import Any

from circuit.reports.findings import Finding, Says
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Dots, Listing, Scatter, Where

SECTION = MECHANISM
QUESTION = "What does each component do to the answer, by itself, through others and together?"
_ALONE = {"kind": ("head", "MLP")}
_SETS = {"kind": ("neurons", "group")}
_LAST = {"step": "last", "ablation": ("mean", "resample")}
_MEAN = {"ablation": "mean"}
_OTHERS, _RANDOM = "answers of other programs", "random sets"
_PARTS = ("effect", "direct", "through_others", "scale")
_AGREEMENT = ("sign_agreement", "linear_correlation", "rank_correlation")
_ANSWER = "the answer (the right value's logit over the mean of all other values')"


def _part(name: str, where: Where, number: str, says: Says, **more: Any) -> Finding:
    """A finding about one part, of several the most, with the mean or another event's write in its
    place.
    """
    about = {"each": ("ablation",), "pick": ("part",), "control": (_OTHERS,), **more}
    number = f"{number}, {{ablation}}, at step {{step}}"
    return Finding(name, {**where, **_LAST}, spoken=_MEAN, number=number, says=says, **about)


_THROUGH = {**_ALONE, "measure": "through_others"}
_PAIRS = {"kind": "pair", "measure": "interaction"}
FINDINGS = (
    _part(
        "component that the answer rests on most",
        {**_ALONE, "measure": "effect"},
        "causal effect of {part} on the answer",
        {
            "shown": f"Of {{of}} heads and MLPs {_ANSWER} rests most on {{part}}: with the mean of "
            "what it writes in its place, it falls by {effect} at step {step}.",
            "opposite": "Removing {part} changes the answer most, and raises it: {effect}.",
            "open": "No head or MLP is shown to matter by itself: removing {part} changes most, "
            "{effect}.",
        },
        rank="size",
    ),
    _part(
        "component that acts through others most",
        _THROUGH,
        "effect of {part} through later components",
        {
            "shown": "{part} acts most through others: what later components write without it "
            "costs {effect}.",
            "open": "No component is shown to act through others.",
        },
    ),
    _part(
        "component whose loss is made good most",
        _THROUGH,
        "effect of {part} through later components",
        {
            "opposite": "Without {part} later components write more towards the answer, which "
            "takes most from what its removal costs: {effect}.",
        },
        rank="smallest",
    ),
    _part(
        "pair that single ablation understates most",
        _PAIRS,
        "interaction of {part}",
        {
            "shown": "Single ablation understates: removing {part} together costs {effect} beyond "
            "the sum of their single effects.",
            "open": "No pair is shown to cost more together than the sum of its single effects.",
        },
    ),
    _part(
        "pair that single ablation overstates most",
        _PAIRS,
        "interaction of {part}",
        {
            "opposite": "It overstates most for {part}: what removing both costs differs from the "
            "sum of their single effects by {effect}.",
        },
        rank="smallest",
    ),
    _part(
        "sets",
        {**_SETS, "measure": "effect"},
        "causal effect of {part}",
        {
            "shown": "Removing {part:words} costs {effect}, more than random sets like it.",
            "opposite": "Removing {part:words} raises the answer, more than random sets like it: "
            "{effect}.",
            "open": "Removing {part:words} is not shown to cost more than random sets like it: "
            "{effect}.",
        },
        each=("part", "ablation"),
        pick=(),
        control=(_OTHERS, _RANDOM),
    ),
    _part(
        "interaction within a group",
        {"kind": "group", "measure": "interaction"},
        "interaction within {part}",
        {
            "shown": "Within {part:words} single ablations understate by {effect}.",
            "opposite": "Within {part:words} single ablations overstate ({effect}).",
        },
        each=("part", "ablation"),
        pick=(),
    ),
    Finding(
        "agreement",
        {"measure": _AGREEMENT, **_LAST},
        each=("measure", "ablation"),
        spoken={**_MEAN, "measure": "linear_correlation"},
        control=({"step": "first"},),
        bound=None,
        number="{measure:words} of direct attribution and causal effect, {ablation}, at step "
        "{step}",
        says="Over heads and MLPs, what each writes towards the answer by itself (direct "
        "attribution) and what its removal costs correlate by {effect}.",
    ),
    Finding(
        "miss of the sum",
        {"measure": "residual"},
        pick=("step",),
        uncontrolled="an identity, in float64",
        bound=1e-9,
        number="largest |direct paths, embeddings and biases − answer|, at step {step}",
        marks={"shown": "Direct paths, embeddings and biases miss the answer by {effect}."},
    ),
)
VIEWS = (
    Scatter(
        "direct_and_causal",
        "Causal effect against direct attribution, over checkpoints",
        caption="What a component writes towards the answer by itself, and what its removal costs. "
        "On the dashed line it does what it writes; above, it acts through others; below, its loss "
        "is made good.",
        where={"kind": ("head", "MLP", "neurons"), **_MEAN},
        x={"measure": "direct"},
        y={"measure": "effect"},
        each=("part",),
        panels=("step",),
        series="kind",
        note="Mean in the place of what is removed.",
    ),
    Dots(
        "parts_of_the_effect",
        "What a component's removal costs, by itself and through others, at step {last}",
        caption="The causal effect and the three parts that it is the sum of: the write itself "
        "under the clean final scale, what later components write otherwise, and what the final "
        "LayerNorm's scale changes by.",
        where={**_ALONE, "step": "last", "measure": _PARTS, **_MEAN},
        panels=("measure",),
        y=("part",),
        control=(_OTHERS,),
    ),
    Cells(
        "interactions",
        "Interaction of every two components, at step {last}",
        caption="What removing two together costs beyond the sum of their single effects. Above 0 "
        "they stand in for each other, or one makes good what the other loses; below, they need "
        "each other.",
        where={**_PAIRS, "step": "last", **_MEAN},
        x="other",
        y="one",
    ),
)
_BESIDE = (_OTHERS, f"excess over {_OTHERS}")
TABLES = (
    Listing(
        "Heads, MLPs and sets at step {last}: causal effect and what it consists of",
        {"kind": ("head", "MLP", "neurons", "group"), **_LAST, "measure": _PARTS},
        keys=("part", "ablation"),
        across="measure",
    ),
    Listing(
        "Components that act through others at step {last}, the largest first",
        {**_THROUGH, **_LAST},
        keys=("part", "ablation"),
        sort=True,
        control=_BESIDE,
        top=12,
    ),
    Listing(
        "Pairs and groups at step {last}, the largest interaction first",
        {"kind": ("pair", "group"), **_LAST, "measure": "interaction"},
        keys=("part", "ablation"),
        sort=True,
        control=_BESIDE,
        top=12,
    ),
    Listing(
        "Agreement of direct attribution and causal effect",
        {"measure": _AGREEMENT},
        keys=("step", "ablation", "measure"),
    ),
)
