"""How well one checkpoint does on whole splits."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import BEHAVIOUR
from circuit.reports.views import Dots, Listing

SECTION = BEHAVIOUR
QUESTION = "How well does the checkpoint at step {facts[step]} do on whole splits?"
_WHOLE = {"slice": "all", "split": "$splits"}
FINDINGS = (
    Finding(
        "accuracy",
        {"measure": "accuracy", **_WHOLE},
        each=("split",),
        control=({"against": "guess"},),
        number="accuracy on {split}",
        says={
            "shown": "On {split} {effect:short} of answers are right.",
            "open": "On {split} {effect:short} of answers are right, which is not shown to be more "
            "than a guess is ({control:short}).",
        },
    ),
    When(
        "checkpoint chosen by accuracy",
        {"measure": "best_checkpoint"},
        uncontrolled="a choice, not an effect",
        says="The checkpoint was chosen by its accuracy on programs of {split}, so the number "
        "there is biased upwards.",
    ),
    Finding(
        "margin",
        {"measure": "margin", **_WHOLE},
        each=("split",),
        uncontrolled="0 parts right answers from wrong ones",
        number="margin on {split}",
    ),
    Finding(
        "entropy",
        {"measure": "entropy", **_WHOLE},
        each=("split",),
        uncontrolled="0 is certainty; it is told, not compared",
        bound=None,
        number="entropy on {split}",
    ),
)
VIEWS = (
    Dots(
        "splits",
        "Accuracy and answer margin per split",
        caption="Accuracy and margins on every program of a split: the true value's logit over the "
        "best wrong one of all tokens (margin) and of values alone (value margin).",
        where={"measure": ("accuracy", "margin", "value_margin"), **_WHOLE},
        y=("split",),
        panels=("measure",),
    ),
)
TABLES = (
    Listing(
        "Accuracy per split and slice",
        {"measure": "accuracy"},
        keys=("split", "slice", "slice_value"),
    ),
)
