"""Attribution of a scalar's growth: scalar × update × groups × path rule.

For an interval θ → θ' = θ + Δ with Δ = Σ_c Δ_c:

1. Bind every scalar to the choices it makes at θ (:class:`circuit.scalars.base.Scalar`); evaluate
   it and its gradient at the nodes of the path rule on the chord from θ to θ'. The end point of one
   interval is the start of the next, so ``trapezoid`` costs one evaluation a step and ``simpson``
   two.
2. Ḡ = the rule's weighted mean of the gradients; A_c = ⟨Ḡ, Δ_c⟩ (integrated gradients along the
   chord, Sundararajan et al. 2017).
3. Bind anew at θ'. What that changes of the value there (a basis that turned, a rival that was
   overtaken) is booked in terms of its own, so intervals telescope.
4. The closure residual S(θ') - S(θ) - Σ_c A_c - Σ terms is kept as a row of its own, so rows sum
   exactly.
5. A_c splits over parameter groups because the inner product is a sum over parameters.

Steps 1 and 2 have two modes with the same numbers. *Reverse mode* takes gradients and then their
products. *Forward mode* takes the derivatives of all scalars along every Δ_c at a node, so A_c is
their weighted mean over nodes: its cost hardly grows with the number of scalars. It shares no node
between intervals, since Δ is another; it cannot split over parameter groups, but gives A_c of every
event. The engine takes the mode that costs less of those that give what is wanted
(:func:`passes_in_reverse`, :func:`passes_in_forward`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.attribution.products import atom_products
from circuit.model.layout import Layout
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import Evaluation, Evaluator


def _gauss(nodes: int) -> dict[float, float]:
    at, weights = np.polynomial.legendre.leggauss(nodes)
    return dict(zip(((at + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


# Nodes on the chord (as fractions) and their weights.
PATH_RULES: dict[str, dict[float, float]] = {
    "left": {0.0: 1.0},
    "midpoint": {0.5: 1.0},
    "trapezoid": {0.0: 0.5, 1.0: 0.5},
    "simpson": {0.0: 1 / 6, 0.5: 4 / 6, 1.0: 1 / 6},
    "boole": {0.0: 7 / 90, 0.25: 32 / 90, 0.5: 12 / 90, 0.75: 32 / 90, 1.0: 7 / 90},
    "gauss_8": _gauss(8),
    "gauss_16": _gauss(16),
    "gauss_32": _gauss(32),
}
_ENDS = {0.0, 1.0}
# Costs in forward passes over the events, measured on the reference model (docs/architecture.md).
_BACKWARD, _FORWARD, _DIRECTION = 2.0, 2.0, 2.4


def nodes_of(rules: Sequence[str]) -> set[float]:
    """Every node of some path rules."""
    return {node for rule in rules for node in PATH_RULES[rule]}


def passes_in_reverse(scalars: int, nodes: Collection[float]) -> float:
    """What an interval costs in reverse mode, in forward passes: a backward pass per scalar.

    The end of one interval is the start of the next.
    """
    inner = set(nodes) - _ENDS
    gradients = len(inner) + bool(_ENDS & set(nodes))
    return len(inner) + 1 + gradients * _BACKWARD * scalars


def passes_in_forward(parts: int, nodes: Collection[float]) -> float:
    """What it costs in forward mode: at every node a pass that carries all parts along."""
    return len(nodes) * (_FORWARD + _DIRECTION * parts) + (1.0 not in nodes)


class StepAttribution(NamedTuple):
    """One interval's attributions for scalars S, parts of the update C, atoms A, events E.

    ``by_rule``: path rule → [S, C] float64. ``atoms``: the first rule's, [S, C, A]; one for all
    parameters where they were not wanted. ``events``: the first rule's of every event, [S, C, E],
    with E = 0 in reverse mode.
    ``rebound``: term → [S], what binding anew at θ' changed of the mean. ``before`` and ``after``
    [S, E]: values at θ and, bound anew, at θ'.
    """

    by_rule: dict[str, Float[Tensor, "S C"]]
    atoms: Float[Tensor, "S C A"]
    events: Float[Tensor, "S C E"]
    rebound: dict[str, Float[Tensor, " S"]]
    before: Float[Tensor, "S E"]
    after: Float[Tensor, "S E"]

    @property
    def growth(self) -> Float[Tensor, " S"]:
        """S(θ') - S(θ), float64, of the mean over events."""
        return self.after.double().mean(-1) - self.before.double().mean(-1)

    def residual(self, rule: str, summands: int) -> Float[Tensor, " S"]:
        """Growth minus the first ``summands`` parts under a rule, and minus the terms."""
        booked = sum(self.rebound.values(), torch.zeros_like(self.growth))
        return self.growth - self.by_rule[rule][:, :summands].sum(-1) - booked


class _Bound(NamedTuple):
    """Scalars bound at a state, with their values and, where they are known, gradients there."""

    theta: Float[Tensor, " P"]
    scalars: dict[str, Scalar]
    evaluation: Evaluation


@dataclass
class Engine:
    """Attributes the growth of scalars over consecutive intervals, carrying each end point over.

    ``evaluate`` evaluates scalars at a θ. ``wanted`` is what is to be known of every part beside
    its contribution under the path rules ``rules``: its split over ``atoms`` under the first rule,
    which takes reverse mode; that over ``events``, which takes forward mode; or neither (``sums``),
    and then the engine takes the mode that costs less.
    """

    layout: Layout
    evaluate: Evaluator
    scalars: Mapping[str, Scalar]
    rules: Sequence[str]
    wanted: Literal["atoms", "events", "sums"] = "atoms"

    def __post_init__(self) -> None:
        self._carried: _Bound | None = None
        self._nodes = nodes_of(self.rules)

    def forward(self, parts: int) -> bool:
        """Whether an update of so many parts is attributed in forward mode."""
        if self.wanted != "sums":
            return self.wanted == "events"
        reverse = passes_in_reverse(len(self.scalars), self._nodes)
        return passes_in_forward(parts, self._nodes) < reverse

    def start(self, theta: Float[Tensor, " P"], gradients: bool = True) -> Evaluation:
        """Values at an interval's first state and, where they are asked for, gradients.

        Where it is the last state of the interval before, they are carried over (a replay within a
        tolerance goes on from the recorded state, which is another).
        """
        held = self._carried
        if held is None or not torch.equal(held.theta, theta):
            bound = {name: scalar.at(theta) for name, scalar in self.scalars.items()}
            held = _Bound(theta.clone(), bound, self._evaluate(theta, bound, gradients))
        elif gradients and not held.evaluation.gradients.numel():
            held = held._replace(evaluation=self.evaluate(theta, held.scalars))
        self._carried = held
        return held.evaluation

    def step(
        self,
        before: Float[Tensor, " P"],
        after: Float[Tensor, " P"],
        updates: Float[Tensor, "C P"],
    ) -> StepAttribution:
        """Attribute one interval from θ to θ', given parts of Δ (and comparators) in float64."""
        forward = self.forward(len(updates))
        ends = bool(_ENDS & self._nodes) and not forward
        start = self.start(before, gradients=ends)
        assert self._carried is not None
        bound = self._carried.scalars
        means: dict[str, Tensor] = {}

        def weigh(node: float, found: Tensor) -> None:
            """Add one node's gradients [S, P], or slopes [S, C, E], to the rules that have it."""
            for rule in self.rules:
                if node in PATH_RULES[rule]:
                    mean = means.setdefault(rule, torch.zeros_like(found, dtype=torch.float64))
                    mean.add_(found, alpha=PATH_RULES[rule][node])

        def derivatives(theta: Float[Tensor, " P"]) -> Tensor:
            """Of the scalars as they are bound: along the parts, or gradients."""
            if forward:
                return self.evaluate.along(theta, bound, updates).slopes
            return self.evaluate(theta, bound).gradients

        if 0.0 in self._nodes:
            weigh(0.0, derivatives(before) if forward else start.gradients)
        for node in sorted(self._nodes - _ENDS):
            theta = torch.lerp(before, after, node)
            bound = {name: scalar.along(theta) for name, scalar in bound.items()}
            weigh(node, derivatives(theta))
        slopes, rebound = self._arrive(after, bound, ends, updates if forward else None)
        if 1.0 in self._nodes:
            weigh(1.0, slopes)
        main = self.rules[0]
        events = means[main] if forward else updates.new_empty(len(bound), len(updates), 0)
        atoms, by_rule = None, {}
        if self.wanted == "atoms":
            atoms = atom_products(self.layout, means[main], updates)
            by_rule[main] = atoms.sum(-1)
            del means[main]
        for rule, mean in means.items():
            by_rule[rule] = mean.mean(-1) if forward else mean @ updates.T
        if atoms is None:
            atoms = by_rule[main][..., None]
        arrived = self._carried.evaluation.values
        return StepAttribution(by_rule, atoms, events, rebound, start.values, arrived)

    def _evaluate(
        self, theta: Float[Tensor, " P"], scalars: Mapping[str, Scalar], gradients: bool
    ) -> Evaluation:
        if gradients:
            return self.evaluate(theta, scalars)
        values = self.evaluate.values(theta, scalars)
        return Evaluation(values, values.new_empty(len(values), 0))

    def _arrive(
        self,
        theta: Float[Tensor, " P"],
        bound: Mapping[str, Scalar],
        gradients: bool,
        along: Float[Tensor, "C P"] | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate scalars as they were bound at an interval's end, and bind them anew there.

        Returned are what the path rules weigh there, of the scalars as they were bound, and by term
        what binding anew changed; what is bound anew is carried over to the next interval.
        """
        chains = {name: scalar.rebind(theta) for name, scalar in bound.items()}
        # A link without a term changes nothing at theta, so it needs no evaluation of its own.
        links = {
            f"{name} {term}": scalar
            for name, chain in chains.items()
            for term, scalar in chain
            if term is not None
        }
        named = {**bound, **links}
        if along is not None and 1.0 in self._nodes:
            found = self.evaluate.along(theta, named, along)
            weighed = found.slopes
            every = Evaluation(found.values, found.values.new_empty(len(named), 0))
        else:
            every = self._evaluate(theta, named, gradients)
            weighed = every.gradients
        place = {name: row for row, name in enumerate(named)}
        means, last = every.means, []
        terms = dict.fromkeys(term for scalar in bound.values() for term in scalar.terms)
        rebound = {term: means.new_zeros(len(bound)) for term in terms}
        for row, (name, chain) in enumerate(chains.items()):
            now = row
            for term, _ in chain:
                if term is not None:
                    after = place[f"{name} {term}"]
                    rebound[term][row] = means[after] - means[now]
                    now = after
            last.append(now)
        renewed = {name: chain[-1][1] if chain else bound[name] for name, chain in chains.items()}
        carried = Evaluation(every.values[last], every.gradients[last]) if links else every
        self._carried = _Bound(theta.clone(), renewed, carried)
        return weighed[: len(bound)], rebound
