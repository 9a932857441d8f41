"""What can be known of every candidate route before it is born; nothing later is read.

A *route* is a scalar of one head; its candidates are all heads. At a *cutoff* checkpoint, with the
route's strength S, its gradient ∇S over the probe events, and the loss's gradient on training
programs:

1. ``strength``: the mean of S over events. ``gradient_norm``: ‖∇S‖. ``alignment`` and ``push`` with
   the descent of three objectives, shuffled answers as control
   (:mod:`circuit.measures.candidates.descent`).
2. The *next update* Δ is the step that the run's own optimizer would take from a copy of the
   checkpoint, with its own moments, on the mean gradient g of some training programs. Its
   denominators and its clip coefficient are held at those of g. Then Δ is linear in g, so it splits
   over the chunks of programs that g is the mean of, and resampling chunks costs no step.
3. ``growth`` is ⟨∇S, Δ⟩, what Δ adds to S at first order, in all and by component;
   ``component_share`` is a component's growth over the sum of all their absolute values, with its
   sign.
4. ``own_update_norm``: norm of Δ within the head's own q, k, v and o, the update that this head has
   to itself. ``own_growth_share``: the growth that comes through them, over the sum of its absolute
   value and that of the growth through all other parameters.
5. *Interference*. ``shared_cosine``: mean cosine of ∇S with the other routes' gradients; above 0,
   what makes them grow makes this one grow. ``unique_growth`` is ⟨∇S, (I - P) Δ⟩, where P projects
   onto the span of the other routes' gradients: what is left when no part of the update moves
   another route. ``growth`` less that is what a route gains (or, below 0, loses) by sharing
   directions with others. P's image of Δ depends on the other routes' growths alone, so it takes
   one least squares of every gradient on the others.

Intervals of a strength resample events, all others chunks of programs. Norms and cosines between
routes have none: noise lengthens a resampled vector. Strength and growth, by which a first route is
named, stand beside the mean of the other routes'; the excess over it has intervals that hold for
all routes at once.

Forward passes at a cutoff: one over the events, and one per chunk and objective.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.attribution.products import Grouping, atom_products
from circuit.config.recipe import OptimizerSettings
from circuit.config.scalar import Route
from circuit.config.terms import COMPONENTS
from circuit.errors import AnalysisError
from circuit.estimates import EXCESS, estimates
from circuit.measures.candidates.descent import (
    LossGradient,
    Pushes,
    align,
    loss_gradient,
    run_batches,
)
from circuit.measures.candidates.registry import expand
from circuit.model.layout import Layout
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import scalar_gradients
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import bootstrap_means, draws, simultaneous_interval, told
from circuit.task.events import ReadEvents
from circuit.training.batches import Batch
from circuit.training.checkpoints import TrainState
from circuit.training.optimizers import advance, clip, components, gains
from circuit.training.records import RunRecord

TRAINED = "tokens"
"""The objective that training descends on."""
OTHERS = "other routes"
"""The control of a route's strength and growth: the mean of the other candidates'."""
_CHUNKS = "chunks of programs"
_UNITS = {
    "strength": "{}",
    "gradient_norm": "{} per parameter unit",
    "push": "{} per learning rate",
    **dict.fromkeys(("growth", "unique_growth"), "{} per step"),
    **dict.fromkeys(("alignment", "shared_cosine"), "cosine"),
    **dict.fromkeys(("component_share", "own_growth_share"), "signed share"),
    "own_update_norm": "parameter unit",
}
"""Units of the features, for a route in a given one."""
_RANK_TOLERANCE = 1e-10
"""Of the other gradients' Gram matrix, relative: directions below are no directions."""


class EarlyAsked(Pushes, Protocol):
    """Whose features, when and on what; the settings of ``route_features``."""

    cutoffs: tuple[int, ...]
    route: Route


def run_features(
    record: RunRecord, decoder: Decoder, settings: EarlyAsked
) -> tuple[pd.DataFrame, int]:
    """The features of every candidate at every cutoff of a run, and how many backward passes.

    Args:
        decoder: the run's model, or one that computes the same and counts.

    Raises:
        AnalysisError: the model has one head, so nothing competes, or the route's scalar asks for
            a checkpoint after the cutoff.
    """
    measured = (decoder, record.probes(settings.split), record.value_ids)
    specs, _ = expand({settings.route.scalar: settings.route}, decoder.settings)
    heads = {name: str(spec.head) for name, spec in specs.items()}
    recipe = record.manifest.recipe
    batches = run_batches(record, recipe.train_split, settings)
    parts = []
    for step in sorted(settings.cutoffs):
        theta = known_until(record.theta, step)
        # The run's last step is the last that is known: a scalar's `final` basis is that of today.
        context = ScalarContext(*measured, {}, theta, (step, step), step)
        scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
        state = record.manifest.state(step)
        parts.append(route_features(*measured, recipe.optimizer, state, scalars, heads, batches))
    backward = len(specs) + sum(len(chunks) for chunks in batches.values())
    return pd.concat(parts, ignore_index=True), len(parts) * backward


