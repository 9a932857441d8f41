"""What can be known of every candidate route before it is born; nothing later is read.

A *route* is a scalar of one head; its candidates are all heads. At a *cutoff* checkpoint, with the
route's strength S, its gradient ∇S over the probe events, and the loss's gradient on training
programs:

1. ``strength``: the mean of S over events. ``gradient_norm``: ‖∇S‖.
2. ``alignment`` and ``push`` with the descent of three objectives, shuffled answers as control
   (:mod:`circuit.measures.routes.descent`).
3. The *next update* Δ is the step that the run's own optimizer would take on the mean gradient of
   the programs (:mod:`circuit.measures.routes.next_update`). ``growth`` is ⟨∇S, Δ⟩, what Δ adds to
   S at first order, in all and by component; ``component_share`` is a component's growth over the
   sum of all their absolute values, with its sign.
4. ``own_update_norm``: norm of Δ within the head's own q, k, v and o, the update that this head has
   to itself. ``own_growth_share``: the growth that comes through them, over the sum of its absolute
   value and that of the growth through all other parameters.
5. *Interference*. ``shared_cosine``: mean cosine of ∇S with the other routes' gradients; above 0,
   what makes them grow makes this one grow. ``unique_growth``: the growth by what is left of Δ when
   its projection onto the span of the other routes' gradients is taken away. ``growth`` less that
   is what a route gains (or, below 0, loses) by sharing directions with others.

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
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import OptimizerSettings
from circuit.config.scalar import ScalarSettings
from circuit.config.terms import COMPONENTS
from circuit.errors import AnalysisError
from circuit.estimates import EXCESS, estimates
from circuit.measures.routes.competition import expand_routes
from circuit.measures.routes.descent import align, loss_gradient, objective_batches
from circuit.measures.routes.next_update import (
    NextUpdate,
    first_order_growth,
    next_update,
    own_norms,
    share,
)
from circuit.model.layout import Layout
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import scalar_gradients
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import bootstrap_means, draws, simultaneous_interval, told
from circuit.task.events import ReadEvents
from circuit.training.batches import Batch
from circuit.training.checkpoints import TrainState
from circuit.training.records import RunRecord

TRAINED = "tokens"
"""The objective that training descends on."""
OTHERS = "other routes"
"""The control of a route's strength and growth: the mean of the other candidates'."""
_CHUNKS, _SHARE = "chunks of programs", "signed share"


class Features(NamedTuple):
    """``rows``: estimates by route, head and part (objective or component). ``backward``: backward
    passes made.
    """

    rows: pd.DataFrame
    backward: int


class EarlyAsked(Protocol):
    """Whose features, when and on what; the settings of ``route_features``."""

    @property
    def cutoffs(self) -> Sequence[int]: ...

    @property
    def route(self) -> ScalarSettings: ...

    @property
    def split(self) -> str: ...

    @property
    def train_programs(self) -> int: ...

    @property
    def chunks(self) -> int: ...

    @property
    def seed(self) -> int: ...


def run_features(record: RunRecord, decoder: Decoder, settings: EarlyAsked) -> Features:
    """The features of every candidate at every cutoff of a run.

    Args:
        decoder: the run's model, or one that computes the same and counts.

    Raises:
        AnalysisError: the model has one head, so nothing competes, or the route's scalar asks for
            a checkpoint after the cutoff.
    """
    events, vocabulary = record.probes(settings.split), record.benchmark.vocabulary
    specs, _ = expand_routes({settings.route.scalar: settings.route}, decoder.settings)
    heads = {name: str(spec.head) for name, spec in specs.items()}
    programs = record.split(record.manifest.recipe.train_split).head(settings.train_programs)
    batches = objective_batches(programs, vocabulary, settings.chunks, settings.seed)
    parts = []
    for step in sorted(set(settings.cutoffs)):
        theta = known_until(record.theta, step)
        # The run's last step is the last that is known: a scalar's `final` basis is that of today.
        context = ScalarContext(decoder, events, record.value_ids, {}, theta, (step, step), step)
        scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
        state, optimizer = record.manifest.state(step), record.manifest.recipe.optimizer
        parts.append(
            route_features(
                decoder, optimizer, state, events, record.value_ids, scalars, heads, batches
            )
        )
    chunks = sum(len(chunks) for chunks in batches.values())
    rows = pd.concat(parts, ignore_index=True)
    return Features(rows, len(parts) * (len(specs) + chunks))


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
    optimizer: OptimizerSettings,
    state: TrainState,
    events: ReadEvents,
    value_ids: range,
    scalars: Mapping[str, Scalar],
    heads: Mapping[str, str],
    batches: Mapping[str, Sequence[Batch]],
) -> pd.DataFrame:
    """The features of some routes at one checkpoint; see the module.

    Args:
        state: the checkpoint, which stays as it is.
        heads: the head whose scalar a route is, by route.
        batches: from :func:`circuit.measures.routes.descent.objective_batches`.

    Returns:
        ``rows`` of :class:`Features`.

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
    table = _Rows(state.step, heads, next(iter(scalars.values())).unit)

    over_events = (len(events), "events")
    table.add("strength", table.unit, bootstrap_means(values), *over_events)
    table.add_others(
        "strength", table.unit, draws(len(values)) @ values / len(values), *over_events
    )
    norms = gradients.norm(dim=1).numpy()
    table.add("gradient_norm", f"{table.unit} per parameter unit", norms, *over_events)
    for objective, loss in losses.items():
        found, chunks = align(seen.gradients, loss), (len(loss.targets), _CHUNKS)
        table.add("alignment", "cosine", found.alignment, *chunks, objective)
        table.add("push", f"{table.unit} per learning rate", found.push, *chunks, objective)
    _add_growth(table, decoder.layout, gradients, next_update(optimizer, state, losses[TRAINED]))
    return estimates(pd.concat(table.frames, ignore_index=True))


