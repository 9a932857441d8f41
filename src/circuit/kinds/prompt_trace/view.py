"""One program followed through the model: the answer, and what it came from."""

from typing import Any

from circuit.reports.findings import Finding
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Drawn, Listing


def _story(material: Any, path: str) -> None:
    from circuit.reports.bespoke.trace_picture import story

    story(material.facts, material.tables["attention"], material.tables["paths"], path)


def _page(material: Any, path: str) -> None:
    from circuit.reports.bespoke.trace_page import write_trace_page

    write_trace_page(material, path)


SECTION = MECHANISM
QUESTION = "What happens, step by step, when the model answers one read?"
_START = ({"step": "first"},)
_ONE = "one event, which has no interval"
_LAST = {"step": "last"}
_ASKED = (
    "Read {facts[read_index]} of program {facts[sample_id]} asks for {facts[key]}, and the model "
    "of step {step} answers {facts[said]}, which is "
)
FINDINGS = (
    Finding(
        name="answer", where={"measure": "answer_margin", **_LAST}, uncontrolled=_ONE,
        number="margin over the best other token, at step {step}",
        says={
            "shown": _ASKED + "right.",
            "opposite": _ASKED + "wrong: right is {facts[answer]}.",
            "open": _ASKED + "a tie with another token.",
        },
    ),
    Finding(
        name="probability of the right answer", where={"measure": "answer_probability", **_LAST},
        control=_START, bound=None, number="probability of the right answer, at step {step}",
        says="The right answer has probability {effect.mean:.1%} ({control.mean:.1%} at the run's "
        "start).",
    ),
    Finding(
        name="attention of the head that adds most",
        where={"measure": "attention_on_support_value", "chosen": "looker", **_LAST},
        control=_START, number="attention of {component} on the support value",
        says="Of the heads {component} adds most to the margin over {facts[rival]}: it puts "
        "{effect.mean:.0%} of its attention on the support value, against {control.mean:.0%} at "
        "the run's start.",
    ),
    Finding(
        name="value margin", where={"measure": "value_margin", **_LAST}, control=_START,
        number="value margin, at step {step}", says="That margin is {effect},",
    ),
    Finding(
        name="largest path", where={"measure": "path", "target": "value_margin", **_LAST},
        pick=("path", "positions"), rank="size", control=_START,
        number="{path}, to the value margin",
        says="and the largest path to it is {path} with {effect}.",
    ),
    Finding(
        name="logit of the right answer", where={"measure": "correct_logit", **_LAST},
        control=_START, number="logit of the right answer, at step {step}", quiet=True,
    ),
    Finding(
        name="score for the support value over other values",
        where={"measure": "separation", "component": "whole", **_LAST}, uncontrolled=_ONE,
        number="score of {facts[looker]} for the support value over the mean of other values",
        quiet=True,
    ),
    Finding(
        name="miss of the sum of direct paths", where={"measure": "residual", **_LAST},
        uncontrolled="an identity, in float64", bound=1e-6,
        number="largest |sum of direct paths − value|", quiet=True,
        marks={"shown": "Direct paths miss the value by {effect}: they are not the whole."},
    ),
)  # fmt: skip
VIEWS = (
    Drawn(
        name="story", title="One read, step by step",
        caption="Where every head looks from the prediction and from the support value, and how "
        "the margin comes together write by write. The page trace.html beside this report tells it "
        "in sentences, with all tables.",
        draw=_story,
    ),
    Drawn(
        name="trace", suffix_=".html", title="One program, step by step",
        caption="The program followed through the model in sentences.", draw=_page,
    ),
)  # fmt: skip
TABLES = (
    Listing(
        title="What every write adds: at the prediction directly, at the support value through "
        "later heads",
        where={"measure": "write", **_LAST}, keys=("component", "positions"), across="target",
    ),
    Listing(
        title="The largest paths", where={"measure": "path", **_LAST}, keys=("path", "positions"),
        across="target", top=20,
    ),
    Listing(
        title="Why {facts[looker]} looks at the support value: its score over other values, by "
        "what was written at the keys",
        where={"measure": "separation", **_LAST}, keys=("component",),
    ),
)  # fmt: skip