def known_until(
    theta: Callable[[int], Float[Tensor, " P"]], cutoff: int
) -> Callable[[int], Float[Tensor, " P"]]:
    """The same parameters by step, which refuse to be asked for what comes after the cutoff."""

    def known(step: int) -> Float[Tensor, " P"]:
        if step > cutoff:
            raise AnalysisError(
                what=f"step {step} lies after the cutoff, step {cutoff}",
                where="features of routes before birth",
                expected=f"nothing later than step {cutoff}",
                do="choose a basis or a competitor that is known at every cutoff",
            )
        return theta(step)

    return known


def route_features(
    decoder: Decoder,
    events: ReadEvents,
    value_ids: range,
    optimizer: OptimizerSettings,
    state: TrainState,
    scalars: Mapping[str, Scalar],
    heads: Mapping[str, str],
    batches: Mapping[str, Sequence[Batch]],
) -> pd.DataFrame:
    """Estimates of some routes' features at one checkpoint by route, head and part.

    Parts are objectives and components.

    Args:
        heads: the head whose scalar a route is, by route.
        batches: from :func:`circuit.measures.candidates.descent.objective_batches`.

    Raises:
        AnalysisError: there are fewer than two routes.
    """
    if len(scalars) < 2:
        raise AnalysisError(
            what=f"{len(scalars)} candidate route leaves nothing to compete with",
            where="features of routes before birth",
            expected="at least two heads",
            do="take a model with more heads",
        )
    seen = scalar_gradients(decoder, state.theta, events, value_ids, scalars)
    gradients, values = seen.gradients.double(), seen.values.double().numpy().T
    losses = {name: loss_gradient(decoder, state.theta, chunks) for name, chunks in batches.items()}
    update, names = next_update(optimizer, state, losses[TRAINED]), list(heads.values())
    grown = first_order_growth(decoder.layout, gradients, update, names)
    frames: list[pd.DataFrame] = []

    def add(measure: str, found: object, part: str = "", against: str = "") -> None:
        """A measure of all routes: value, low and high, [S] each, or the values [S] alone."""
        numbers = np.asarray(found)
        if numbers.ndim == 1:
            numbers = np.stack([numbers, *np.full((2, len(numbers)), np.nan)])
        about = {"route": list(heads), "head": names, "part": part}
        about |= {"measure": measure, "against": against}
        ends = dict(zip(("mean", "low", "high"), numbers, strict=True))
        frames.append(pd.DataFrame({**about, **ends}))

    def add_beside_others(measure: str, found: object, drawn: Float[np.ndarray, "r+1 S"]) -> None:
        """The same, the mean of the other routes, and how far each lies beyond it, all at once."""
        others = (drawn.sum(1, keepdims=True) - drawn) / (drawn.shape[1] - 1)
        beyond = drawn - others
        add(measure, found)
        add(measure, told(others), against=OTHERS)
        at_once = simultaneous_interval(beyond[0], beyond[1:])
        add(measure, [beyond[0], *at_once], against=EXCESS)

    add_beside_others(
        "strength", bootstrap_means(values), draws(len(values)) @ values / len(values)
    )
    add("gradient_norm", gradients.norm(dim=1).numpy())
    for objective, loss in losses.items():
        for measure, ends in align(seen.gradients, loss)._asdict().items():
            add(measure, ends, objective)
    add_beside_others("growth", told(grown.whole), grown.whole)
    shares = share(grown.components)
    for i, name in enumerate(COMPONENTS):
        add("growth", told(grown.components[..., i]), name)
        if name != "rounding":  # float32's own part, which foretells nothing
            add("component_share", told(shares[..., i]), name)
    add("own_update_norm", own_norms(decoder.layout, update, names))
    through = share(np.stack([grown.own, grown.whole - grown.own], -1))[..., 0]
    add("own_growth_share", told(through))
    directions = torch.nn.functional.normalize(gradients, dim=1)
    cosines = (directions @ directions.T).fill_diagonal_(0).sum(1) / (len(names) - 1)
    add("shared_cosine", cosines.numpy())
    add("unique_growth", told(grown.unique))

    rows = pd.concat(frames, ignore_index=True)
    unit = next(iter(scalars.values())).unit
    nouns = {"strength": "events", "gradient_norm": "events", "shared_cosine": "routes"}
    counts = {"events": len(events), "routes": len(names) - 1, _CHUNKS: len(update.targets)}
    rows["noun"] = rows["measure"].map(nouns).fillna(_CHUNKS)
    return estimates(
        rows.assign(count=rows["noun"].map(counts)),
        {name: text.format(unit) for name, text in _UNITS.items()},
        step=state.step,
    )


class NextUpdate(NamedTuple):
    """The step that the optimizer would take next, float64, in parts that sum to it.

    These are what the gradient of every chunk of programs puts into the current gradient's
    component, then momentum, weight decay and rounding. ``targets`` are those in each chunk.
    """

    parts: Float[Tensor, "C+3 P"]
    targets: Int[np.ndarray, " C"]

    @property
    def update(self) -> Float[Tensor, " P"]:
        """Δ, all parts together."""
        return self.parts.sum(0)