class _Rows:
    """Collects the rows of one checkpoint, one frame per measure."""

    def __init__(self, step: int, heads: Mapping[str, str], unit: str) -> None:
        self.step, self.heads, self.unit = step, heads, unit
        self.frames: list[pd.DataFrame] = []

    def add(
        self,
        measure: str,
        unit: str,
        found: object,
        count: int,
        noun: str,
        part: str = "",
        against: str = "",
    ) -> None:
        """``found``: value, low and high, [S] each, or the values [S] alone."""
        values = np.asarray(found, dtype=np.float64)
        if values.ndim == 1:
            values = np.stack([values, *np.full((2, len(values)), np.nan)])
        table = {
            "step": self.step,
            "route": list(self.heads),
            "head": list(self.heads.values()),
            "measure": measure,
            "part": part,
            "against": against,
            "unit": unit,
            "mean": values[0],
            "low": values[1],
            "high": values[2],
            "count": count,
            "noun": noun,
        }
        self.frames.append(pd.DataFrame(table))

    def add_others(
        self, measure: str, unit: str, drawn: Float[np.ndarray, "r+1 S"], count: int, noun: str
    ) -> None:
        """The mean of the other routes, and how far each lies beyond it: at once for all."""
        others = (drawn.sum(1, keepdims=True) - drawn) / (drawn.shape[1] - 1)
        self.add(measure, unit, told(others), count, noun, against=OTHERS)
        beyond = drawn - others
        ends = simultaneous_interval(beyond[0], beyond[1:])
        self.add(measure, unit, [beyond[0], *ends], count, noun, against=EXCESS)


def _add_growth(
    table: _Rows, layout: Layout, gradients: Float[Tensor, "S P"], update: NextUpdate
) -> None:
    """What the next update gives every route, through what, and beside whom."""
    heads, chunks = list(table.heads.values()), (len(update.targets), _CHUNKS)
    per_step = f"{table.unit} per step"
    found = first_order_growth(layout, gradients, update, heads)
    whole, shares = found.whole, share(found.components)
    table.add("growth", per_step, told(whole), *chunks)
    table.add_others("growth", per_step, whole, *chunks)
    for i, name in enumerate(COMPONENTS):
        table.add("growth", per_step, told(found.components[..., i]), *chunks, name)
        if name != "rounding":  # float32's own part, which foretells nothing
            table.add("component_share", _SHARE, told(shares[..., i]), *chunks, name)
    table.add("own_update_norm", "parameter unit", own_norms(layout, update, heads), *chunks)
    through = share(np.stack([found.own, whole - found.own], -1))[..., 0]
    table.add("own_growth_share", _SHARE, told(through), *chunks)
    directions = torch.nn.functional.normalize(gradients, dim=1)
    others = len(heads) - 1
    cosines = (directions @ directions.T).fill_diagonal_(0).sum(1) / others
    table.add("shared_cosine", "cosine", cosines.numpy(), others, "routes")
    table.add("unique_growth", per_step, told(found.unique), *chunks)
