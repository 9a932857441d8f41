"""The circuit as found, and how it formed."""

from typing import Any

from circuit.reports.findings import Finding, When
from circuit.reports.sections import MECHANISM
from circuit.reports.views import Curves, Drawn, Listing, Not


def _circuit(material: Any, path: str) -> None:
    from circuit.reports.bespoke.circuit_map import circuit_at_last

    circuit_at_last(material.paths["circuit"], path)


def _over_training(material: Any, path: str) -> None:
    from circuit.reports.bespoke.circuit_map import circuit_over_training

    circuit_over_training(material.paths["circuit"], path)


SECTION = MECHANISM
QUESTION = "Which parts of the model make up the circuit, and when did each join it?"
_OTHERS = ({"against": "answers of other programs"},)
_EFFECT = {"measure": "effect", "step": "last"}
_BEYOND = {"measure": "beyond_control"}
_COUNT = "a count of nodes and edges that each have a control"
_LARGEST = "The largest edge is {source} → {target}"
FINDINGS = (
    Finding(
        "edges beyond their control",
        {"part": "edge", "step": "last", **_BEYOND},
        uncontrolled=_COUNT,
        number="edges beyond their control at step {step}, of {facts[edge]}",
        says={
            "shown": "At step {step} {effect} of {facts[edge]} edges add more to the right answer, "
            "or take more from it, than to the answers of other programs.",
            "open": "At step {step} no edge is shown to add more to the right answer than to the "
            "answers of other programs: there is no circuit to draw.",
        },
    ),
    Finding(
        "nodes beyond their control",
        {"part": "node", "step": "last", **_BEYOND},
        uncontrolled=_COUNT,
        number="nodes beyond their control at step {step}, of {facts[node]}",
    ),
    Finding(
        "head or MLP that the answer rests on most",
        {"part": "node", "evidence": "ablation", "source": Not("embedding"), **_EFFECT},
        pick=("source",),
        rank="size",
        control=_OTHERS,
        number="ablation effect of {source} on the answer, at step {step}",
        says={
            "shown": "Of heads and MLPs the answer rests most on {source}, whose removal costs "
            "{effect}.",
            "opposite": "Removing {source} changes most, and raises the answer: {effect}.",
            "open": "No head or MLP is shown to matter: removing {source} changes most, {effect}.",
        },
    ),
    Finding(
        "largest edge",
        {"part": "edge", **_EFFECT},
        pick=("source", "target"),
        rank="size",
        control=_OTHERS,
        number="edge {source} → {target} at step {step}",
        says={
            "shown": _LARGEST + ": it adds {effect}, against {control.short} to other answers.",
            "opposite": _LARGEST + " and lowers the answer: {effect}.",
        },
    ),
    When(
        "first edge to stay",
        {"part": "first_edge", "measure": "appears"},
        number="first edge to stay beyond its control, {source} → {target}",
        says={
            "shown": "The first edge to stay beyond its control is {source} → {target}, from "
            "{effect:short} on.",
        },
    ),
    Finding(
        "edges beyond their control at the run's start",
        {"part": "edge", "step": "first", **_BEYOND},
        uncontrolled=_COUNT,
        number="edges beyond their control at step {step}, of {facts[edge]}",
        says={"open": "At step {step} there is none."},
        marks={"shown": "{effect} edges are beyond their control already at step {step}."},
    ),
)
VIEWS = (
    Drawn(
        "circuit",
        "The circuit as found",
        caption="Nodes by what their removal costs the answer, edges by what flows along them to "
        "it (the right value's logit over the mean of all other values'); grey is not beyond its "
        "control. Removing and flowing are two measures, neither the sum of the other. Why a head "
        "looks where it looks is in no edge.",
        draw=_circuit,
        place="first",
    ),
    Drawn(
        "circuit_over_training",
        "The circuit as it forms",
        caption="The same picture at some checkpoints, all on one scale.",
        draw=_over_training,
        place="strip",
    ),
    Curves(
        "beyond_control",
        "How many nodes and edges are beyond their control",
        where=_BEYOND,
        series="part",
    ),
)
TABLES = (
    Listing(
        "Nodes at step {last}",
        {"part": "node", **_EFFECT},
        keys=("source", "evidence"),
        control=("answers of other programs", "excess"),
    ),
    Listing(
        "Edges at step {last}, the largest first",
        {"part": "edge", **_EFFECT},
        keys=("source", "target", "evidence"),
        sort=True,
        control=("answers of other programs", "excess"),
    ),
    Listing(
        "From which step on nodes and edges are beyond their control",
        {"measure": "appears", "part": ("node", "edge")},
        keys=("part", "source", "target"),
    ),
)
