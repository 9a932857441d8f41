"""The closure analysis: measure outcomes and routes per interval, regress, and control.

Forward passes: two per checkpoint interval and set of scalars, plus one per fixed competitor.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from circuit.config.scalar import ScalarSettings
from circuit.config.terms import SCALAR_UNITS
from circuit.estimates import EXCESS, estimates
from circuit.measures.closure.regression import (
    changes,
    coefficients,
    fit,
    r_squared,
    shuffled_events,
)
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.features import Dictionary
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import interval
from circuit.training.records import RunRecord

CONTROL = "control:"
BOTTOM, SHUFFLED = "bottom head", "shuffled events"
POOLED, WITHIN = "pooled", "within"
"""Which differences are explained: all, or those between the events of one interval."""


class Explained(NamedTuple):
    """What the routes explain.

    ``rows``: estimates of r2 (keys outcome, compared) and coefficient (outcome, route).
    ``intervals``: estimates of the mean actual, predicted and residual change of every interval.
    ``events``: outcome, against, event, start, stop, actual, predicted and predicted_within (both
    cross-validated; the second with an intercept per interval).
    """

    rows: pd.DataFrame
    intervals: pd.DataFrame
    events: pd.DataFrame


class Question(Protocol):
    """What is to be explained, by which routes; the settings of a ``closure``."""

    @property
    def outcomes(self) -> Mapping[str, ScalarSettings]: ...

    @property
    def routes(self) -> Mapping[str, ScalarSettings]: ...

    @property
    def split(self) -> str: ...

    @property
    def folds(self) -> int: ...

    @property
    def seed(self) -> int: ...


def interval_changes(
    settings: Question,
    record: RunRecord,
    selection: dict[str, Any],
    window: tuple[int, int],
    dictionaries: Mapping[str, Dictionary] | None = None,
) -> pd.DataFrame:
    """Changes of outcomes, routes and the bottom head's routes (``control:…``) per interval.

    Args:
        dictionaries: those of features that scalars name.
    """
    events = record.probes(settings.split)
    specs: dict[str, ScalarSettings] = {**settings.outcomes, **settings.routes}
    for name, spec in settings.routes.items():
        if spec.head is not None:
            specs[CONTROL + name] = spec.model_copy(update={"head": "bottom"})
    heads = {role: selection[role] for role in ("winner", "runner_up", "bottom")}

    def measure(interval: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        context = ScalarContext(
            decoder=record.decoder,
            events=events,
            value_ids=record.value_ids,
            heads=heads,
            theta=record.theta,
            window=interval,
            last=record.manifest.steps[-1],
            dictionaries=dictionaries or {},
        )
        scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
        before, after = (
            scalar_values(record.decoder, record.theta(step), events, record.value_ids, scalars)
            for step in interval
        )
        return before.double().numpy(), after.double().numpy()

    steps = [s for s in record.manifest.steps if window[0] <= s <= window[1]]
    return changes(list(pairwise(steps)), measure, list(specs))


def explain(settings: Question, table: pd.DataFrame) -> Explained:
    """Fit every outcome under the routes and both controls."""
    routes = list(settings.routes)
    control = [CONTROL + name if CONTROL + name in table else name for name in routes]
    shuffled = shuffled_events(table, routes, settings.seed)
    models = {"": (table, routes), BOTTOM: (table, control), SHUFFLED: (shuffled, routes)}
    scores, fitted, events = [], [], []
    for outcome in settings.outcomes:
        mine = []
        for against, (data, columns) in models.items():
            part = data[["event", "start", "stop"]].assign(
                outcome=outcome,
                against=against,
                actual=data[outcome],
                predicted=fit(data, outcome, columns, settings.folds),
                predicted_within=fit(data, outcome, columns, settings.folds, within=True),
            )
            mine.append(part)
            if against != SHUFFLED:
                found = coefficients(data, outcome, columns, settings.seed)
                found["route"] = found["route"].str.removeprefix(CONTROL)
                fitted.append(found.assign(outcome=outcome, against=against))
        scores += _scores(outcome, mine, settings.seed)
        events += mine
    count, last = table["event"].nunique(), int(table["stop"].max())
    rows = [
        estimates(
            pd.DataFrame(scores, columns=["outcome", "compared", "against", "mean", "low", "high"]),
            "1", step=last, measure="r2", route="", count=count, noun="events",
        ),
        estimates(
            pd.concat(fitted), "outcome per route unit", step=last, measure="coefficient",
            compared=POOLED, count=count, noun="events",
        ),
    ]  # fmt: skip
    per_event = pd.concat(events, ignore_index=True)
    return Explained(
        pd.concat(rows, ignore_index=True)[rows[0].columns],
        _intervals(settings, per_event[per_event["against"] == ""]),
        per_event,
    )


def _scores(outcome: str, models: list[pd.DataFrame], seed: int) -> list[tuple[Any, ...]]:
    """R² of the routes and of their controls, and its excess over the best of these and 0.

    An R² of 0 is that of the mean. All share their resamples; the best is chosen in each.
    """
    found: list[tuple[Any, ...]] = []
    for compared in (POOLED, WITHIN):
        points, draws = [], []
        for part in models:
            point, drawn = r_squared(part, seed, compared == WITHIN)
            low, high = interval(drawn)
            found.append((outcome, compared, part["against"].iloc[0], point, low, high))
            points.append(point)
            draws.append(drawn)
        low, high = interval(draws[0] - np.maximum(0, np.maximum(*draws[1:])))
        found.append((outcome, compared, EXCESS, points[0] - max(0, *points[1:]), low, high))
    return found


def _intervals(settings: Question, events: pd.DataFrame) -> pd.DataFrame:
    """Mean change of every interval: actual, predicted on unseen events, and what is left."""
    left = events.assign(residual=events["actual"] - events["predicted"])
    groups = left.groupby(["outcome", "start", "stop"], sort=False)
    long = groups[["actual", "predicted", "residual"]].mean().stack().rename("mean").reset_index()
    long["count"] = groups.size().repeat(3).to_numpy()
    long["unit"] = [SCALAR_UNITS[settings.outcomes[name].scalar] for name in long["outcome"]]
    long = long.rename(columns={"start": "step", "level_3": "measure"})
    return estimates(long, noun="events")
