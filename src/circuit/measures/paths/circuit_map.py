"""The circuit as nodes and edges: what each adds to the answer, beside what it adds to others.

1. An *answer* is the right value's logit minus the mean of all other values'. It singles out no
   value by what the model says, so an untrained model has no reason to lie on either side of zero.
2. *Nodes*: the embedding, every head and every MLP by the ablation effect on the answer, everything
   after them recomputed (evidence ``ablation``); and the answer itself (``output``).
3. *Edges*: the path from one node's write through the next node to the answer, patterns and
   LayerNorm scales frozen (``frozen_path``, :mod:`circuit.measures.paths.second_order`). An edge
   into the answer is a node's direct path, so the edges into a head or MLP sum to its edge into the
   answer, less what biases add. What made a head look where it looks is in no edge.
4. *Control*: the same number for the answers of the other programs instead of the right one, their
   mean. What raises values that are frequent, whichever is right, leaves no excess over it.
5. Intervals of excesses hold all nodes and edges of a checkpoint at once, so the largest may be
   looked for; those of effects and controls are for one number.
6. A node or edge *appears* at the checkpoint from which its verdict, not an open one, is that of
   the last. How many are beyond their control is a count without chance of its own.

Numbers are logits. Evidence of other sorts, as rows with another ``evidence``, fits beside these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict, TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import EXCESS, Estimates, estimates
from circuit.evidence import Estimate, Verdict, by_control, verdict
from circuit.experiments.donors import OTHERS, require_other_answers
from circuit.experiments.edits import (
    Edit,
    NoEmbedding,
    Removed,
    components,
    removal_sites,
)
from circuit.experiments.trial import ANSWER as ANSWER_SITES
from circuit.experiments.trial import LIKE_LENGTHS, Trial
from circuit.landmarks import from_then_on
from circuit.measures.paths.direct import BIASES, EMBEDDING, Readout, Targets, direct_paths
from circuit.measures.paths.second_order import ARROW, second_order_sites, summed, terms
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look, pick
from circuit.scalars.value import stream_reader, value_logits
from circuit.scalars.write import Baseline
from circuit.task.events import ReadEvents

NODE, EDGE, ANSWER = "node", "edge", "answer"
EFFECT, APPEARS, BEYOND = "effect", "appears", "beyond_control"
FIRST = "first_edge"
SCHEMA = 1


class Number(TypedDict):
    """A mean with its 95% interval, in logits."""

    mean: float
    low: float
    high: float


class Part(TypedDict):
    """A node (``target`` is empty) or an edge."""

    source: str
    target: str
    evidence: str
    effect: Number
    control: Number
    excess: Number
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
    control: str
    checkpoints: list[Checkpoint]


def circuit_map(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
    baseline: Baseline,
) -> pd.DataFrame:
    """Nodes and edges at every step.

    Returns:
        Estimates by ``part`` (node, edge), ``source``, ``target`` (empty for a node) and
        ``evidence``, of

        - ``effect`` in logits, its control and the paired excess;
        - ``beyond_control``: how many of the part are, at every step;
        - ``appears``, at the last step, in steps; missing where it does not. That of the edge that
          is there first (of several the largest) is repeated under the part ``first_edge``.

    Raises:
        AnalysisError: there are fewer than three events, or all have the same answer.
    """
    sites = second_order_sites(decoder.settings.n_layers)
    sites |= removal_sites(decoder.settings.n_layers) | ANSWER_SITES | {"embedding"}
    parts = []
    for step in steps:
        with torch.no_grad():
            seen = look(decoder, theta(step).double(), events, value_ids, sites)
            weights = answer_weights(events, value_ids)
            found = {**_nodes(seen, weights, baseline), **_edges(seen, weights)}
        parts.append(beside_others(step, found, ("part", "source", "target", "evidence")))
    rows = pd.concat(parts, ignore_index=True)
    return pd.concat([rows, _landmarks(rows)], ignore_index=True)


def answer_weights(events: ReadEvents, value_ids: range) -> Float[Tensor, "E 2 V"]:
    """What value logits are multiplied by to give the answer, and the mean of other answers.

    Raises:
        AnalysisError: there are fewer than three events, or all have the same answer.
    """
    require_other_answers(events)
    count = len(value_ids)
    answer = events.answer - value_ids.start
    one = torch.eye(count, dtype=torch.float64)[answer]
    right = one - (1 - one) / (count - 1)
    differs = (answer[:, None] != answer).double()
    return torch.stack([right, differs @ right / differs.sum(1, keepdim=True)], 1)


Key = tuple[str, str, str, str]
Named = TypeVar("Named", bound=tuple[str, ...])


def _nodes(
    seen: Seen, weights: Float[Tensor, "E 2 V"], baseline: Baseline
) -> dict[Key, Float[Tensor, "E 2"]]:
    """Ablation effects (step 2), and the answer."""

    def answers(one: Seen) -> Float[Tensor, "E 2"]:
        at = one.sites["final_norm"]
        state = at if at.dim() == 2 else pick(at, one.events.prediction)
        return (weights @ value_logits(one, state)[:, :, None])[..., 0]

    whole = answers(seen)
    removed: dict[str, Edit] = {EMBEDDING: NoEmbedding(baseline)}
    removed |= {name: Removed(name, baseline) for name in components(seen.decoder.settings)}
    found = {
        (NODE, name, "", "ablation"): whole - answers(left)
        for name, _, left in Trial(seen, LIKE_LENGTHS).passes(removed)
    }
    return {**found, (NODE, ANSWER, "", "output"): whole}


def _edges(seen: Seen, weights: Float[Tensor, "E 2 V"]) -> dict[Key, Float[Tensor, "E 2"]]:
    """Frozen paths between nodes, and from nodes to the answer (step 3); those of biases are none.

    A source that an MLP made of several is that MLP.
    """
    read = answer_readout(seen, weights)
    direct = direct_paths(seen, read)
    into: dict[Key, Tensor] = {}
    for name, kind, value in zip(direct.names, direct.kinds, direct.values.unbind(-1), strict=True):
        if kind != BIASES:
            key = _edge(EMBEDDING if kind == EMBEDDING else name, ANSWER)
            into[key] = into.get(key, torch.zeros_like(value)) + value
    nodes = {EMBEDDING, *components(seen.decoder.settings)}
    through = [term for term in terms(seen, read) if term.through != "logit"]
    for (source, target), value in summed(
        through, lambda term: (_node(term.source), term.through)
    ).items():
        if source in nodes:
            into[_edge(source, target)] = value
    return into


def _edge(source: str, target: str) -> Key:
    return EDGE, source, target, "frozen_path"


def _node(source: str) -> str:
    last = source.rpartition(ARROW)[2]
    return EMBEDDING if last.endswith("_embedding") else last


def answer_readout(seen: Seen, weights: Float[Tensor, "E 2 V"]) -> Readout:
    """How a state at the prediction position is read: towards the answer, and towards others.

    Args:
        seen: a pass with ``final_norm`` and ``final_norm_scale``.
        weights: of :func:`answer_weights`.
    """
    ids = seen.value_ids
    rows = weights @ seen.params["embedding.token"][ids.start : ids.stop]
    scale = pick(seen.sites["final_norm_scale"], seen.events.prediction)
    return Readout(
        Targets(seen.events.answer, ()),
        rows,
        stream_reader(seen, rows, scale[:, None]),
        rows @ seen.params["final_norm.bias"],
        (rows @ pick(seen.sites["final_norm"], seen.events.prediction)[:, :, None])[..., 0],
    )


def beside_others(
    step: int,
    found: Mapping[Named, Float[Tensor, "E 2"]],
    columns: Sequence[str],
    excess: str = EXCESS,
) -> pd.DataFrame:
    """Estimates in logits of one checkpoint, with controls and excesses (step 5).

    Args:
        found: for the right answer and for others, by keys whose names are ``columns``; where
            ``measure`` is none of them, it is ``effect``.
        excess: what the paired difference is called.
    """
    labels = [{"measure": EFFECT, **dict(zip(columns, key, strict=True))} for key in found]
    units = {label["measure"]: "logit" for label in labels}
    rows = Estimates(step, units, families=1)
    for place, against in enumerate(("", OTHERS)):
        for label, values in zip(labels, found.values(), strict=True):
            rows.add(values[:, place].double().numpy(), against=against, **label)
    rows.excess(OTHERS, excess)
    return rows.frame()


def circuit_record(rows: pd.DataFrame) -> Circuit:
    """Content of ``circuit.json``: all nodes and edges of the rows, with their verdicts."""
    checkpoints = []
    for step, at in rows[rows["measure"] == EFFECT].groupby("step"):
        parts: dict[str, list[Part]] = {NODE: [], EDGE: []}
        groups = at.groupby(["part", "source", "target", "evidence"], sort=False)
        for (part, source, target, evidence), one in groups:
            by = by_control(one)
            parts[part].append(
                Part(
                    source=source,
                    target=target,
                    evidence=evidence,
                    effect=_number(by[""]),
                    control=_number(by[OTHERS]),
                    excess=_number(by[EXCESS]),
                    verdict=verdict(by[""], [by[OTHERS]], by[EXCESS]),
                )
            )
        checkpoints.append(Checkpoint(step=int(step), nodes=parts[NODE], edges=parts[EDGE]))
    return Circuit(schema=SCHEMA, unit="logit", control=OTHERS, checkpoints=checkpoints)


def _number(one: Estimate) -> Number:
    return Number(mean=one.mean, low=one.low, high=one.high)


def _landmarks(rows: pd.DataFrame) -> pd.DataFrame:
    """How many are beyond their control at every step, and when each came to stay (step 6)."""
    checkpoints = circuit_record(rows)["checkpoints"]
    steps = np.array([at["step"] for at in checkpoints])
    counts, born = [], []
    for part in (NODE, EDGE):
        by_step = [at["nodes"] if part == NODE else at["edges"] for at in checkpoints]
        for step, parts in zip(steps, by_step, strict=True):
            counts.append((part, step, sum(one["verdict"] != "open" for one in parts)))
        for over_time in zip(*by_step, strict=True):
            last = over_time[-1]
            same = [one["verdict"] == last["verdict"] != "open" for one in over_time]
            when, size = from_then_on(steps, np.array(same)), abs(last["excess"]["mean"])
            names = last["source"], last["target"], last["evidence"]
            born.append((part, *names, np.nan if when is None else when, size))
    every = pd.DataFrame(born, columns=["part", "source", "target", "evidence", "mean", "size"])
    order = every[every["part"] == EDGE].sort_values(["mean", "size"], ascending=[True, False])
    appears = pd.concat([every, order.head(1).assign(part=FIRST)])
    appears = appears.drop(columns="size").assign(step=steps[-1], measure=APPEARS, unit="step")
    beyond = pd.DataFrame(counts, columns=["part", "step", "mean"])
    found = pd.concat([appears, beyond.assign(measure=BEYOND, unit="1")], ignore_index=True)
    return estimates(found.fillna(dict.fromkeys(["source", "target", "evidence"], "")))
