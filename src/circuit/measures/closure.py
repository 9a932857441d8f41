"""How much of the change of behaviour the change of route scalars explains.

1. For every interval between neighbouring checkpoints and every event, measure the change of the
   outcomes and of the route scalars. A fixed competitor is the one at the interval's first state.
2. Regress the outcome's change on the routes' changes (ordinary least squares with intercept),
   pooled over events and intervals, and predict each event from a fit that never saw it (folds are
   made of events).
3. R² = 1 - Σ(actual - predicted)² / Σ(actual - mean)², with a bootstrap interval over events (the
   predictions stay as they are). Below 0, the routes predict worse than the mean.
4. ``within`` asks about differences between the events of one interval: the fit has an intercept
   per interval, and each interval's mean is removed before R², so that merely knowing *when* things
   changed explains nothing. Predictions of the pooled fit would not do, since their coefficients
   hold the relation between intervals too.
5. Two controls: the same routes of the bottom head, and the routes with events shuffled within each
   interval. Shuffling keeps the relation between intervals, so only its ``within`` R² is about 0.

Forward passes: two per checkpoint interval and set of scalars, plus one per fixed competitor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from circuit.config.benchmark import SplitName
from circuit.config.scalar import ScalarSettings
from circuit.config.terms import SCALAR_UNITS
from circuit.estimates import EXCESS, estimates
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.features import Dictionary
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import interval, resamples
from circuit.training.records import RunRecord

CONTROL = "control:"
BOTTOM, SHUFFLED = "bottom head", "shuffled events"
POOLED, WITHIN = "pooled", "within"
"""Which differences are explained: all, or those between the events of one interval."""
_PER_ROUTE = "outcome per route unit"
EVENT_UNITS = {
    "event": "id",
    **dict.fromkeys(("start", "stop"), "step"),
    **dict.fromkeys(("actual", "predicted", "predicted_within"), "unit of the outcome"),
}


class Explained(NamedTuple):
    """What the routes explain: estimates of r2 (by outcome, compared) and coefficient (by outcome,
    route); of the mean actual, predicted and residual change of every interval; and every event's
    actual and cross-validated changes (``predicted_within`` with an intercept per interval).
    """

    rows: pd.DataFrame
    intervals: pd.DataFrame
    events: pd.DataFrame


class Question(Protocol):
    """What is to be explained, by which routes; the settings of a ``closure``."""

    outcomes: dict[str, ScalarSettings]
    routes: dict[str, ScalarSettings]
    split: SplitName
    folds: int
    seed: int


def interval_changes(
    settings: Question,
    record: RunRecord,
    selection: dict[str, Any],
    window: tuple[int, int],
    dictionaries: Mapping[str, Dictionary] | None = None,
) -> pd.DataFrame:
    """Changes of outcomes, routes and the bottom head's routes (``control:…``), a row per interval
    and event; ``dictionaries`` are those of features that scalars name.
    """
    decoder, events = record.decoder, record.probes(settings.split)
    specs: dict[str, ScalarSettings] = {**settings.outcomes, **settings.routes}
    for name, spec in settings.routes.items():
        if spec.head is not None:
            specs[CONTROL + name] = spec.model_copy(update={"head": "bottom"})
    heads = {role: selection[role] for role in ("winner", "runner_up", "bottom")}
    frames = []
    steps = record.manifest.steps
    for ends in pairwise(step for step in steps if window[0] <= step <= window[1]):
        about = (events, record.value_ids, heads, record.theta, ends, steps[-1])
        context = ScalarContext(decoder, *about, dictionaries=dictionaries or {})
        scalars = {name: build_scalar(spec, context) for name, spec in specs.items()}
        before, after = (
            scalar_values(decoder, record.theta(step), events, record.value_ids, scalars)
            for step in ends
        )
        changed = (after.double() - before.double()).numpy()
        frame = pd.DataFrame(dict(zip(specs, changed, strict=True)))
        frames.append(frame.assign(event=range(len(frame)), start=ends[0], stop=ends[1]))
    return pd.concat(frames, ignore_index=True)


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
                about = {"measure": "coefficient", "unit": _PER_ROUTE, "compared": POOLED}
                fitted.append(found.assign(outcome=outcome, against=against, **about))
        scores += _scores(outcome, mine, settings.seed)
        events += mine
    columns = ["outcome", "compared", "against", "mean", "low", "high"]
    r2 = pd.DataFrame(scores, columns=columns).assign(measure="r2", unit="1", route="")
    per_event = pd.concat(events, ignore_index=True)
    rows = pd.concat([r2, *fitted], ignore_index=True).assign(count=table["event"].nunique())
    return Explained(
        estimates(rows, noun="events", step=int(table["stop"].max())),
        _intervals(settings, per_event[per_event["against"] == ""]),
        per_event,
    )


def _scores(outcome: str, models: list[pd.DataFrame], seed: int) -> list[tuple[Any, ...]]:
    """R² of the routes and of their controls, and its excess over the best of these and 0.

    An R² of 0 is that of the mean. All share their resamples; the best is chosen in each.
    """
    found: list[tuple[Any, ...]] = []
    for compared in (POOLED, WITHIN):
        each = [r_squared(part, seed, compared == WITHIN) for part in models]
        points, draws = zip(*each, strict=True)
        for part, (point, drawn) in zip(models, each, strict=True):
            against = part["against"].iloc[0]
            found.append((outcome, compared, against, point, *interval(drawn)))
        beyond = interval(draws[0] - np.maximum(0, np.maximum(*draws[1:])))
        found.append((outcome, compared, EXCESS, points[0] - max(0, *points[1:]), *beyond))
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


def shuffled_events(table: pd.DataFrame, columns: Sequence[str], seed: int) -> pd.DataFrame:
    """The table with the given columns permuted over events within each interval."""
    rng = np.random.default_rng(seed)
    result, names = table.copy(), list(columns)
    for index in table.groupby("start").indices.values():
        result.loc[index, names] = table.loc[rng.permutation(index), names].to_numpy()
    return result


def fit(
    table: pd.DataFrame, outcome: str, routes: Sequence[str], folds: int, within: bool = False
) -> Float[np.ndarray, " N"]:
    """Cross-validated predictions of the outcome's change for every row.

    With ``within``, an intercept is fitted for every interval instead of one for all.
    """
    x, y = table[list(routes)].to_numpy(), table[outcome].to_numpy()
    if within:
        others = pd.get_dummies(table["start"], drop_first=True, dtype=float).to_numpy()
        x = np.column_stack([x, others])
    predicted = np.empty(len(y))
    for train, test in GroupKFold(folds).split(x, y, groups=table["event"]):
        # Least squares drop what is small beside the rest, so a route's unit must not matter.
        model = make_pipeline(StandardScaler(), LinearRegression())
        predicted[test] = model.fit(x[train], y[train]).predict(x[test])
    return predicted


def coefficients(
    table: pd.DataFrame, outcome: str, routes: Sequence[str], seed: int
) -> pd.DataFrame:
    """Coefficients of the fit to all rows by route, with bootstrap intervals over events."""
    scaler = StandardScaler()
    x, y = scaler.fit_transform(table[list(routes)].to_numpy()), table[outcome].to_numpy()
    design = np.column_stack([x, np.ones(len(x))])
    # Normal equations per event: a bootstrap fit is then a weighted sum of small matrices.
    events = table["event"].to_numpy()
    count = events.max() + 1
    gram = np.zeros((count, design.shape[1], design.shape[1]))
    cross = np.zeros((count, design.shape[1]))
    np.add.at(gram, events, design[:, :, None] * design[:, None, :])
    np.add.at(cross, events, design * y[:, None])
    weights = resamples(count, seed)
    sums = ((np.tensordot(w, gram, 1), np.tensordot(w, cross, 1)) for w in weights)
    drawn = np.stack([np.linalg.lstsq(*both, rcond=None)[0][:-1] for both in sums])
    point = LinearRegression().fit(x, y).coef_
    ends = {"mean": point, "low": interval(drawn)[0], "high": interval(drawn)[1]}
    return pd.DataFrame({"route": list(routes), **{n: e / scaler.scale_ for n, e in ends.items()}})


def r_squared(
    rows: pd.DataFrame, seed: int, within: bool = False
) -> tuple[float, Float[np.ndarray, " r"]]:
    """R² of the predictions for ``actual``, and of bootstrap resamples of the events.

    With ``within``, of ``predicted_within``, after removing every interval's mean from both.
    """
    values = rows[["actual", "predicted_within" if within else "predicted"]]
    if within:
        values = values - values.groupby(rows["start"]).transform("mean")
    actual, predicted = values.to_numpy().T
    sums = {"n": 1.0, "sum": actual, "square": actual**2, "error": (actual - predicted) ** 2}
    totals = pd.DataFrame(sums).groupby(rows["event"].to_numpy()).sum().to_numpy()
    return float(_explained(totals.sum(0))), _explained(resamples(len(totals), seed) @ totals)


def _explained(totals: Float[np.ndarray, "... 4"]) -> Float[np.ndarray, "..."]:
    n, total, square, error = np.moveaxis(totals, -1, 0)
    return np.asarray(1 - error / (square - total**2 / n))
