"""Attribution of a scalar's growth: scalar × update × groups × path rule.

For a step θ → θ' = θ + Δ with Δ = Σ_c Δ_c:

1. Evaluate every scalar and its gradient at the nodes of the path rule on the chord from θ to θ'.
   The end point of one step is the start of the next, so ``trapezoid`` costs one evaluation a step
   and ``simpson`` two.
2. Ḡ = the rule's weighted mean of the gradients; A_c = ⟨Ḡ, Δ_c⟩ (integrated gradients along the
   chord, Sundararajan et al. 2017).
3. The closure residual S(θ') - S(θ) - Σ_c A_c is kept as a row of its own, so rows sum exactly.
4. A_c splits over parameter groups because the inner product is a sum over parameters.

A scalar whose basis follows the interval is bound to θ before step 1 and evaluated at both ends of
the step with that basis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.attribution.products import Grouping, atom_products
from circuit.model.layout import Layout
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import Evaluation, scalar_gradients
from circuit.task.events import ReadEvents

# Nodes on the chord (as fractions) and their weights.
PATH_RULES: dict[str, dict[float, float]] = {
    "left": {0.0: 1.0},
    "trapezoid": {0.0: 0.5, 1.0: 0.5},
    "simpson": {0.0: 1 / 6, 0.5: 4 / 6, 1.0: 1 / 6},
}
Evaluate = Callable[[Float[Tensor, " P"], Mapping[str, Scalar]], Evaluation]


class StepAttribution(NamedTuple):
    """One step's attributions for scalars S, components C, atoms A.

    ``by_rule``: path rule → [S, C] float64. ``atoms``: the first rule's, [S, C, A]. ``before`` and
    ``after`` [S, E]: values at θ and θ'.
    """

    by_rule: dict[str, Float[Tensor, "S C"]]
    atoms: Float[Tensor, "S C A"]
    before: Float[Tensor, "S E"]
    after: Float[Tensor, "S E"]

    @property
    def growth(self) -> Float[Tensor, " S"]:
        """S(θ') - S(θ), float64, of the mean over events."""
        return self.after.double().mean(-1) - self.before.double().mean(-1)

    def residual(self, rule: str, summands: int) -> Float[Tensor, " S"]:
        """Growth minus the sum of the first ``summands`` components under a rule."""
        return self.growth - self.by_rule[rule][:, :summands].sum(-1)


@dataclass
class Engine:
    """Attributes the growth of scalars over consecutive steps, carrying each end point over.

    Args:
        layout: of the flat vector.
        evaluate: values and gradients of scalars at a θ.
        scalars: what to attribute.
        rules: path rules; atoms are split under the first.
    """

    layout: Layout
    evaluate: Evaluate
    scalars: Mapping[str, Scalar]
    rules: Sequence[str]

    def __post_init__(self) -> None:
        self._still = {n: s for n, s in self.scalars.items() if not s.follows}
        self._following = {n: s for n, s in self.scalars.items() if s.follows}
        self._end: tuple[Tensor, Evaluation] | None = None

    def step(
        self,
        before: Float[Tensor, " P"],
        after: Float[Tensor, " P"],
        updates: Float[Tensor, "C P"],
    ) -> StepAttribution:
        """Attribute one step.

        Args:
            before, after: θ and θ'. Where ``before`` is the previous call's ``after``, its
                evaluation is carried over (a replay within a tolerance goes on from the recorded
                state, which is another).
            updates: components of Δ (and comparators), float64.
        """
        bound = {n: s.at(before) for n, s in self._following.items()}
        start = self._join(self._start(before), before, bound)
        end_still = self.evaluate(after, self._still) if self._still else None
        end = self._join(end_still, after, bound)
        self._end = None if end_still is None else (after.clone(), end_still)
        nodes = {0.0: start.gradients, 1.0: end.gradients}
        if any(0.5 in PATH_RULES[rule] for rule in self.rules):
            middle = torch.lerp(before, after, 0.5)
            still = self.evaluate(middle, self._still) if self._still else None
            nodes[0.5] = self._join(still, middle, bound).gradients
        atoms = None
        by_rule = {}
        for rule in self.rules:
            weights = PATH_RULES[rule]
            gradient = sum(nodes[at].double() * weight for at, weight in weights.items())
            assert isinstance(gradient, Tensor)
            if atoms is None:
                atoms = atom_products(self.layout, gradient, updates)
                by_rule[rule] = atoms.sum(-1)
            else:
                by_rule[rule] = gradient @ updates.T
        assert atoms is not None
        return StepAttribution(by_rule, atoms, start.values, end.values)

    def _start(self, theta: Float[Tensor, " P"]) -> Evaluation | None:
        if not self._still:
            return None
        if self._end is not None and torch.equal(self._end[0], theta):
            return self._end[1]
        return self.evaluate(theta, self._still)

    def _join(
        self, still: Evaluation | None, theta: Tensor, bound: Mapping[str, Scalar]
    ) -> Evaluation:
        """Evaluations of the still and the following scalars in the order of ``scalars``."""
        if not bound:
            assert still is not None
            return still
        moving = self.evaluate(theta, bound)
        parts = [moving] if still is None else [still, moving]
        names = [*([] if still is None else self._still), *bound]
        order = [names.index(name) for name in self.scalars]
        return Evaluation(
            torch.cat([p.values for p in parts])[order],
            torch.cat([p.gradients for p in parts])[order],
        )


def evaluator(decoder: Decoder, events: ReadEvents, value_ids: range) -> Evaluate:
    """The evaluation that replayed runs use: all scalars on the same read events."""
    return lambda theta, scalars: scalar_gradients(decoder, theta, events, value_ids, scalars)


def grouped(layout: Layout, groupings: Sequence[str]) -> dict[str, Grouping]:
    """Groupings by name."""
    return {name: Grouping(layout, name) for name in groupings}


def as_array(values: Tensor) -> np.ndarray:
    """Detached float64 NumPy copy."""
    return values.detach().double().numpy()
