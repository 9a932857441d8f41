"""Circuits as sets of edges: which of them are alive, random ones like them, ever smaller ones.

1. A *circuit* is edges (:mod:`circuit.model.nodes`), each with the subspace that it carries (None:
   all of the write), and for each node the roles at whose positions its write counts.
2. An edge is *alive* where it lies on a way from the embedding to the answer.
3. A *random circuit* has as many nodes and live edges as another, of the same kinds: heads are
   exchanged for heads of their layer, whose roles they take, and then every edge, several times
   over, for any other between its nodes that feeds the same kind of input (query, key, value, MLP,
   answer), as long as no fewer edges and nodes are alive.
4. *Pruning* leaves out, round by round, the edges whose loss costs least by themselves, an eighth
   of those left and at least one, with all that they were the last way for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from circuit.config.recipe import ModelSettings
from circuit.model.nodes import ANSWER, EMBEDDING, Edge, every_edge, owner

_TRIES = 6  # exchanges that are tried for every edge
_ROUND = 8  # one edge in so many is left out in a round


class Subspace(NamedTuple):
    """What an edge carries: the top ``rank`` directions of a named subspace."""

    name: str
    rank: int


@dataclass(frozen=True, eq=False)
class Circuit:
    """Edges with what they carry, and the roles of nodes that write at some positions only."""

    edges: Mapping[Edge, Subspace | None]
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def live(self) -> frozenset[Edge]:
        """The edges that lie on a way from the embedding to the answer."""
        forward = _reached(self.edges, EMBEDDING)
        back = _reached([(owner(r), s) for s, r in self.edges], ANSWER)
        return frozenset((s, r) for s, r in self.edges if s in forward and owner(r) in back)

    @property
    def nodes(self) -> set[str]:
        """Heads and MLPs on live edges."""
        return {one for s, r in self.live for one in (s, owner(r))} - {EMBEDDING, ANSWER}

    def renamed(self, names: Mapping[str, str]) -> Circuit:
        """With other nodes in the place of some."""

        def of(name: str) -> str:
            node, dot, part = name.partition(".")
            return f"{names.get(node, node)}{dot}{part}"

        edges = {(of(sender), of(receiver)): one for (sender, receiver), one in self.edges.items()}
        return Circuit(edges, {of(node): roles for node, roles in self.roles.items()})

    def behind(self, node: str) -> set[str]:
        """A node and all that it reaches."""
        return _reached(self.edges, node)

    def less(self, gone: Iterable[Edge]) -> Circuit:
        """The circuit without some edges, and without all that is then not alive."""
        gone = set(gone)
        left = replace(self, edges={e: one for e, one in self.edges.items() if e not in gone})
        return replace(left, edges={e: one for e, one in left.edges.items() if e in left.live})


def whole(shape: ModelSettings) -> Circuit:
    """All edges of a model."""
    return Circuit(dict.fromkeys(every_edge(shape)))


def _reached(edges: Iterable[Edge], start: str) -> set[str]:
    """All nodes to which edges lead from a node."""
    found, left, more = {start}, list(edges), True
    while more:
        new = {owner(r) for s, r in left if s in found} - found
        found, more = found | new, bool(new)
    return found


def random_circuits(circuit: Circuit, shape: ModelSettings, count: int, seed: int) -> list[Circuit]:
    """Circuits like another (step 3 of the module)."""
    rng, every = np.random.default_rng(seed), every_edge(shape)
    return [_random(circuit, every, shape, rng) for _ in range(count)]


def _random(
    circuit: Circuit, every: Sequence[Edge], shape: ModelSettings, rng: np.random.Generator
) -> Circuit:
    names: dict[str, str] = {}
    for layer in range(shape.n_layers):
        order = rng.permutation(shape.n_heads)
        names |= {f"L{layer}H{head}": f"L{layer}H{to}" for head, to in enumerate(order)}
    now = circuit.renamed(names)
    nodes = {EMBEDDING, ANSWER, *(one for s, r in now.edges for one in (s, owner(r)))}
    free: dict[str, list[Edge]] = {}
    for s, r in every:
        if s in nodes and owner(r) in nodes:
            free.setdefault(_kind(r), []).append((s, r))
    edges, alive, count = list(now.edges), len(now.live), len(now.nodes)
    for at in rng.integers(len(edges), size=_TRIES * len(edges)):
        old, others = edges[at], free[_kind(edges[at][1])]
        new = others[rng.integers(len(others))]
        if new in now.edges:
            continue
        swapped = {new if edge == old else edge: one for edge, one in now.edges.items()}
        then = replace(now, edges=swapped)
        if len(then.live) >= alive and len(then.nodes) >= count:
            now, edges[at] = then, new
    return now


def _kind(receiver: str) -> str:
    """``q``, ``k``, ``v``, ``MLP`` or ``answer``."""
    return "MLP" if receiver.endswith("MLP") else receiver.rpartition(".")[2]


def pruned(circuit: Circuit, without: Callable[[Circuit], Mapping[Edge, float]]) -> list[Circuit]:
    """The circuit and ever smaller ones, down to no edge (step 4 of the module).

    Args:
        without: how good a circuit is without each of its edges.
    """
    found = [circuit.less(())]
    while left := found[-1].edges:
        order = sorted(left, key=without(found[-1]).__getitem__, reverse=True)
        found.append(found[-1].less(order[: max(1, len(left) // _ROUND)]))
    return found


def other_edges(circuit: Circuit, shape: ModelSettings, count: int, seed: int) -> list[Circuit]:
    """As many edges that are not a circuit's, drawn anew each time; all there are, if fewer."""
    rng = np.random.default_rng(seed)
    free = [edge for edge in every_edge(shape) if edge not in circuit.edges]
    most = min(len(free), len(circuit.edges))
    drawn = [rng.choice(len(free), most, replace=False) for _ in range(count)]
    return [Circuit({free[at]: None for at in some}) for some in drawn]
