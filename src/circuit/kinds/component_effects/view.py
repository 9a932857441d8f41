"""Which components the answer rests on, which act through others, what single ablation misses."""

from circuit.reports.findings import Finding
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Dots, Listing, Scatter

SECTION = MECHANISM
QUESTION = "What does each component do to the answer, by itself, through others and together?"
_ALONE = {"kind": ("head", "MLP")}
_SETS = {"kind": ("neurons", "group")}
_LAST = {"step": "last", "ablation": ("mean", "resample")}
_MEAN = {"ablation": "mean"}
_EACH = ("ablation",)
_OTHERS = {"against": "answers of other programs"}
_RANDOM = {"against": "random sets"}
_PARTS = ("direct", "through_others", "scale")
_TOGETHER = ("sum_of_singles", "effect", "interaction")
_AGREEMENT = "{measure:words} of direct attribution and causal effect, {ablation}, at step {step}"
_START = ({"step": "first"},)
FINDINGS = (
    Finding(
        "component that the answer rests on most",
        {**_ALONE, **_LAST, "measure": "effect"},
        each=_EACH,
        spoken=_MEAN,
        pick=("part",),
        rank="size",
        control=(_OTHERS,),
        number="causal effect of {part} on the answer, {ablation}, at step {step}",
        says={
            "shown": "Of {of} heads and MLPs the answer rests most on {part}, whose removal costs "
            "{effect} at step {step}.",
            "opposite": "Removing {part} changes the answer most, and raises it: {effect}.",
            "open": "No head or MLP is shown to matter by itself: removing {part} changes most, "
            "{effect}.",
        },
    ),
    Finding(
        "component that acts through others most",
        {**_ALONE, **_LAST, "measure": "through_others"},
        each=_EACH,
        spoken=_MEAN,
        pick=("part",),
        control=(_OTHERS,),
        number="effect of {part} through later components, {ablation}, at step {step}",
        says={
            "shown": "{part} acts most through others: what later components write without it "
            "costs {effect}.",
            "open": "No component is shown to act through others.",
        },
    ),
    Finding(
        "component whose loss is made good most",
        {**_ALONE, **_LAST, "measure": "through_others"},
        each=_EACH,
        spoken=_MEAN,
        pick=("part",),
        rank="smallest",
        control=(_OTHERS,),
        number="effect of {part} through later components, {ablation}, at step {step}",
        says={
            "opposite": "Without {part} later components write more towards the answer, which "
            "takes most from what its removal costs: {effect}.",
        },
    ),
    Finding(
        "component that the final scale makes good most",
        {**_ALONE, **_LAST, "measure": "scale"},
        each=_EACH,
        spoken=_MEAN,
        pick=("part",),
        rank="smallest",
        control=(_OTHERS,),
        number="effect of {part} through the final LayerNorm's scale, {ablation}, at step {step}",
        says={
            "opposite": "The final LayerNorm, whose scale shrinks with the stream, takes most "
            "from that of {part}: {effect}.",
        },
    ),
    Finding(
        "pair that single ablation understates most",
        {"kind": "pair", **_LAST, "measure": "interaction"},
        each=_EACH,
        spoken=_MEAN,
        pick=("part",),
        control=(_OTHERS,),
        number="interaction of {part}, {ablation}, at step {step}",
        says={
            "shown": "Single ablation understates: removing {part} together costs {effect} beyond "
            "the sum of their single effects.",
            "open": "No pair is shown to cost more together than the sum of its single effects.",
        },
    ),
    Finding(
        "pair that single ablation overstates most",
        {"kind": "pair", **_LAST, "measure": "interaction"},
        each=_EACH,
        spoken=_MEAN,
        pick=("part",),
        rank="smallest",
        control=(_OTHERS,),
        number="interaction of {part}, {ablation}, at step {step}",
        says={
            "opposite": "It overstates most for {part}, which need each other ({effect}).",
        },
    ),
    Finding(
        "sets",
        {**_SETS, **_LAST, "measure": "effect"},
        each=("part", "ablation"),
        spoken=_MEAN,
        control=(_OTHERS, _RANDOM),
        number="causal effect of {part}, {ablation}, at step {step}",
        says={
            "shown": "Removing {part:words} costs {effect}, more than random sets like it.",
            "opposite": "Removing {part:words} raises the answer, more than random sets like it: "
            "{effect}.",
            "open": "Removing {part:words} is not shown to cost more than random sets like it: "
            "{effect}.",
        },
    ),
    Finding(
        "interaction within a group",
        {"kind": "group", **_LAST, "measure": "interaction"},
        each=("part", "ablation"),
        spoken=_MEAN,
        control=(_OTHERS,),
        number="interaction within {part}, {ablation}, at step {step}",
        says={
            "shown": "Within {part:words} single ablations understate by {effect}.",
            "opposite": "Within {part:words} single ablations overstate ({effect}).",
        },
    ),
    Finding(
        "signs that agree",
        {**_LAST, "measure": "sign_agreement"},
        each=_EACH,
        spoken=_MEAN,
        control=_START,
        bound=None,
        number=_AGREEMENT,
        says="Direct attribution and causal effect of heads and MLPs have the same sign in "
        "{effect} of cases,",
    ),
    Finding(
        "linear correlation",
        {**_LAST, "measure": "linear_correlation"},
        each=_EACH,
        spoken=_MEAN,
        control=_START,
        bound=None,
        number=_AGREEMENT,
        says="and correlate by {effect}.",
    ),
    Finding(
        "rank correlation",
        {**_LAST, "measure": "rank_correlation"},
        each=_EACH,
        spoken=_MEAN,
        control=_START,
        bound=None,
        number=_AGREEMENT,
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
    Scatter(
        "direct_and_causal_by_ablation",
        "The same at step {last}, with the mean or another event's write in its place",
        where={"kind": ("head", "MLP", "neurons"), **_LAST},
        x={"measure": "direct"},
        y={"measure": "effect"},
        each=("part",),
        panels=("ablation",),
        series="kind",
    ),
    Dots(
        "parts_of_the_effect",
        "What a component's removal costs, by itself and through others, at step {last}",
        caption="The causal effect and the three parts that it is the sum of: the write itself "
        "under the clean final scale, what later components write otherwise, and what the final "
        "scale changes by.",
        where={**_ALONE, "step": "last", "measure": ("effect", *_PARTS), **_MEAN},
        panels=("measure",),
        y=("part",),
        control=("answers of other programs",),
    ),
    Cells(
        "interactions",
        "Interaction of every two components, at step {last}",
        caption="What removing two together costs beyond the sum of their single effects. Above 0 "
        "they stand in for each other, or one makes good what the other loses; below, they need "
        "each other.",
        where={"kind": "pair", "step": "last", "measure": "interaction", **_MEAN},
        x="other",
        y="one",
    ),
)
TABLES = (
    Listing(
        "Heads, MLPs and sets at step {last}: causal effect and what it consists of",
        {"kind": ("head", "MLP", "neurons", "group"), **_LAST, "measure": ("effect", *_PARTS)},
        keys=("part", "ablation"),
        across="measure",
    ),
    Listing(
        "Components that act through others at step {last}, the largest first",
        {**_ALONE, **_LAST, "measure": "through_others"},
        keys=("part", "ablation"),
        sort=True,
        control=("answers of other programs", "excess over answers of other programs"),
        top=12,
    ),
    Listing(
        "Pairs and groups at step {last}, the largest interaction first",
        {"kind": ("pair", "group"), **_LAST, "measure": "interaction"},
        keys=("part", "ablation"),
        sort=True,
        control=("answers of other programs", "excess over answers of other programs"),
        top=12,
    ),
    Listing(
        "Groups at step {last}: sum of single effects, effect together, interaction",
        {"kind": "group", **_LAST, "measure": _TOGETHER},
        keys=("part", "ablation"),
        across="measure",
    ),
    Listing(
        "Causal effects of sets, beside random sets, at step {last}",
        {**_SETS, **_LAST, "measure": "effect"},
        keys=("part", "ablation"),
        control=("answers of other programs", "random sets"),
    ),
    Listing(
        "Agreement of direct attribution and causal effect",
        {"measure": ("sign_agreement", "rank_correlation", "linear_correlation")},
        keys=("step", "ablation", "measure"),
    ),
)
