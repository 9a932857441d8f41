"""How well one checkpoint does on whole splits."""

from circuit.reports.findings import Finding, When
from circuit.reports.sections import BEHAVIOUR
from circuit.reports.views import Dots, Listing

SECTION = BEHAVIOUR
QUESTION = "How well does the checkpoint at step {facts[step]} do on whole splits?"
_WHOLE = {"slice": "all", "split": "$splits"}
FINDINGS = (
    Finding(
        name="accuracy",
        where={"measure": "accuracy", **_WHOLE},
        each=("split",),
        control=({"against": "guess"},),
        number="accuracy on {split}",
        says={
            "shown": "On {split} {effect:short} of answers are right.",
            "open": "On {split} {effect:short} of answers are right, which is not shown to be more "
            "than a guess is ({control:short}).",
            "opposite": "On {split} {effect:short} of answers are right, fewer than by a guess "
            "({control:short}).",
        },
    ),
    When(
        name="checkpoint chosen by accuracy",
        where={"measure": "best_checkpoint"},
        uncontrolled="a choice, not an effect",
        says="The checkpoint was chosen by its accuracy on programs of {split}, so the number "
        "there is biased upwards.",
    ),
    Finding(
        name="margin",
        where={"measure": "margin", **_WHOLE},
        each=("split",),
        uncontrolled="0 parts right answers from wrong ones",
        number="margin on {split}",
        quiet=True,
    ),
    Finding(
        name="entropy",
        where={"measure": "entropy", **_WHOLE},
        each=("split",),
        uncontrolled="0 is certainty; it is told, not compared",
        bound=None,
        number="entropy on {split}",
        quiet=True,
    ),
)
VIEWS = (
    Dots(
        name="splits",
        title="Accuracy and answer margin per split",
        caption="Accuracy and margins per split, every program of the split. margin: true value's "
        "logit − best wrong logit over all tokens; value margin: over values only.",
        where={"measure": ("accuracy", "margin", "value_margin"), **_WHOLE},
        y=("split",),
        panels=("measure",),
    ),
)
TABLES = (
    Listing(
        title="Accuracy per split and slice",
        where={"measure": "accuracy"},
        keys=("split", "slice", "slice_value"),
    ),
)
