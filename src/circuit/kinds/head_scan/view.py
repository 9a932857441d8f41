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
FINDINGS = (
    Finding(
        name="growth of the winner",
        where={"measure": "growth", "half": "confirmation", "chosen": "winner"},
        control=({"chosen": "bottom"},),
        number="growth of {criterion} of {chosen} {head}",
        says={
            "shown": "{head} learned to look at the support value: " + _GREW,
            "opposite": "No head learned to look at the support value: {head} was best on the "
            "events that choose, but " + _GREW,
            "open": "No head is shown to have learned to look at the support value: {head} was "
            "best on the events that choose; " + _GREW,
        },
        marks={
            "open": "The winner {head} is not shown to have grown more than the bottom control: "
            "analyses of it may follow a head that looks nothing up."
        },
    ),
    Finding(
        name="growth of the runner-up",
        where={"measure": "growth", "half": "confirmation", "chosen": "runner_up"},
        control=({"chosen": "bottom"},),
        number="growth of {criterion} of {chosen:words} {head}",
        says="The runner-up {head} changed by {effect}.",
    ),
    Finding(
        name="support value beats every distractor",
        where={"measure": "support_beats_all", "step": "last", "chosen": "winner"},
        control=({"step": "first"}, {"chosen": "bottom"}),
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
        name="attention on the support value",
        where={"measure": "support_attention", "step": "last", "chosen": "winner"},
        control=({"step": "first"}, {"chosen": "bottom"}),
        bound=None,
        number="attention of {head} on the support value",
        quiet=True,
    ),
)
VIEWS = (
    Curves(
        name="separation",
        title="QK separation of every head over training",
        caption="QK separation of every head over training, and how often the support value's "
        "score beats every distractor's. Grey: heads that were not chosen.",
        where={"measure": ("qk_separation", "support_beats_all"), "head": Not("model")},
        panels=("measure",),
        series="head",
    ),
    Cells(
        name="head_map",
        title="QK separation of every head and checkpoint",
        caption="QK separation of every head at every checkpoint.",
        where={"measure": "qk_separation", "head": Not("model")},
        x="step",
        y="head",
    ),
)
TABLES = (
    Listing(
        title="Growth of {criterion} on the events that confirm, the largest first",
        where={"measure": "growth", "half": "confirmation"},
        keys=("head", "chosen"),
        sort=True,
    ),
    Listing(
        title="Every measure of every head at step {last}",
        where={"step": "last", "measure": Not("growth", "margin_correlation")},
        keys=("head", "chosen"),
        across="measure",
    ),
    Listing(
        title="Spearman correlation over checkpoints with the answer margin",
        where={"measure": "margin_correlation"},
    ),
)
