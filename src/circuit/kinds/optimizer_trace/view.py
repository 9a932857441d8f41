"""What the optimizer did at every step."""

from circuit.reports.findings import Finding
from circuit.reports.sections import UPDATES
from circuit.reports.views import Curves, Listing

SECTION = UPDATES
QUESTION = "What did the optimizer do at every step?"
_REPLAYED = (
    "Steps {facts[first]:,} to {facts[last]:,} were replayed and arrive bit for bit at "
    "{facts[exact]} of {facts[checkpoints]} checkpoints on the way"
)
_FACT = "a fact of all steps, not an effect"
FINDINGS = (
    Finding(
        "largest replay difference",
        {"measure": "largest_replay_difference"},
        uncontrolled="0 means bit for bit",
        says={
            "open": _REPLAYED + "; the four components sum to every update exactly.",
            "shown": _REPLAYED + ", and within {effect} at the others; the four components sum to "
            "every update exactly.",
        },
        marks={"shown": "The replay was accepted within the recipe's tolerance, not bit for bit."},
    ),
    Finding(
        "share of steps with clipping",
        {"measure": "clipped"},
        uncontrolled=_FACT,
        says="The gradient was clipped in {effect} of steps.",
    ),
    Finding(
        "median norm of momentum, in that of the current gradient",
        {"measure": "momentum_over_current"},
        uncontrolled="the split of the two is a convention",
        says="The median norm of the momentum component is {effect} times that of the current "
        "gradient; to split them is a convention, as the preconditioner holds both.",
    ),
    Finding("median norm", {"measure": "median_norm"}, each=("component",), uncontrolled=_FACT),
)
VIEWS = (
    Curves(
        "steps",
        "Loss, gradient and update of every step",
        caption="Loss, accuracy, gradient norm before clipping, clip coefficient (1: not clipped), "
        "update norm and learning rate of every replayed step.",
        where={
            "measure": (
                *("loss", "token_accuracy", "gradient_norm", "clip_coefficient"),
                *("norm", "learning_rate"),
            ),
            "component": ("", "update"),
        },
        panels=("measure",),
        control=("range of steps",),
        note="Norm: of the update.",
    ),
    Curves(
        "components",
        "Norm of the update and of its components",
        caption="Norms on a log scale, where a norm of 0 is not; splitting current gradient from "
        "momentum is a convention.",
        where={"measure": "norm"},
        series="component",
        log=True,
        note="Norms do not add up; the components themselves sum to the update.",
    ),
)
TABLES = (
    Listing(
        "Parameters by mean update norm while among the largest",
        {"measure": "norm_while_largest"},
        keys=("parameter",),
    ),
    Listing(
        "Replay against recorded checkpoints: the largest difference of any parameter",
        {"measure": "replay_difference"},
        keys=("step",),
    ),
)
