"""Which head learned to look: what the scan shows."""

from circuit.reports.findings import Finding
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Cells, Curves, Listing, Not

SECTION = MECHANISM
QUESTION = "Which attention head learned to look up the right value?"
_GREW = (
    "its {criterion} grew by {effect} from step {facts[window][0]} to {facts[window][1]} on events "
    "that did not choose it, {excess} more than that of the bottom control {control_head}."
)
_CONFIRMED = {"measure": "growth", "half": "confirmation"}
_STARTS = ({"step": "first"}, {"chosen": "bottom"})
FINDINGS = (
    Finding(
        "growth of the winner",
        {**_CONFIRMED, "chosen": "winner"},
        control=({"chosen": "bottom"},),
        number="growth of {criterion} of {chosen} {head}",
        says={
            "shown": "{head} learned to look at the support value: " + _GREW,
            "open": "No head is shown to have learned to look at the support value: {head} was "
            "best on the events that choose; " + _GREW,
        },
        key="growth of {head}'s {criterion:words}, steps {facts[window][0]} to {facts[window][1]}",
        clause={
            "shown": "head {head} learned to look up the value",
            "open": "no head is shown to have learned to look up the value",
        },
        marks={
            "open": "The winner {head} is not shown to have grown more than the bottom control: "
            "analyses of it may follow a head that looks nothing up."
        },
    ),
    Finding(
        "growth of the runner-up",
        {**_CONFIRMED, "chosen": "runner_up"},
        control=({"chosen": "bottom"},),
        number="growth of {criterion} of {chosen:words} {head}",
        says="The runner-up {head} changed by {effect}.",
    ),
    Finding(
        "support value beats every distractor",
        {"measure": "support_beats_all", "step": "last", "chosen": "winner"},
        control=_STARTS,
        bound=None,
        number="share of reads in which the support value has {head}'s highest score",
        says={
            "shown": "At step {step} the support value's score beats every distractor's in "
            "{effect} of reads, against {control} at the run's start.",
            "open": "The support value's score beats every distractor's in {effect} of reads at "
            "step {step}, which is not beyond the controls ({control} at the run's start).",
        },
    ),
    Finding(
        "attention on the support value",
        {"measure": "support_attention", "step": "last", "chosen": "winner"},
        control=_STARTS,
        bound=None,
        number="attention of {head} on the support value",
    ),
)
VIEWS = (
    Curves(
        "separation",
        "QK separation of every head over training",
        caption="QK separation of every head over training, and how often the support value's "
        "score beats every distractor's. Grey: heads that were not chosen.",
        where={"measure": ("qk_separation", "support_beats_all"), "head": Not("model")},
        panels=("measure",),
        series="head",
    ),
    Cells(
        "head_map",
        "QK separation of every head and checkpoint",
        where={"measure": "qk_separation", "head": Not("model")},
        x="step",
        y="head",
    ),
)
TABLES = (
    Listing(
        "Growth of {criterion} on the events that confirm, the largest first",
        _CONFIRMED,
        keys=("head", "chosen"),
        sort=True,
    ),
    Listing(
        "Every measure of every head at step {last}",
        {"step": "last", "measure": Not("growth", "margin_correlation")},
        keys=("head", "chosen"),
        across="measure",
    ),
    Listing(
        "Spearman correlation over checkpoints with the answer margin",
        {"measure": "margin_correlation"},
    ),
)
