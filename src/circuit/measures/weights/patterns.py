"""Patterns in the weights' singular values over training, and whether behaviour goes with them.

Per matrix, from the rows of :mod:`circuit.measures.weights.svd`; no torch here.

1. ``growth``: the Frobenius norm ends above the baseline's band and has risen by more than the
   band is wide. Its step is the first checkpoint from which it stays at or above half-way between
   its first and last value; start and stop are the corners of its least-squares ramp.
2. ``compression``: the same of the effective rank, downwards.
3. ``stabilisation``: the first checkpoint, neither the first nor the last of the run, from which
   the rotation to the final checkpoint (mean of both sides) stays at or below half of what two
   random subspaces show. It lasts to the end of the run. Looked at from the end, everything
   settles late; compare matrices with each other, not with nothing.
4. ``co_movement``: neighbouring checkpoint intervals in which more weight matrices (W_Q, W_K, W_V,
   W_O, W_in, W_out) move faster than their own average over the run than chance explains. Chance
   shifts every matrix' intervals circularly by itself and takes the largest count of any interval;
   the bound is its 95% quantile. A chord is relatively longer over a short interval, so densely
   saved stretches look a little faster.
5. *Match*: a birth in the weights matches behaviour where its step lies in a merged window of
   behaviour's births. All whole-step circular shifts of the windows against the weights say how
   many would match if the windows lay anywhere. The windows move together and the weights stay as
   they are, so both keep their own clustering.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from circuit.landmarks import beyond, fit_ramps, half_level, stays_from
from circuit.statistics import LEVEL, interval

Windows = Mapping[str, Mapping[str, Any]]
UNITS = {
    **dict.fromkeys(("step", "start", "stop", "distance", "lead"), "step"),
    **dict.fromkeys(("before", "after"), "unit of the measure"),
    "matrices": "1",
    "bound": "1",
}
MATCH_UNITS = dict.fromkeys(("births", "matched", "expected", "low", "high", "chance"), "1")
BIRTHS = ("growth", "compression", "stabilisation")
_WEIGHTS = ("W_Q", "W_K", "W_V", "W_O", "W_in", "W_out")
_COLUMNS = ("component", "matrix", "pattern", "measure", "step", "start", "stop", "before", "after")


def weight_patterns(
    rows: pd.DataFrame, windows: Windows, shifts: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All patterns, in order of time, and how many births match behaviour.

    Args:
        rows: of :func:`circuit.measures.weights.svd.weight_svd`, two checkpoints or more.
        windows: of behaviour's births, by name.
        shifts: random shifts behind the bound on co-movement.

    Returns:
        patterns: component, matrix, pattern, measure, step, start, stop, before and after (the
        measure at start and stop), matrices (that move), bound (of their number by chance), window
        (nearest merged window of behaviour's births), distance (steps that the pattern lies before
        (negative) or behind it, 0 inside), birth (evidence born nearest), lead (steps from that
        birth to the pattern's; negative: the weights came first).
        matches: pattern, births, matched, expected, low, high (95% of shifts), chance (share of
        shifts with at least as many matches).
    """
    steps = np.sort(rows["step"].unique())
    found = [
        *_births(rows, "growth", "frobenius_norm", 1),
        *_births(rows, "compression", "effective_rank", -1),
        *_stabilisations(rows),
        *_co_movements(rows, shifts, seed),
    ]
    columns = [*_COLUMNS, "matrices", "bound"]
    patterns = pd.DataFrame(found, columns=columns).sort_values(
        ["step", "pattern", "matrix", "component"], ignore_index=True
    )
    names = ["window", "distance", "birth", "lead"]
    near = pd.DataFrame(
        [_nearest(row, windows) for row in patterns.to_dict("records")], columns=names
    )
    patterns = patterns.join(near).astype({"distance": float, "lead": float})
    return patterns, matches(patterns, windows, (int(steps[0]), int(steps[-1])))


def _table(rows: pd.DataFrame, *measures: str) -> pd.DataFrame:
    """Mean of measures: one row per (matrix, component), one column per step."""
    chosen = rows[rows["measure"].isin(measures)]
    return chosen.pivot_table(index=["matrix", "component"], columns="step", values="value")


def _of_baseline(rows: pd.DataFrame, measure: str, column: str, like: pd.DataFrame) -> np.ndarray:
    """A column of a measure's baseline, per row of ``like``."""
    by_matrix = rows[rows["measure"] == measure].groupby("matrix")[column].first()
    found: np.ndarray = by_matrix.loc[like.index.get_level_values("matrix")].to_numpy()
    return found


def _births(rows: pd.DataFrame, pattern: str, measure: str, direction: int) -> list[dict[str, Any]]:
    table = _table(rows, measure)
    values, steps = table.to_numpy(), table.columns.to_numpy()
    low, high = (_of_baseline(rows, measure, f"baseline_{end}", table) for end in ("low", "high"))
    first, last = values[:, 0], values[:, -1]
    outside = direction * last > direction * (high if direction > 0 else low)
    born = outside & (direction * (last - first) > high - low)
    ramps = fit_ramps(steps.tolist(), values, direction)
    # Of what is born the last value is beyond half-way, so it stays from some checkpoint on.
    at = stays_from(beyond(values, half_level(values)[:, None], direction))
    return [
        _pattern(table, i, pattern, measure, int(at[i]), (int(ramps.start[i]), int(ramps.stop[i])))
        for i in np.flatnonzero(born).tolist()
    ]


