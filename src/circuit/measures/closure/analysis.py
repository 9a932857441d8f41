"""The closure analysis: measure outcomes and routes per interval, regress, and control.

Forward passes: two per checkpoint interval and set of scalars, plus one per fixed competitor.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pandas as pd

from circuit.config.scalar import ScalarSettings
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
from circuit.training.records import RunRecord

SCORE_UNITS = {"r2": "1", "low": "1", "high": "1"}
CONTROL = "control:"


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


def explain(
    settings: Question, table: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Fit every outcome under the routes and both controls.

    Returns:
        rows: outcome, model, event, start, stop, actual, predicted and predicted_within (both
            cross-validated; the second with an intercept per interval).
        scores: outcome, model, within, r2, low, high.
        coefficients: outcome, model, route, coefficient, low, high.
    """
    routes = list(settings.routes)
    control = [CONTROL + name if CONTROL + name in table else name for name in routes]
    shuffled = shuffled_events(table, routes, settings.seed)
    models = {
        "routes": (table, routes),
        "control": (table, control),
        "shuffled": (shuffled, routes),
    }
    rows, scores, fitted = [], [], []
    for outcome in settings.outcomes:
        for model, (data, columns) in models.items():
            part = data[["event", "start", "stop"]].assign(
                outcome=outcome,
                model=model,
                actual=data[outcome],
                predicted=fit(data, outcome, columns, settings.folds),
                predicted_within=fit(data, outcome, columns, settings.folds, within=True),
            )
            rows.append(part)
            for within in (False, True):
                r2, low, high = r_squared(part, settings.seed, within)
                scores.append((outcome, model, within, r2, low, high))
            if model != "shuffled":
                found = coefficients(data, outcome, columns, settings.seed)
                fitted.append(found.assign(outcome=outcome, model=model))
    return (
        pd.concat(rows, ignore_index=True),
        pd.DataFrame(scores, columns=["outcome", "model", "within", "r2", "low", "high"]),
        pd.concat(fitted, ignore_index=True),
    )
