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
_NAMES = ("answers of other programs", "a random change of the same size")
_CONTROLS = tuple({"against": name} for name in _NAMES)
_EFFECT = {"measure": "effect", "step": "last"}
_BEYOND = {"measure": "beyond_controls"}
_COUNT = "a count of nodes and edges that each have controls"
_LARGEST = "The largest edge is {source} → {target}"
FINDINGS = (
    Finding(
        "edges beyond their controls",
        {"part": "edge", "step": "last", **_BEYOND},
        uncontrolled=_COUNT,
        number="edges beyond their controls at step {step}, of {facts[edge]}",
        says={
            "shown": "At step {step} damage along {effect} of {facts[edge]} edges changes the "
            "right answer, more than those of other programs and than random changes do.",
            "open": "At step {step} damage along no edge is shown to change the right answer "
            "beyond its controls: there is no circuit to draw.",
        },
    ),
    Finding(
        "nodes beyond their controls",
        {"part": "node", "step": "last", **_BEYOND},
        uncontrolled=_COUNT,
        number="nodes beyond their controls at step {step}, of {facts[node]}",
    ),
    Finding(
        "head or MLP that the answer rests on most",
        {"part": "node", "source": Not("embedding", "answer"), **_EFFECT},
        pick=("source",),
        rank="size",
        control=_CONTROLS,
        number="total effect of {source} on the answer, at step {step}",
        says={
            "shown": "Of heads and MLPs the answer rests most on {source}, whose damage costs "
            "{effect}.",
            "opposite": "Damage to {source} changes most, and raises the answer: {effect}.",
            "open": "No head or MLP is shown to matter: damage to {source} changes most, {effect}.",
        },
    ),
    Finding(
        "largest edge",
        {"part": "edge", **_EFFECT},
        pick=("source", "target"),
        rank="size",
        control=_CONTROLS,
        number="edge {source} → {target} at step {step}",
        says={
            "shown": _LARGEST + ": damaged there alone, {source} costs the answer {effect}.",
            "opposite": _LARGEST + " and lowers the answer: {effect}.",
        },
    ),
    When(
        "first edge to stay",
        {"part": "first_edge", "measure": "appears"},
        number="first edge to stay beyond its controls, {source} → {target}",
        says={
            "shown": "The first edge to stay beyond its controls is {source} → {target}, from "
            "{effect:short} on.",
        },
    ),
    Finding(
        "edges beyond their controls at the run's start",
        {"part": "edge", "step": "first", **_BEYOND},
        uncontrolled=_COUNT,
        number="edges beyond their controls at step {step}, of {facts[edge]}",
        says={"open": "At step {step} there is none."},
        marks={"shown": "{effect} edges are beyond their controls already at step {step}."},
    ),
)
VIEWS = (
    Drawn(
        "circuit",
        "The circuit as found",
        caption="Nodes by what their damage costs the answer (the right value's logit over the "
        "mean of all other values'), edges by what it costs where one reader alone sees it: "
        "dashed into the queries and keys that say where a head looks, solid into what is moved. "
        "Grey is not beyond its controls. Edges that need each other count what they share each.",
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
        "How many nodes and edges are beyond their controls",
        where=_BEYOND,
        series="part",
    ),
)
TABLES = (
    Listing(
        "Nodes at step {last}",
        {"part": "node", **_EFFECT},
        keys=("source", "evidence"),
        control=_NAMES,
    ),
    Listing(
        "Edges at step {last}, the largest first",
        {"part": "edge", **_EFFECT},
        keys=("source", "target", "evidence"),
        sort=True,
        control=_NAMES,
    ),
    Listing(
        "From which step on nodes and edges are beyond their controls",
        {"measure": "appears", "part": ("node", "edge")},
        keys=("part", "source", "target"),
    ),
)
