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
_ASKED = (
    "Read {facts[read_index]} of program {facts[sample_id]} asks for {facts[key]}, and the model "
    "of step {step} answers {facts[said]}, which is "
)
FINDINGS = (
    Finding(
        "answer",
        {"measure": "answer_margin", "step": "last"},
        uncontrolled=_ONE,
        number="margin over the best other token, at step {step}",
        says={
            "shown": _ASKED + "right.",
            "opposite": _ASKED + "wrong: right is {facts[answer]}.",
            "open": _ASKED + "a tie with another token.",
        },
    ),
    Finding(
        "probability of the right answer",
        {"measure": "answer_probability", "step": "last"},
        control=_START,
        bound=None,
        says="The right answer has probability {effect.mean:.1%} ({control.mean:.1%} at the run's "
        "start).",
    ),
    Finding(
        "attention of the head that adds most",
        {"measure": "attention_on_support_value", "chosen": "looker", "step": "last"},
        control=_START,
        number="attention of {component} on the support value",
        says="Of the heads {component} adds most to the margin over {facts[rival]}: it puts "
        "{effect.mean:.0%} of its attention on the support value, against {control.mean:.0%} at "
        "the run's start.",
    ),
    Finding(
        "logits",
        {"measure": ("value_margin", "correct_logit"), "step": "last"},
        each=("measure",),
        spoken={"measure": "value_margin"},
        control=_START,
        says="That margin is {effect},",
    ),
    Finding(
        "largest path",
        {"measure": "path", "target": "value_margin", "step": "last"},
        pick=("path", "positions"),
        rank="size",
        control=_START,
        number="{path}, to the value margin",
        says="and the largest path to it is {path} with {effect}.",
    ),
    Finding(
        "score of {facts[looker]} for the support value over the mean of other values",
        {"measure": "separation", "component": "whole", "step": "last"},
        uncontrolled=_ONE,
    ),
    Finding(
        "miss of the sum of direct paths",
        {"measure": "residual", "step": "last"},
        uncontrolled="an identity, in float64",
        bound=1e-6,
        marks={"shown": "Direct paths miss the value by {effect}: they are not the whole."},
    ),
)
VIEWS = (
    Drawn(
        "story",
        "One read, step by step",
        caption="Where every head looks from the prediction and from the support value, and how "
        "the margin comes together write by write. The page trace.html beside this report tells it "
        "in sentences, with all tables.",
        draw=_story,
    ),
    Drawn("trace", "One program, step by step", suffix_=".html", draw=_page),
)
TABLES = (
    Listing(
        "What every write adds: at the prediction directly, at the support value through later "
        "heads",
        {"measure": "write", "step": "last"},
        keys=("component", "positions"),
        across="target",
    ),
    Listing(
        "The largest paths",
        {"measure": "path", "step": "last"},
        keys=("path", "positions"),
        across="target",
        top=20,
    ),
    Listing(
        "Why {facts[looker]} looks at the support value: its score over other values, by what was "
        "written at the keys",
        {"measure": "separation", "step": "last"},
        keys=("component",),
    ),
)
