"""Candidate routes in one frame: how strong each is, how it changed, whether training pushes it.

A *route* is a scalar. ``head: every`` stands for one route per head of the model.

1. At every checkpoint of the window, one forward pass over the events gives the value of every
   route on every event: its *strength*, and its *change* since the window's start (paired).
2. At some of them, spread over the window, each route's gradient is compared with the descent
   direction of the loss (:mod:`circuit.measures.routes.descent`), on programs of the training split
   and of the analysis' own split, under every objective: *alignment* and *push*.
3. :mod:`circuit.measures.routes.ranking` ranks the routes by what they did in the window.

Forward passes: one per checkpoint over the events, and one per chunk of programs, objective and
split where gradients are taken. Backward passes: one per route and one per chunk there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.config.scalar import EVERY, ScalarSettings
from circuit.estimates import estimates
from circuit.measures.routes.descent import align, loss_gradient, objective_batches
from circuit.model.sites import every_head, head_name
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import scalar_gradients, scalar_values
from circuit.scalars.features import Dictionary
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import bootstrap_means
from circuit.task.events import ReadEvents
from circuit.training.batches import Batch
from circuit.training.records import RunRecord

TRAINED_ON, NEW = "trained on", "not trained on"
"""What programs of a split are to the run (the key ``programs``)."""
Batches = Mapping[str, Mapping[str, Sequence[Batch]]]
"""Chunks of programs by split and objective."""


class RouteFrame(NamedTuple):
    """What the routes did over a window's checkpoints.

    ``rows``: estimates by route, split, programs and objective. Measures are ``strength`` and
    ``change`` (over events), ``alignment`` and ``push`` (over chunks of programs; with a split,
    what its programs are to the run, and an objective). ``values`` [S, E] by step, the routes in
    the order in which they were given. ``backward`` counts backward passes.
    """

    rows: pd.DataFrame
    values: dict[int, Float[np.ndarray, "S E"]]
    backward: int


def expand_routes(
    routes: Mapping[str, ScalarSettings], shape: ModelSettings
) -> tuple[dict[str, ScalarSettings], dict[str, str]]:
    """The routes with ``head: every`` replaced by one route per head, named ``ROUTE L1H3``.

    Where the stage is what a layer's attention reads, these are the heads of that layer: no other
    head reads that state.

    Returns:
        Settings, and the name in the given ones, by route.
    """
    heads = [head_name(head) for head in every_head(shape)]
    found, families = {}, {}
    for family, settings in routes.items():
        readers = re.match(r"layer_(\d+)_attn_input$", settings.stage or "")
        of_layer = [head for head in heads if not readers or head.startswith(f"L{readers[1]}H")]
        chosen = of_layer if settings.head == EVERY else [settings.head]
        for head in chosen:
            name = f"{family} {head}" if settings.head == EVERY else family
            found[name] = settings.model_copy(update={"head": head})
            families[name] = family
    return found, families


class RoutesAsked(Protocol):
    """Which routes, on what; the settings of a ``route_competition``."""

    @property
    def routes(self) -> Mapping[str, ScalarSettings]: ...

    @property
    def split(self) -> str: ...

    @property
    def train_programs(self) -> int: ...

    @property
    def chunks(self) -> int: ...

    @property
    def checkpoints(self) -> int: ...

    @property
    def seed(self) -> int: ...


def run_routes(
    record: RunRecord,
    decoder: Decoder,
    settings: RoutesAsked,
    window: tuple[int, int],
    dictionaries: Mapping[str, Dictionary] | None = None,
) -> tuple[RouteFrame, pd.DataFrame]:
    """The routes of an analysis of a finished run.

    Args:
        decoder: the run's model, or one that computes the same and counts.
        dictionaries: those of features that routes name.

    Returns:
        What they did; and what they are: route, family (its name in the settings), unit.
    """
    events, vocabulary = record.probes(settings.split), record.benchmark.vocabulary
    specs, families = expand_routes(settings.routes, decoder.settings)
    context = ScalarContext(
        decoder,
        events,
        record.value_ids,
        {},
        record.theta,
        window,
        record.manifest.steps[-1],
        dictionaries=dictionaries or {},
    )
    scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
    names = dict.fromkeys((record.manifest.recipe.train_split, settings.split))
    batches = {
        name: objective_batches(
            record.split(name).head(settings.train_programs),
            vocabulary,
            settings.chunks,
            settings.seed,
        )
        for name in names
    }
    steps = [step for step in record.manifest.steps if window[0] <= step <= window[1]]
    frame = follow_routes(
        decoder,
        record.theta,
        steps,
        spread(steps, settings.checkpoints),
        events,
        record.value_ids,
        scalars,
        batches,
        record.manifest.recipe.train_split,
    )
    about = [(name, families[name], spec.unit) for name, spec in specs.items()]
    return frame, pd.DataFrame(about, columns=["route", "family", "unit"])


def spread(steps: Sequence[int], most: int) -> list[int]:
    """At most ``most`` of the steps, evenly spread, the first and the last among them."""
    places = np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int)
    return [steps[i] for i in dict.fromkeys(places.tolist())]


def follow_routes(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    gradient_steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
    scalars: Mapping[str, Scalar],
    batches: Batches,
    train_split: str,
) -> RouteFrame:
    """Measure every route at every step, and its gradient at some; see the module.

    Args:
        steps: checkpoints of the window, in order.
        gradient_steps: those of them at which gradients are taken.
        batches: from :func:`circuit.measures.routes.descent.objective_batches`, by split.
        train_split: the split that the run was trained on.
    """
    values, frames, backward = {}, [], 0
    for step in steps:
        parameters = theta(step)
        if step in gradient_steps:
            found = scalar_gradients(decoder, parameters, events, value_ids, scalars)
            values[step] = found.values.double().numpy()
            frames.append(_pushed(decoder, parameters, found.gradients, scalars, batches, step))
            chunks = sum(len(b) for split in batches.values() for b in split.values())
            backward += len(scalars) + chunks
        else:
            found_values = scalar_values(decoder, parameters, events, value_ids, scalars)
            values[step] = found_values.double().numpy()
        frames.append(_strengths(values[step], values[steps[0]], scalars, step))
    rows = pd.concat(frames, ignore_index=True)
    programs = rows["split"].map({"": "", train_split: TRAINED_ON}).fillna(NEW)
    rows.insert(rows.columns.get_loc("split") + 1, "programs", programs)
    return RouteFrame(estimates(rows), values, backward)


def _strengths(
    now: Float[np.ndarray, "S E"],
    first: Float[np.ndarray, "S E"],
    scalars: Mapping[str, Scalar],
    step: int,
) -> pd.DataFrame:
    """Strength of every route, and its change since the window's start."""
    mean, low, high = bootstrap_means(np.concatenate([now, now - first]).T)
    table = {
        "route": [*scalars, *scalars],
        "step": step,
        "measure": np.repeat(["strength", "change"], len(scalars)),
        "split": "",
        "objective": "",
        "unit": [scalar.unit for scalar in scalars.values()] * 2,
        "mean": mean,
        "low": low,
        "high": high,
        "count": now.shape[1],
        "noun": "events",
    }
    return pd.DataFrame(table)


def _pushed(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    gradients: Float[Tensor, "S P"],
    scalars: Mapping[str, Scalar],
    batches: Batches,
    step: int,
) -> pd.DataFrame:
    """Alignment and push of every route, for every split and objective."""
    frames = []
    for split, objectives in batches.items():
        for objective, chunks in objectives.items():
            found = align(gradients, loss_gradient(decoder, theta, chunks))
            for measure, (mean, low, high) in found._asdict().items():
                table = {
                    "route": list(scalars),
                    "step": step,
                    "measure": measure,
                    "split": split,
                    "objective": objective,
                    "unit": [_unit(measure, scalar) for scalar in scalars.values()],
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "count": len(chunks),
                    "noun": "chunks of programs",
                }
                frames.append(pd.DataFrame(table))
    return pd.concat(frames, ignore_index=True)


def _unit(measure: str, scalar: Scalar) -> str:
    return "cosine" if measure == "alignment" else f"{scalar.unit} per learning rate"
