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
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.config.scalar import EVERY, Route, ScalarSettings
from circuit.estimates import estimates
from circuit.measures.routes.descent import Pushes, align, loss_gradient, run_batches
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
    """What the routes did: estimates by route, split, programs and objective (``strength`` and
    ``change`` over events, ``alignment`` and ``push`` over chunks of programs); their values by
    step, the routes in their given order; and how many backward passes that took.
    """

    rows: pd.DataFrame
    values: dict[int, Float[np.ndarray, "S E"]]
    backward: int


def expand_routes(
    routes: Mapping[str, ScalarSettings], shape: ModelSettings
) -> tuple[dict[str, ScalarSettings], dict[str, str]]:
    """The routes with ``head: every`` replaced by one route per head, named ``ROUTE L1H3``.

    Where the stage is what a layer's attention reads, these are the heads of that layer: no other
    head reads that state. Returned are settings, and the name in the given ones, by route.
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


class RoutesAsked(Pushes, Protocol):
    """Which routes, and where their gradients are taken; the settings of ``route_competition``."""

    routes: dict[str, Route]
    checkpoints: int


def run_routes(
    record: RunRecord,
    decoder: Decoder,
    settings: RoutesAsked,
    window: tuple[int, int],
    dictionaries: Mapping[str, Dictionary] | None = None,
) -> tuple[RouteFrame, pd.DataFrame]:
    """The routes of a finished run; see the module.

    Args:
        decoder: the run's model, or one that computes the same and counts.
        dictionaries: those of features that routes name.

    Returns:
        What they did; and what they are: route, family (its name in the settings), unit.
    """
    events, every = record.probes(settings.split), record.manifest.steps
    specs, families = expand_routes(settings.routes, decoder.settings)
    measured = (decoder, events, record.value_ids)
    context = ScalarContext(
        *measured, {}, record.theta, window, every[-1], dictionaries=dictionaries or {}
    )
    scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
    trained = record.manifest.recipe.train_split
    names = dict.fromkeys((trained, settings.split))
    batches = {name: run_batches(record, name, settings) for name in names}
    steps = [step for step in every if window[0] <= step <= window[1]]
    at = spread(steps, settings.checkpoints)
    frame = follow_routes(*measured, record.theta, steps, at, scalars, batches, trained)
    about = [(name, families[name], spec.unit) for name, spec in specs.items()]
    return frame, pd.DataFrame(about, columns=["route", "family", "unit"])


def spread(steps: Sequence[int], most: int) -> list[int]:
    """At most ``most`` of the steps, evenly spread, the first and the last among them."""
    places = np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int)
    return [steps[i] for i in dict.fromkeys(places.tolist())]


def follow_routes(
    decoder: Decoder,
    events: ReadEvents,
    value_ids: range,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    gradient_steps: Sequence[int],
    scalars: Mapping[str, Scalar],
    batches: Batches,
    train_split: str,
) -> RouteFrame:
    """Measure every route at every step of the window, and its gradient at some; see the module."""
    values: dict[int, Float[np.ndarray, "S E"]] = {}
    frames, backward = [], 0

    def add(ends: object, measure: str | list[str], **about: Any) -> None:
        mean, low, high = np.asarray(ends)
        routes = list(scalars) * (len(mean) // len(scalars))
        table = {"route": routes, "split": "", "programs": "", "objective": "", **about}
        numbers = {"measure": measure, "mean": mean, "low": low, "high": high}
        frames.append(pd.DataFrame({**table, "step": step, **numbers}))

    for step in steps:
        parameters = theta(step)
        if step in gradient_steps:
            found = scalar_gradients(decoder, parameters, events, value_ids, scalars)
            now, backward = found.values, backward + len(scalars)
            for split, objectives in batches.items():
                about = {"split": split, "programs": TRAINED_ON if split == train_split else NEW}
                for objective, chunks in objectives.items():
                    aligned = align(found.gradients, loss_gradient(decoder, parameters, chunks))
                    backward += len(chunks)
                    counted = {"count": len(chunks), "noun": "chunks of programs"}
                    for measure, ends in aligned._asdict().items():
                        add(ends, measure, **about, objective=objective, **counted)
        else:
            now = scalar_values(decoder, parameters, events, value_ids, scalars)
        values[step] = now.double().numpy()
        both = np.concatenate([values[step], values[step] - values[steps[0]]])
        measures = np.repeat(["strength", "change"], len(scalars)).tolist()
        add(bootstrap_means(both.T), measures, count=len(events), noun="events")
    rows = pd.concat(frames, ignore_index=True)
    own = rows["route"].map({name: scalar.unit for name, scalar in scalars.items()})
    unit = own.where(rows["measure"] != "push", own + " per learning rate")
    rows["unit"] = unit.where(rows["measure"] != "alignment", "cosine")
    return RouteFrame(estimates(rows), values, backward)
