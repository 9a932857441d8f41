"""What looks at a replayed stretch of training, and which analyses ask for it.

An observer sees every step as it passes and ends with tidy tables. One replay feeds them all; none
keeps a model. Analyses of one job that ask for the same events share nothing but the replay; within
one analysis all scalars share their forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.attribution.growth import Growth, StretchSums, asked_scalars, growth_of, sums_of
from circuit.attribution.sources import UpdateSource, update_source
from circuit.config.attribution import Requested, RequestedOfData, RequestedOfFeatures
from circuit.config.terms import COMPONENTS
from circuit.scalars.features import Dictionary
from circuit.training.loop import metrics_row
from circuit.training.records import RunRecord
from circuit.training.replay import ReplayedStep


class Observer(Protocol):
    """Sees the steps of a stretch in order; ``tables`` gives what it gathered.

    Before that it is shown the steps from ``since`` on, to ``remember`` them.
    """

    since: int

    def remember(self, step: ReplayedStep) -> None: ...

    def see(self, step: ReplayedStep) -> None: ...

    def tables(self) -> dict[str, pd.DataFrame]: ...


@dataclass
class AttributionObserver:
    """Attributes the growth of scalars over every replayed step."""

    growth: Growth
    source: UpdateSource
    since: int

    def remember(self, step: ReplayedStep) -> None:
        """A step before the stretch."""
        self.source.remember(step, self._gradients(step))

    def see(self, step: ReplayedStep) -> None:
        """Attribute one step."""
        updates = self.source.split(step, self._gradients(step))
        interval = (step.step, step.step + 1)
        self.growth.attribute(interval, step.before.theta, step.after.theta, updates)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Those of :class:`circuit.attribution.growth.Growth`."""
        return self.growth.tables()

    def _gradients(self, step: ReplayedStep) -> Float[Tensor, "S P"] | None:
        """The scalars' gradients at a step's start, where the source asks for them."""
        engine = self.growth.engine
        return engine.start(step.before.theta).gradients if self.source.by_gradient else None


@dataclass
class FeatureObserver:
    """Sums up the growth of very many scalars, and of the told ones by parameter groups."""

    sums: StretchSums
    told: Growth
    source: UpdateSource
    since: int

    def remember(self, step: ReplayedStep) -> None:
        """Nothing: a step holds all that its components need."""

    def see(self, step: ReplayedStep) -> None:
        """Attribute one step."""
        updates = self.source.split(step, None)
        for growth in (self.sums, self.told):
            interval = (step.step, step.step + 1)
            growth.attribute(interval, step.before.theta, step.after.theta, updates)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Those of :class:`circuit.attribution.growth.StretchSums`, and ``summed_groups``."""
        return {**self.sums.tables(), "summed_groups": self.told.tables()["summed_groups"]}


class TraceObserver:
    """One row a step: loss, rate, gradient, update and component norms; batch rows; top tensors."""

    def __init__(self, since: int, top_parameters: int) -> None:
        self.since, self.top_parameters = since, top_parameters
        self._rows: list[dict[str, float]] = []
        self._batches: list[pd.DataFrame] = []
        self._top: list[pd.DataFrame] = []

    def remember(self, step: ReplayedStep) -> None:
        """Nothing: the trace is of the stretch alone."""

    def see(self, step: ReplayedStep) -> None:
        """Note one step."""
        parts = step.components
        norms = {f"{n}_norm": float(getattr(parts, n).norm()) for n in COMPONENTS}
        row = metrics_row(step.trajectory, step.step, step.taken)
        self._rows.append({**row, "update_norm": float(parts.update.norm()), **norms})
        self._batches.append(pd.DataFrame({"step": step.step, "row": step.taken.batch.rows}))
        if self.top_parameters:
            self._top.append(self._largest(step))

    def tables(self) -> dict[str, pd.DataFrame]:
        """``rows``, ``batches`` and, where they were asked for, ``top_parameters``."""
        frames = {"batches": self._batches, "top_parameters": self._top}
        joined = {n: pd.concat(found, ignore_index=True) for n, found in frames.items() if found}
        return {"rows": pd.DataFrame(self._rows), **joined}

    def _largest(self, step: ReplayedStep) -> pd.DataFrame:
        views = step.trajectory.decoder.layout.views
        moved = {n: float(v.norm()) for n, v in views(step.components.update).items()}
        top = sorted(moved, key=lambda n: -moved[n])[: self.top_parameters]
        size = views(step.before.theta)
        return pd.DataFrame(
            {
                "step": step.step,
                "rank": range(1, len(top) + 1),
                "parameter": top,
                "update_norm": [moved[n] for n in top],
                "parameter_norm": [float(size[n].norm()) for n in top],
            }
        )


_ASKED: Mapping[str, type[Requested]] = {
    "data_attribution": RequestedOfData,
    "feature_causes": RequestedOfFeatures,
}


def observers(
    requests: Mapping[str, dict[str, Any]],
    record: RunRecord,
    selections: Mapping[str, dict[str, Any]],
    start: int,
    dictionaries: Mapping[str, Dictionary],
) -> dict[str, Observer]:
    """One observer per request (of ``Plan.requests``), by analysis name.

    Args:
        selections: content of ``heads.json`` by the selecting analysis' name.
        start: first step of the stretch; an observer remembers what its window holds before it.
        dictionaries: of features, by the name of the analysis that made them.
    """
    found: dict[str, Observer] = {}
    for name, request in requests.items():
        if request["kind"] == "optimizer_trace":
            found[name] = TraceObserver(start, request["top_parameters"])
            continue
        settings = _ASKED.get(request["kind"], Requested).of(request)
        source = update_source(settings, record)
        asked = asked_scalars(settings, record, selections[settings.heads], dictionaries)
        if isinstance(settings, RequestedOfFeatures):
            both = sums_of(settings, record, asked, source.parts, source.summands)
            found[name] = FeatureObserver(*both, source, start)
            continue
        growth = growth_of(settings, record, asked, source.parts, source.summands)
        since = max(request["window"][0], start - source.memory)
        found[name] = AttributionObserver(growth, source, since)
    return found