class Growth(NamedTuple):
    """What Δ gives every route at first order, in the route's unit.

    The first of the r draws is the value; the others resample chunks of programs. Components are in
    the order of ``COMPONENTS``; ``own`` is what comes through the head's own parameters.
    """

    components: Float[np.ndarray, "r S 4"]
    own: Float[np.ndarray, "r S"]
    unique: Float[np.ndarray, "r S"]

    @property
    def whole(self) -> Float[np.ndarray, "r S"]:
        """⟨∇S, Δ⟩."""
        return np.asarray(self.components.sum(-1))


def next_update(optimizer: OptimizerSettings, state: TrainState, loss: LossGradient) -> NextUpdate:
    """One step of the optimizer from a checkpoint, which stays as it is, on a mean gradient."""
    weights = torch.from_numpy(loss.targets / loss.targets.sum())
    mean = (weights @ loss.chunks.double()).to(state.theta.dtype)
    clipped, after = clip(optimizer, mean), state.clone()
    advance(optimizer, after.theta, after.moments, clipped.gradient, state.step)
    ends = (state.theta, after.theta, state.moments, after.moments)
    taken = components(optimizer, *ends, clipped.gradient, state.step)
    gain = gains(optimizer, after.moments, state.step).gradient * clipped.coefficient
    chunks = loss.chunks.double() * weights[:, None] * gain
    # What float32 left of the mean is rounding too.
    rounding = taken.update - chunks.sum(0) - taken.momentum - taken.weight_decay
    rest = torch.stack([taken.momentum, taken.weight_decay, rounding])
    return NextUpdate(torch.cat([chunks, rest]), loss.targets)


def first_order_growth(
    layout: Layout, gradients: Float[Tensor, "S P"], update: NextUpdate, heads: Sequence[str]
) -> Growth:
    """What the next update gives every route of a head, through what, and beside the others."""
    grouping = Grouping(layout, "head")
    split = grouping.sum(atom_products(layout, gradients, update.parts)).numpy()
    own = split[np.arange(len(heads)), :, [grouping.groups.index(head) for head in heads]]
    # Every resample has its own number of targets, over which its mean is taken.
    targets, drawn = update.targets, draws(len(update.targets))
    drawn = drawn * (targets.sum() / (drawn @ targets))[:, None]
    parts = _by_component(split.sum(-1), drawn)
    growth = parts.sum(-1)
    unique = growth - growth @ growth_with_others(gradients).T
    return Growth(parts, _by_component(own, drawn).sum(-1), unique)


def growth_with_others(gradients: Float[Tensor, "S P"]) -> Float[np.ndarray, "S S"]:
    """W with ⟨∇S_h, P_h Δ⟩ = Σ_k W_hk ⟨∇S_k, Δ⟩ for every Δ; W_hh = 0.

    P_h projects onto the span of all gradients but that of h: row h holds the coefficients of its
    least squares on the others, which are taken of unit length, so that no route counts for less
    because its unit is large.
    """
    length = torch.linalg.vector_norm(gradients.double(), dim=1)
    unit = gradients.double() / torch.where(length > 0, length, 1)[:, None]
    gram, found = (unit @ unit.T).numpy(), np.zeros((len(unit), len(unit)))
    for h in range(len(gram)):
        others = np.delete(np.arange(len(gram)), h)
        inner = gram[np.ix_(others, others)]
        found[h, others] = gram[h, others] @ np.linalg.pinv(inner, _RANK_TOLERANCE, hermitian=True)
    size = length.numpy()
    weights: Float[np.ndarray, "S S"] = found * size[:, None] / np.where(size > 0, size, 1)
    return weights


def own_norms(layout: Layout, update: NextUpdate, heads: Sequence[str]) -> Float[np.ndarray, " H"]:
    """Norm of Δ within the q, k, v and o of every head."""
    grouping, whole = Grouping(layout, "head"), update.update[None]
    squares = grouping.sum(atom_products(layout, whole, whole))[0, 0]
    norms: Float[np.ndarray, " H"] = squares.sqrt().numpy()
    return norms[[grouping.groups.index(head) for head in heads]]


def share(parts: Float[np.ndarray, "... n"]) -> Float[np.ndarray, "... n"]:
    """Parts over the sum of their absolute values, signs kept; 0 where all parts are 0."""
    whole = np.abs(parts).sum(-1, keepdims=True)
    return np.asarray(np.divide(parts, whole, out=np.zeros_like(parts), where=whole > 0))


def _by_component(
    parts: Float[np.ndarray, "S C+3"], drawn: Float[np.ndarray, "r C"]
) -> Float[np.ndarray, "r S 4"]:
    """Growth by component in every draw: the chunks' parts become the current gradient's."""
    chunks = drawn.shape[1]
    current = (drawn @ parts[:, :chunks].T)[..., None]
    rest = np.broadcast_to(parts[:, chunks:], (len(drawn), *parts[:, chunks:].shape))
    return np.concatenate([current, rest], -1)
