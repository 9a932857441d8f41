"""The optimizer's next step from a checkpoint, and what it would give every route at first order.

1. One step of the run's own optimizer is taken on a copy of the checkpoint, with its own moments,
   and with the mean gradient g of some training programs in place of a batch's: the *next update*
   Δ = Σ_c Δ_c (:func:`circuit.training.optimizers.components`).
2. Δ's denominators and its clip coefficient are held at those of g. Then Δ is linear in g, so it
   splits over the chunks of programs that g is the mean of, and resampling chunks costs no step.
3. The growth ⟨∇S, Δ⟩ of a route splits over the components, and over parameters: those of the
   route's own head, and all others.
4. *Unique* growth is ⟨∇S, (I - P) Δ⟩, where P projects onto the span of the other routes'
   gradients: what is left when no part of the update moves another route. P's image of Δ depends on
   the other routes' growths alone, so it takes one least squares of every gradient on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.attribution.products import Grouping, atom_products
from circuit.config.recipe import OptimizerSettings
from circuit.measures.routes.descent import LossGradient
from circuit.model.layout import Layout
from circuit.statistics import draws
from circuit.training.checkpoints import TrainState
from circuit.training.optimizers import advance, clip, components, gains

_RANK_TOLERANCE = 1e-10
"""Of the other gradients' Gram matrix, relative: directions below are no directions."""


class NextUpdate(NamedTuple):
    """The step that the optimizer would take next, float64.

    ``parts`` [C + 3, P] sum to the update: what the gradient of every chunk of programs puts into
    the current gradient's component, then momentum, weight decay and rounding. ``targets`` [C] are
    those in each chunk.
    """

    parts: Float[Tensor, "C+3 P"]
    targets: Int[np.ndarray, " C"]

    @property
    def update(self) -> Float[Tensor, " P"]:
        """Δ, all parts together."""
        return self.parts.sum(0)


class Growth(NamedTuple):
    """What Δ gives every route at first order, in the route's unit.

    The first of the r draws is the value; the others resample chunks of programs. ``components``
    has the order of ``circuit.config.terms.COMPONENTS``; ``own`` is what comes through the head's
    own parameters.
    """

    components: Float[np.ndarray, "r S 4"]
    own: Float[np.ndarray, "r S"]
    unique: Float[np.ndarray, "r S"]

    @property
    def whole(self) -> Float[np.ndarray, "r S"]:
        """⟨∇S, Δ⟩."""
        total: Float[np.ndarray, "r S"] = self.components.sum(-1)
        return total


def next_update(optimizer: OptimizerSettings, state: TrainState, loss: LossGradient) -> NextUpdate:
    """One step of the optimizer from a checkpoint, on the mean gradient of some programs.

    Args:
        state: the checkpoint, which stays as it is.
    """
    weights = torch.from_numpy(loss.targets / loss.targets.sum())
    mean = (weights @ loss.chunks.double()).to(state.theta.dtype)
    clipped, after = clip(optimizer, mean), state.clone()
    advance(optimizer, after.theta, after.moments, clipped.gradient, state.step)
    taken = components(
        optimizer,
        state.theta,
        after.theta,
        state.moments,
        after.moments,
        clipped.gradient,
        state.step,
    )
    gain = gains(optimizer, after.moments, state.step).gradient * clipped.coefficient
    chunks = loss.chunks.double() * weights[:, None] * gain
    # What float32 left of the mean is rounding too.
    rounding = taken.update - chunks.sum(0) - taken.momentum - taken.weight_decay
    rest = torch.stack([taken.momentum, taken.weight_decay, rounding])
    return NextUpdate(torch.cat([chunks, rest]), loss.targets)


def first_order_growth(
    layout: Layout, gradients: Float[Tensor, "S P"], update: NextUpdate, heads: Sequence[str]
) -> Growth:
    """What the next update gives every route, through what, and beside the others.

    Args:
        gradients: of the routes, float64.
        heads: name of every route's head.
    """
    grouping = Grouping(layout, "head")
    split = grouping.sum(atom_products(layout, gradients, update.parts)).numpy()
    own = split[np.arange(len(heads)), :, [grouping.groups.index(head) for head in heads]]
    drawn = _draws(update.targets)
    parts = _by_component(split.sum(-1), drawn)
    growth = parts.sum(-1)
    unique = growth - growth @ growth_with_others(gradients).T
    return Growth(parts, _by_component(own, drawn).sum(-1), unique)


def growth_with_others(gradients: Float[Tensor, "S P"]) -> Float[np.ndarray, "S S"]:
    """W with ⟨∇S_h, P_h Δ⟩ = Σ_k W_hk ⟨∇S_k, Δ⟩ for every Δ; W_hh = 0.

    P_h projects onto the span of all gradients but that of h: row h holds the coefficients of its
    least squares on the others.
    """
    gram = (gradients @ gradients.T).double().numpy()
    found = np.zeros_like(gram)
    for h in range(len(gram)):
        others = np.delete(np.arange(len(gram)), h)
        inner = gram[np.ix_(others, others)]
        found[h, others] = gram[h, others] @ np.linalg.pinv(inner, _RANK_TOLERANCE, hermitian=True)
    return found


def own_norms(layout: Layout, update: NextUpdate, heads: Sequence[str]) -> Float[np.ndarray, " H"]:
    """Norm of Δ within the q, k, v and o of every head."""
    grouping, whole = Grouping(layout, "head"), update.update[None]
    squares = grouping.sum(atom_products(layout, whole, whole))[0, 0]
    norms: Float[np.ndarray, " H"] = squares.sqrt().numpy()
    return norms[[grouping.groups.index(head) for head in heads]]


def share(parts: Float[np.ndarray, "... n"]) -> Float[np.ndarray, "... n"]:
    """Parts over the sum of their absolute values, signs kept; 0 where all parts are 0."""
    whole = np.abs(parts).sum(-1, keepdims=True)
    found: Float[np.ndarray, "... n"] = np.divide(
        parts, whole, out=np.zeros_like(parts), where=whole > 0
    )
    return found


def _draws(targets: Int[np.ndarray, " C"]) -> Float[np.ndarray, "r C"]:
    """How much each chunk's part of the mean gradient counts: as it is, then in resamples."""
    drawn = draws(len(targets))
    # Every resample has its own number of targets, over which its mean is taken.
    scaled: Float[np.ndarray, "r C"] = drawn * (targets.sum() / (drawn @ targets))[:, None]
    return scaled


def _by_component(
    parts: Float[np.ndarray, "S C+3"], drawn: Float[np.ndarray, "r C"]
) -> Float[np.ndarray, "r S 4"]:
    """Growth by component in every draw: the chunks' parts become the current gradient's."""
    chunks = drawn.shape[1]
    current = (drawn @ parts[:, :chunks].T)[..., None]
    rest = np.broadcast_to(parts[:, chunks:], (len(drawn), *parts[:, chunks:].shape))
    return np.concatenate([current, rest], -1)