def _stabilisations(rows: pd.DataFrame) -> list[dict[str, Any]]:
    sides = ("rotation_final_left", "rotation_final_right")
    table = _table(rows, *sides)
    left, right = (_of_baseline(rows, side, "baseline_mean", table) for side in sides)
    bound = (left + right) / 4  # half of their mean
    values, last = table.to_numpy(), len(table.columns) - 1
    settled = stays_from(beyond(values, bound[:, None], -1))
    return [
        _pattern(table, i, "stabilisation", "rotation_final", at, (at, last))
        for i, at in enumerate(settled.tolist())
        if 0 < at < last
    ]


def _pattern(
    table: pd.DataFrame,
    i: int,
    pattern: str,
    measure: str,
    at: int,
    corners: tuple[int, int],
) -> dict[str, Any]:
    (matrix, component), steps = table.index[i], table.columns
    start, stop = corners
    return {
        "component": component,
        "matrix": matrix,
        "pattern": pattern,
        "measure": measure,
        "step": int(steps[at]),
        "start": int(steps[start]),
        "stop": int(steps[stop]),
        "before": float(table.iat[i, start]),
        "after": float(table.iat[i, stop]),
        "matrices": 1,
        "bound": np.nan,
    }


def _co_movements(rows: pd.DataFrame, shifts: int, seed: int) -> list[dict[str, Any]]:
    steps = np.sort(rows["step"].unique())
    table = _table(rows[rows["matrix"].isin(_WEIGHTS)], "change_norm")
    lengths = np.diff(steps)
    path = table.to_numpy()
    fast = path / lengths > path.sum(1, keepdims=True) / lengths.sum()
    counts, bound = fast.sum(0), _bound(fast, shifts, seed)
    edges = np.flatnonzero(np.diff(np.r_[False, counts > bound, False].astype(int)))
    return [
        {
            "component": "all",
            "matrix": "all",
            "pattern": "co_movement",
            "measure": "change_norm",
            "step": int(steps[start]),
            "start": int(steps[start]),
            "stop": int(steps[stop]),
            "before": np.nan,
            "after": np.nan,
            "matrices": int(counts[start:stop].max()),
            "bound": float(bound),
        }
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]


def _bound(fast: Bool[np.ndarray, "M I"], shifts: int, seed: int) -> float:
    """How many matrices are fast together in some interval by chance: its 95% quantile."""
    matrices, intervals = fast.shape
    offsets = np.random.default_rng(seed).integers(intervals, size=(shifts, matrices, 1))
    shifted = (np.arange(intervals) + offsets) % intervals
    counts = fast[np.arange(matrices)[:, None], shifted].sum(1)
    return float(np.quantile(counts.max(1), LEVEL))


def _merged(windows: Windows) -> dict[str, tuple[int, int]]:
    return {
        name: (window["start"], window["stop"])
        for name, window in windows.items()
        if name.startswith("window_")
    }


def _nearest(row: Mapping[str, Any], windows: Windows) -> tuple[str, float, str, float]:
    """Nearest merged window and its distance, nearest birth and the steps from it.

    Weights that move together are a window themselves, which has a distance but no lead.
    """
    together = row["pattern"] == "co_movement"
    first, last = (row["start"], row["stop"]) if together else (row["step"], row["step"])
    away = {n: max(first - b, 0) + min(last - a, 0) for n, (a, b) in _merged(windows).items()}
    window = min(away, key=lambda n: abs(away[n]), default="")
    births = {n: w["birth"] for n, w in windows.items() if w.get("birth") is not None}
    leads = {} if together else {n: row["step"] - birth for n, birth in births.items()}
    birth = min(leads, key=lambda n: abs(leads[n]), default="")
    return window, away.get(window, np.nan), birth, leads.get(birth, np.nan)


def matches(patterns: pd.DataFrame, windows: Windows, run: tuple[int, int]) -> pd.DataFrame:
    """How many births of the weights lie in behaviour's windows, against shifted windows."""
    merged = _merged(windows)
    rows = []
    for pattern in (*BIRTHS, "all"):
        chosen = patterns["pattern"].isin(BIRTHS if pattern == "all" else [pattern])
        steps = patterns.loc[chosen, "step"].to_numpy(dtype=np.int64)
        counts = _matched_when_shifted(steps, merged.values(), run)
        low, high = interval(counts)
        observed = int(counts[0])
        rows.append(
            (pattern, len(steps), observed, counts.mean(), low, high, (counts >= observed).mean())
        )
    return pd.DataFrame(
        rows, columns=["pattern", "births", "matched", "expected", "low", "high", "chance"]
    )


def _matched_when_shifted(
    steps: Int[np.ndarray, " b"], windows: Iterable[tuple[int, int]], run: tuple[int, int]
) -> Int[np.ndarray, " S"]:
    """Births inside any window, for every whole-step circular shift; the first is no shift."""
    length = run[1] - run[0] + 1
    inside = np.zeros(length, dtype=bool)
    for start, stop in windows:
        inside[start - run[0] : stop - run[0] + 1] = True
    shifted = (steps[:, None] - run[0] + np.arange(length)) % length
    found: np.ndarray = inside[shifted].sum(0)
    return found
