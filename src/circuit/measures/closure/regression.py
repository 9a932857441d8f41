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
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold

from circuit.statistics import RESAMPLES, interval

EVENT_UNITS = {
    "event": "id",
    "start": "step",
    "stop": "step",
    "actual": "unit of the outcome",
    "predicted": "unit of the outcome",
    "predicted_within": "unit of the outcome",
}
Values = Callable[[tuple[int, int]], dict[str, Float[np.ndarray, " E"]]]


def changes(
    intervals: Sequence[tuple[int, int]],
    measure: Callable[[tuple[int, int]], tuple[Float[np.ndarray, "S E"], Float[np.ndarray, "S E"]]],
    names: Sequence[str],
) -> pd.DataFrame:
    """One row per interval and event with the change of every named scalar.

    Args:
        measure: the scalars' values at an interval's first and last state, scalars defined with
            respect to that interval.
    """
    frames = []
    for start, stop in intervals:
        before, after = measure((start, stop))
        frame = pd.DataFrame(dict(zip(names, after - before, strict=True)))
        frames.append(frame.assign(event=range(len(frame)), start=start, stop=stop))
    return pd.concat(frames, ignore_index=True)


def shuffled_events(table: pd.DataFrame, columns: Sequence[str], seed: int) -> pd.DataFrame:
    """The table with the given columns permuted over events within each interval."""
    rng = np.random.default_rng(seed)
    result = table.copy()
    for _, index in table.groupby("start").indices.items():
        result.loc[index, list(columns)] = table.loc[
            rng.permutation(index), list(columns)
        ].to_numpy()
    return result


def fit(
    table: pd.DataFrame, outcome: str, routes: Sequence[str], folds: int, within: bool = False
) -> Float[np.ndarray, " N"]:
    """Cross-validated predictions of the outcome's change for every row.

    Args:
        within: fit an intercept for every interval instead of one for all.
    """
    x, y = table[list(routes)].to_numpy(), table[outcome].to_numpy()
    if within:
        others = pd.get_dummies(table["start"], drop_first=True, dtype=float).to_numpy()
        x = np.column_stack([x, others])
    predicted = np.empty(len(y))
    for train, test in GroupKFold(folds).split(x, y, groups=table["event"]):
        predicted[test] = LinearRegression().fit(x[train], y[train]).predict(x[test])
    return predicted


def coefficients(
    table: pd.DataFrame, outcome: str, routes: Sequence[str], seed: int
) -> pd.DataFrame:
    """Coefficients of the fit to all rows, with bootstrap intervals over events.

    Columns: route, mean, low, high.
    """
    x, y = table[list(routes)].to_numpy(), table[outcome].to_numpy()
    design = np.column_stack([x, np.ones(len(x))])
    # Normal equations per event: a bootstrap fit is then a weighted sum of small matrices.
    events = table["event"].to_numpy()
    count = events.max() + 1
    gram = np.zeros((count, design.shape[1], design.shape[1]))
    cross = np.zeros((count, design.shape[1]))
    np.add.at(gram, events, design[:, :, None] * design[:, None, :])
    np.add.at(cross, events, design * y[:, None])
    weights = _resamples(count, seed)
    draws = np.stack(
        [
            np.linalg.lstsq(np.tensordot(w, gram, 1), np.tensordot(w, cross, 1), rcond=None)[0]
            for w in weights
        ]
    )
    low, high = interval(draws)
    point = LinearRegression().fit(x, y).coef_
    return pd.DataFrame({"route": list(routes), "mean": point, "low": low[:-1], "high": high[:-1]})


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
    per_event = pd.DataFrame(
        {
            "event": rows["event"].to_numpy(),
            "n": 1.0,
            "sum": actual,
            "square": np.square(actual),
            "error": np.square(actual - predicted),
        }
    )
    totals = per_event.groupby("event").sum().to_numpy()
    return float(_explained(totals.sum(0))), _explained(_resamples(len(totals), seed) @ totals)


def _resamples(count: int, seed: int) -> Int[np.ndarray, "r E"]:
    """How often each event occurs in each bootstrap resample, by a multinomial draw."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)


def _explained(totals: Float[np.ndarray, "... 4"]) -> Float[np.ndarray, "..."]:
    n, total, square, error = np.moveaxis(totals, -1, 0)
    spread: Float[np.ndarray, "..."] = square - total**2 / n
    return np.asarray(1 - error / spread)
