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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.attribution.products import atom_products
from circuit.model.layout import Layout
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import Evaluation, scalar_gradients
from circuit.task.events import ReadEvents


def _gauss(nodes: int) -> dict[float, float]:
    at, weights = np.polynomial.legendre.leggauss(nodes)
    return dict(zip(((at + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))


# Nodes on the chord (as fractions) and their weights.
PATH_RULES: dict[str, dict[float, float]] = {
    "left": {0.0: 1.0},
    "trapezoid": {0.0: 0.5, 1.0: 0.5},
    "simpson": {0.0: 1 / 6, 0.5: 4 / 6, 1.0: 1 / 6},
    "boole": {0.0: 7 / 90, 0.25: 32 / 90, 0.5: 12 / 90, 0.75: 32 / 90, 1.0: 7 / 90},
    "gauss_8": _gauss(8),
    "gauss_16": _gauss(16),
    "gauss_32": _gauss(32),
}
Evaluate = Callable[[Float[Tensor, " P"], Mapping[str, Scalar]], Evaluation]


class StepAttribution(NamedTuple):
    """One interval's attributions for scalars S, parts of the update C, atoms A.

    ``by_rule``: path rule → [S, C] float64. ``atoms``: the first rule's, [S, C, A]. ``rebound``:
    term → [S], what binding anew at θ' changed of the mean. ``before`` and ``after`` [S, E]: values
    at θ and, bound anew, at θ'.
    """

    by_rule: dict[str, Float[Tensor, "S C"]]
    atoms: Float[Tensor, "S C A"]
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
    """Scalars bound at a state, with their values and gradients there."""

    theta: Float[Tensor, " P"]
    scalars: dict[str, Scalar]
    evaluation: Evaluation


@dataclass
class Engine:
    """Attributes the growth of scalars over consecutive intervals, carrying each end point over.

    ``evaluate`` gives values and gradients of scalars at a θ; of the path rules ``rules``, atoms
    are split under the first.
    """

    layout: Layout
    evaluate: Evaluate
    scalars: Mapping[str, Scalar]
    rules: Sequence[str]

    def __post_init__(self) -> None:
        self._carried: _Bound | None = None
        nodes = {node for rule in self.rules for node in PATH_RULES[rule]}
        self._inner = sorted(nodes - {0.0, 1.0})

    def start(self, theta: Float[Tensor, " P"]) -> Evaluation:
        """Values and gradients at an interval's first state.

        Where it is the last state of the interval before, they are carried over (a replay within a
        tolerance goes on from the recorded state, which is another).
        """
        if self._carried is None or not torch.equal(self._carried.theta, theta):
            bound = {name: scalar.at(theta) for name, scalar in self.scalars.items()}
            self._carried = _Bound(theta.clone(), bound, self.evaluate(theta, bound))
        return self._carried.evaluation

    def step(
        self,
        before: Float[Tensor, " P"],
        after: Float[Tensor, " P"],
        updates: Float[Tensor, "C P"],
    ) -> StepAttribution:
        """Attribute one interval from θ to θ', given parts of Δ (and comparators) in float64."""
        start = self.start(before)
        assert self._carried is not None
        bound = self._carried.scalars
        nothing = torch.zeros_like(start.gradients, dtype=torch.float64)
        means = {rule: nothing.clone() for rule in self.rules}

        def weigh(node: float, gradients: Float[Tensor, "S P"]) -> None:
            """Add one node's gradients to the means of the rules that have it."""
            for rule, mean in means.items():
                if node in PATH_RULES[rule]:
                    mean.add_(gradients, alpha=PATH_RULES[rule][node])

        weigh(0.0, start.gradients)
        for node in self._inner:
            theta = torch.lerp(before, after, node)
            bound = {name: scalar.along(theta) for name, scalar in bound.items()}
            weigh(node, self.evaluate(theta, bound).gradients)
        end, rebound = self._arrive(after, bound)
        weigh(1.0, end.gradients)
        atoms = atom_products(self.layout, means[self.rules[0]], updates)
        by_rule = {
            rule: atoms.sum(-1) if rule == self.rules[0] else mean @ updates.T
            for rule, mean in means.items()
        }
        arrived = self._carried.evaluation.values
        return StepAttribution(by_rule, atoms, rebound, start.values, arrived)

    def _arrive(
        self, theta: Float[Tensor, " P"], bound: Mapping[str, Scalar]
    ) -> tuple[Evaluation, dict[str, Tensor]]:
        """Evaluate scalars as they were bound at an interval's end, and bind them anew there.

        What that changed is returned by term, and carried over to the next interval.
        """
        chains = {name: scalar.rebind(theta) for name, scalar in bound.items()}
        # A link without a term changes nothing at theta, so it needs no evaluation of its own.
        links = {
            f"{name} {term}": scalar
            for name, chain in chains.items()
            for term, scalar in chain
            if term is not None
        }
        every = self.evaluate(theta, {**bound, **links})
        place = {name: row for row, name in enumerate((*bound, *links))}
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
        return Evaluation(every.values[: len(bound)], every.gradients[: len(bound)]), rebound


def evaluator(decoder: Decoder, events: ReadEvents, value_ids: range) -> Evaluate:
    """The evaluation that replayed runs use: all scalars on the same read events."""
    return lambda theta, scalars: scalar_gradients(decoder, theta, events, value_ids, scalars)
