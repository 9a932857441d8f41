"""The circuit as nodes and edges: what each does to the answer beside its controls, since when.

1. All numbers are those of a mediation analysis (:mod:`circuit.measures.paths.mediation`), in
   logits of the *answer* (:mod:`circuit.measures.paths.answer`). Nothing is measured here.
2. *Nodes*: the embedding, every head and every MLP by its total effect, and the answer itself.
3. *Edges*: from a sender to one input of a later component (a head's query, key or value, an MLP),
   or to the answer, by its path effect. Edges into queries and keys say where a head looks, all
   others what is moved.
4. A *verdict* is the one that holds beside all controls (:func:`circuit.evidence.agreed`).
   Intervals of excesses hold all nodes and edges of a checkpoint at once, so the largest may be
   looked for.
5. A node or edge *appears* at the checkpoint from which its verdict, not an open one, is that of
   the last. How many are beyond their controls is a count without chance of its own.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import pandas as pd

from circuit.estimates import estimates, over
from circuit.evidence import Estimate, Verdict, agreed, by_control
from circuit.measures.paths.path_numbers import APPEARS, PATH, TOTAL, WHOLE
from circuit.model.nodes import ANSWER

NODE, EDGE, FIRST = "node", "edge", "first_edge"
EFFECT, BEYOND = "effect", "beyond_controls"
SCHEMA = 2
_KEYS = ["part", "source", "target", "evidence"]


class Number(TypedDict):
    """A mean with its 95% interval, in logits."""

    mean: float
    low: float
    high: float


class Part(TypedDict):
    """A node (``target`` is empty) or an edge; controls and excesses over them by their names."""

    source: str
    target: str
    evidence: str
    effect: Number
    controls: dict[str, Number]
    excesses: dict[str, Number]
    verdict: Verdict


class Checkpoint(TypedDict):
    """All nodes and edges at one step."""

    step: int
    nodes: list[Part]
    edges: list[Part]


class Circuit(TypedDict):
    """Content of ``circuit.json``."""

    schema: int
    unit: str
    checkpoints: list[Checkpoint]


def circuit_map(paths: pd.DataFrame) -> pd.DataFrame:
    """Nodes and edges at every step.

    Args:
        paths: rows of a mediation analysis.

    Returns:
        Estimates by ``part`` (node, edge), ``source``, ``target`` (empty for a node) and
        ``evidence``, of

        - ``effect`` in logits, its controls and the paired excesses;
        - ``beyond_controls``: how many of the part are, at every step;
        - ``appears``, at the last step, in steps; missing where it does not. That of the edge that
          is there first (of several the largest) is repeated under the part ``first_edge``.
    """
    rows = paths[paths["measure"].isin([TOTAL, WHOLE, PATH, APPEARS])]
    edge, answer = rows["receiver"] != "", rows["source"] == ANSWER
    rows = rows.assign(
        part=np.where(edge, EDGE, NODE),
        target=rows["receiver"],
        evidence=np.select([edge, answer], ["path effect", "its own value"], "total effect"),
        measure=rows["measure"].where(rows["measure"] == APPEARS, EFFECT),
    ).drop(columns=["receiver", "path", "input"])
    return pd.concat([rows, _landmarks(rows)], ignore_index=True)


def circuit_record(rows: pd.DataFrame) -> Circuit:
    """Content of ``circuit.json``: all nodes and edges of the rows, with their verdicts."""
    checkpoints = []
    for step, at in rows[rows["measure"] == EFFECT].groupby("step"):
        parts: dict[str, list[Part]] = {NODE: [], EDGE: []}
        for (part, source, target, evidence), one in at.groupby(_KEYS, sort=False):
            by = by_control(one)
            excesses = {name: over(name) for name in by if over(name) in by}
            parts[part].append(
                Part(
                    source=source,
                    target=target,
                    evidence=evidence,
                    effect=_number(by[""]),
                    controls={name: _number(by[name]) for name in excesses},
                    excesses={name: _number(by[paired]) for name, paired in excesses.items()},
                    verdict=agreed(by),
                )
            )
        checkpoints.append(Checkpoint(step=int(step), nodes=parts[NODE], edges=parts[EDGE]))
    return Circuit(schema=SCHEMA, unit="logit", checkpoints=checkpoints)


def _number(one: Estimate) -> Number:
    return Number(mean=one.mean, low=one.low, high=one.high)


def _landmarks(rows: pd.DataFrame) -> pd.DataFrame:
    """How many are beyond their controls at every step, and the edge that is there first."""
    counts = [
        {"part": part, "step": at["step"], "mean": sum(one["verdict"] != "open" for one in some)}
        for at in circuit_record(rows)["checkpoints"]
        for part, some in ((NODE, at["nodes"]), (EDGE, at["edges"]))
    ]
    keys, last = [*_KEYS, "mean"], rows[rows["step"] == rows["step"].max()]
    edges = last[last["part"] == EDGE]
    born = edges.loc[edges["measure"] == APPEARS, keys]
    sizes = edges.loc[(edges["measure"] == EFFECT) & (edges["against"] == ""), keys]
    born = born.merge(sizes.assign(size=sizes["mean"].abs()).drop(columns="mean"), on=_KEYS)
    first = born.sort_values(["mean", "size"], ascending=[True, False]).head(1)
    first = first.drop(columns="size").assign(part=FIRST, step=rows["step"].max(), measure=APPEARS)
    beyond = pd.DataFrame(counts).assign(measure=BEYOND, unit="1")
    found = pd.concat([first.assign(unit="step"), beyond], ignore_index=True)
    return estimates(found.fillna(dict.fromkeys(["source", "target", "evidence"], "")))
