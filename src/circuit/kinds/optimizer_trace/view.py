"""What the optimizer did at every step."""

from circuit.reports.findings import Finding
from circuit.reports.sections import UPDATES
from circuit.reports.views import Curves, Listing

SECTION = UPDATES
QUESTION = "What did the optimizer do at every step?"
REPLAYED = (
    "Steps {facts[first]:,} to {facts[last]:,} were replayed and arrive bit for bit at "
    "{facts[exact]} of {facts[checkpoints]} checkpoints on the way"
)
FINDINGS = (
    Finding(
        name="largest replay difference",
        where={"measure": "largest_replay_difference"},
        uncontrolled="0 means bit for bit",
        says={
            "open": REPLAYED + "; the four components sum to every update exactly.",
            "shown": REPLAYED + ", and within {effect} at the others; the four components sum to "
            "every update exactly.",
        },
        marks={"shown": "The replay was accepted within the recipe's tolerance, not bit for bit."},
    ),
    Finding(
        name="share of steps with clipping",
        where={"measure": "clipped"},
        uncontrolled="a fact of all steps, not an effect",
        says="The gradient was clipped in {effect} of steps.",
    ),
    Finding(
        name="median norm of momentum, in that of the current gradient",
        where={"measure": "momentum_over_current"},
        uncontrolled="the split of the two is a convention",
        says="The median norm of the momentum component is {effect} times that of the current "
        "gradient; to split them is a convention, as the preconditioner holds both.",
    ),
    Finding(
        name="median norms",
        where={"measure": "median_norm"},
        uncontrolled="a fact of all steps, not an effect",
        number="median norm of {component:words}",
        each=("component",),
        quiet=True,
    ),
)
VIEWS = (
    Curves(
        name="steps",
        title="Loss, gradient and update of every step",
        caption="Loss, accuracy, gradient norm before clipping, clip coefficient (1: not clipped), "
        "learning rate and update norm of every replayed step.",
        where={
            "measure": (
                "loss",
                "token_accuracy",
                "gradient_norm",
                "clip_coefficient",
                "norm",
                "learning_rate",
            ),
            "component": ("", "update"),
        },
        panels=("measure",),
        control=("range of steps",),
        note="Norm: of the update.",
    ),
    Curves(
        name="components",
        title="Norm of the update and of its components",
        caption="Norms of the update and of its components (log scale; a norm of 0 is not on it). "
        "Splitting current gradient from momentum is a convention: the preconditioner holds both.",
        where={"measure": "norm"},
        series="component",
        log=True,
        note="Norms do not add up; the components themselves sum to the update.",
    ),
)
TABLES = (
    Listing(
        title="Parameters by mean update norm while among the largest",
        where={"measure": "norm_while_largest"},
        keys=("parameter",),
    ),
    Listing(
        title="Replay against recorded checkpoints: the largest difference of any parameter",
        where={"measure": "replay_difference"},
        keys=("step",),
    ),
)
