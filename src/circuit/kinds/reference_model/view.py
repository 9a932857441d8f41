"""Which checkpoint is the reference model, and why it is that one."""

from circuit.reports.findings import Finding
from circuit.reports.sections import REFERENCE
from circuit.reports.views import Listing, Not

SECTION = REFERENCE
QUESTION = "Which checkpoint is the reference model?"
_CHOSEN = {"measure": "accuracy", "place": "1"}
FINDINGS = (
    Finding(
        "held-out accuracy, the best of {facts[candidates]} checkpoints by the policy",
        {**_CHOSEN, "split": "heldout"},
        bound=None,
        uncontrolled="it chose the checkpoint, so it is biased upwards and shows nothing",
        says="The reference model is run {run} at step {step}: held-out accuracy {effect}, the "
        "best of {facts[candidates]} checkpoints by the policy and so biased upwards; on "
        "{heldout_split} it shows look-up only as far as it lies above the best positional "
        "shortcut there.",
    ),
    Finding(
        "validation accuracy",
        {**_CHOSEN, "split": "validation"},
        bound="$floor",
        uncontrolled="the policy's floor is its bound",
        says={
            "shown": "Its validation accuracy {effect} lies above the floor {floor}.",
            "opposite": "Its validation accuracy {effect} lies below the floor {floor}.",
            "open": "Its validation accuracy is {effect}, its interval not above the floor "
            "{floor}.",
        },
    ),
    Finding(
        "floor reached",
        {"measure": "reaches_floor"},
        bound=0.5,
        uncontrolled="a rule on the mean, no claim",
        marks={
            "opposite": "No checkpoint reaches validation accuracy {floor}; the one with the "
            "highest validation accuracy was taken."
        },
    ),
)
VIEWS = ()
TABLES = (
    *(
        Listing(
            f"The best candidates by the policy, the chosen one first: {split} accuracy",
            {"measure": "accuracy", "split": split, "place": Not("")},
            keys=("run", "step"),
            top=10,
        )
        for split in ("heldout", "validation")
    ),
)
