"""Patterns in the weights' singular values over training, and whether behaviour goes with them.

Per matrix, from the rows of :mod:`circuit.measures.weights.svd`.

1. ``growth``: the Frobenius norm ends above the baseline's band and has risen by more than the
   band is wide. Its step is the first checkpoint from which it stays at or above half-way between
   its first and last value; start and stop are the corners of its least-squares ramp.
2. ``compression``: the same of the effective rank, downwards.
3. ``stabilisation``: the first checkpoint, neither the first nor the last of the run, from which
   the rotation to the final checkpoint (mean of both sides) stays at or below half of what two
   random subspaces show. Looked at from the end, everything settles late; compare matrices with
   each other, not with nothing.
4. ``co_movement``: neighbouring checkpoint intervals in which more stored matrices move faster than
   their own average over the run than chance explains. Chance shifts every matrix' intervals
   circularly by itself; the bound is the 95% quantile of the largest count of any interval. A chord
   is relatively longer over a short interval, so densely saved stretches look a little faster.
5. *Match*: a birth in the weights matches behaviour where its step lies in a merged window of
   behaviour's births. All whole-step circular shifts of the windows say how many would match if
   they lay anywhere; windows and weights both keep their own clustering.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from circuit.estimates import estimates
from circuit.landmarks import beyond, fit_ramps, half_level, stays_from
from circuit.measures.weights.svd import UNTRAINED
from circuit.statistics import LEVEL, interval

Windows = Mapping[str, Mapping[str, Any]]
BIRTHS = ("growth", "compression", "stabilisation")
_WEIGHTS = ("W_Q", "W_K", "W_V", "W_O", "W_in", "W_out")
SHIFTED = "shifted windows"
APART = "matrices shifted apart"
ALL = "all"


def weight_patterns(
    rows: pd.DataFrame, windows: Windows, shifts: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All patterns, in order of time, and how many births match behaviour's ``windows``.

    Args:
        rows: of :func:`circuit.measures.weights.svd.weight_svd`, two checkpoints or more.
        shifts: random shifts behind the bound on co-movement.

    Returns:
        patterns: of matrices that move together their number, with its chance, floor and bound
        (mean, 5% and 95% quantile of the largest by chance); window, distance, birth and lead are
        what lies nearest (:func:`_nearest`).
        matches: by pattern; low and high hold 95% of shifts, chance is the share of shifts with at
        least as many matches.
    """
    found = [
        _births(rows, "growth", "frobenius_norm", 1),
        _births(rows, "compression", "effective_rank", -1),
        _stabilisations(rows),
        _co_movements(rows, shifts, seed),
    ]
    patterns = pd.concat(found).sort_values(
        ["step", "pattern", "matrix", "component"], ignore_index=True
    )
    near = [_nearest(row, windows) for row in patterns.to_dict("records")]
    names = ["window", "distance", "birth", "lead"]
    patterns = patterns.join(pd.DataFrame(near, columns=names))
    patterns = patterns.astype({"distance": float, "lead": float})
    run = int(rows["step"].min()), int(rows["step"].max())
    return patterns, matches(patterns, windows, run)


def _curves(rows: pd.DataFrame, measure: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A measure by (matrix, component) and step, and its untrained mean, low and high beside it."""
    of = rows[rows["measure"] == measure]
    chosen = of[of["against"] == ""]
    table = chosen.pivot(index=["matrix", "component"], columns="step", values="mean")
    untrained = of[of["against"] == UNTRAINED].groupby("matrix")[["mean", "low", "high"]].first()
    return table, untrained.loc[table.index.get_level_values("matrix")]


def _births(rows: pd.DataFrame, pattern: str, measure: str, direction: int) -> pd.DataFrame:
    table, untrained = _curves(rows, measure)
    values, low, high = (of.to_numpy() for of in (table, untrained["low"], untrained["high"]))
    first, last = values[:, 0], values[:, -1]
    outside = direction * last > direction * (high if direction > 0 else low)
    born = outside & (direction * (last - first) > high - low)
    ramps = fit_ramps(table.columns.tolist(), values, direction)
    # Of what is born the last value is beyond half-way, so it stays from some checkpoint on.
    at = stays_from(beyond(values, half_level(values)[:, None], direction))
    return _patterns(table, born, at, ramps.start, ramps.stop, pattern, measure)


def _stabilisations(rows: pd.DataFrame) -> pd.DataFrame:
    table, untrained = _curves(rows, "rotation_final")
    bound = untrained["mean"].to_numpy() / 2
    at, last = stays_from(beyond(table.to_numpy(), bound[:, None], -1)), len(table.columns) - 1
    settled = (at > 0) & (at < last)
    end = np.full_like(at, last)
    return _patterns(table, settled, at, at, end, "stabilisation", "rotation_final")


def _patterns(
    table: pd.DataFrame,
    shown: Bool[np.ndarray, " M"],
    at: Int[np.ndarray, " M"],
    start: Int[np.ndarray, " M"],
    stop: Int[np.ndarray, " M"],
    pattern: str,
    measure: str,
) -> pd.DataFrame:
    """The matrices of a table that show a pattern, at numbered checkpoints."""
    i, steps, values = np.flatnonzero(shown), table.columns.to_numpy(), table.to_numpy()
    return (
        table.index[i]
        .to_frame(index=False)
        .assign(
            pattern=pattern,
            measure=measure,
            step=steps[at[i]],
            start=steps[start[i]],
            stop=steps[stop[i]],
            before=values[i, start[i]],
            after=values[i, stop[i]],
            matrices=1,
        )
    )


def _co_movements(rows: pd.DataFrame, shifts: int, seed: int) -> pd.DataFrame:
    steps = np.sort(rows["step"].unique())
    path = _curves(rows[rows["matrix"].isin(_WEIGHTS)], "change_norm")[0].to_numpy()
    lengths = np.diff(steps)
    fast = path / lengths > path.sum(1, keepdims=True) / lengths.sum()
    counts, chance = fast.sum(0), _by_chance(fast, shifts, seed)
    edges = np.flatnonzero(np.diff(np.r_[False, counts > chance["bound"], False].astype(int)))
    start, stop = edges[::2], edges[1::2]
    most = [counts[a:b].max() for a, b in zip(start, stop, strict=True)]
    found = {"step": steps[start], "start": steps[start], "stop": steps[stop]}
    keys = {"matrix": "", "component": "", "pattern": "co_movement", "measure": "change_norm"}
    return pd.DataFrame({**keys, **found, "matrices": np.array(most, dtype=np.int64), **chance})


def _by_chance(fast: Bool[np.ndarray, "M I"], shifts: int, seed: int) -> dict[str, float]:
    """How many matrices are fast together in some interval by chance."""
    matrices, intervals = fast.shape
    offsets = np.random.default_rng(seed).integers(intervals, size=(shifts, matrices, 1))
    shifted = (np.arange(intervals) + offsets) % intervals
    most = fast[np.arange(matrices)[:, None], shifted].sum(1).max(1)
    floor, bound = np.quantile(most, [1 - LEVEL, LEVEL])
    return {"chance": float(most.mean()), "floor": float(floor), "bound": float(bound)}


def _merged(windows: Windows) -> dict[str, tuple[int, int]]:
    return {n: (w["start"], w["stop"]) for n, w in windows.items() if n.startswith("window_")}


def _nearest(row: Mapping[str, Any], windows: Windows) -> tuple[str, float, str, float]:
    """Nearest merged window and birth of behaviour, each with the steps from it to the pattern.

    Below 0 the weights came first; inside a window it is 0. Weights that move together are a window
    themselves, which has a distance but no lead.
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
    for pattern in (*BIRTHS, ALL):
        chosen = patterns["pattern"].isin(BIRTHS if pattern == ALL else [pattern])
        steps = patterns.loc[chosen, "step"].to_numpy(dtype=np.int64)
        counts = _matched_when_shifted(steps, merged.values(), run)
        low, high = interval(counts)
        found = {"pattern": pattern, "births": len(steps), "matched": int(counts[0])}
        found |= {"expected": counts.mean(), "low": low, "high": high, "shifts": len(counts)}
        rows.append({**found, "chance": (counts >= counts[0]).mean()})
    return pd.DataFrame(rows)


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


_LANDMARKS = {
    "when": ("step", "step", ""),
    "start": ("start", "step", ""),
    "stop": ("stop", "step", ""),
    "before": ("before", "", ""),
    "after": ("after", "", ""),
    "distance": ("distance", "steps", "window"),
    "lead": ("lead", "steps", "birth"),
}
"""What is told of every birth: its column, its unit (else the measure's), and what is ``near``."""
_KEYS = ("pattern", "matrix", "component", "near")


def pattern_rows(
    rows: pd.DataFrame, patterns: pd.DataFrame, matches: pd.DataFrame, windows: Windows
) -> pd.DataFrame:
    """All that :func:`weight_patterns` found as estimates, by pattern, matrix, component and near.

    Of every birth the landmarks ``when``, ``start`` and ``stop``, the measure ``before`` and
    ``after``, its ``distance`` from the window and ``lead`` on the birth that is ``near``. By
    pattern the medians over matrices, how many births are ``matched`` beside shifted windows, and
    the share of each kind's matrices that had been born by every checkpoint (``born_so_far``). Of
    behaviour's windows, and of stretches in which matrices move together (``together``: their
    number), where they start, with their ends as ``low`` and ``high``.
    """
    norms = rows[(rows["measure"] == "frobenius_norm") & (rows["against"] == "")]
    steps = np.sort(norms["step"].unique())
    sizes = norms.groupby("matrix", sort=False)["component"].nunique()
    units = dict(zip(rows["measure"], rows["unit"], strict=True))
    place = {name: i for i, name in enumerate(sizes.index)}
    born = patterns[patterns["pattern"].isin(BIRTHS)]
    born = born.assign(place=born["matrix"].map(place)).sort_values(["component", "place"])
    found: list[dict[str, Any]] = []

    def add(measure: str, mean: float, unit: str = "1", **others: Any) -> None:
        unset = {**dict.fromkeys((*_KEYS, "against"), ""), "step": steps[-1]}
        found.append({**unset, "measure": measure, "mean": mean, "unit": unit, **others})

    for measure, (column, unit, near) in _LANDMARKS.items():
        for row in born[born[column].notna()].to_dict("records"):
            about = {"near": row[near] if near else "", **{key: row[key] for key in _KEYS[:3]}}
            add(measure, row[column], unit or units[row["measure"]], **about)
    for pattern in BIRTHS:
        of_one = born[born["pattern"] == pattern]
        about = {"pattern": pattern, "noun": "matrices"}
        for column, measure, unit in (("step", "when", "step"), ("lead", "lead", "steps")):
            known = of_one[column].dropna()
            add(f"median_{measure}", known.median(), unit, count=len(known), **about)
        for matrix, count in sizes.items():
            at = of_one.loc[of_one["matrix"] == matrix, "step"].to_numpy()
            for step in steps:
                share = (at <= step).sum() / count
                add("born_so_far", share, "share", step=step, matrix=matrix, count=count, **about)
    for row in matches.to_dict("records"):
        about = {"pattern": row["pattern"]}
        chance = {"low": row["low"], "high": row["high"], "count": row["shifts"], "noun": "shifts"}
        add("births", row["births"], **about)
        add("matched", row["matched"], **about)
        add("matched", row["expected"], against=SHIFTED, **chance, **about)
        add("share_of_shifts", row["chance"], "share", **about)
    for row in patterns[patterns["pattern"] == "co_movement"].to_dict("records"):
        name = f"steps {row['start']:,} to {row['stop']:,}"
        about = {"pattern": "co_movement", "near": name}
        chance = {"low": row["floor"], "high": row["bound"]}
        ends = {"low": row["start"], "high": row["stop"]}
        add("together", row["matrices"], **about)
        add("together", row["chance"], against=APART, **chance, **about)
        add("moving_together", row["start"], "step", near=name, **ends)
        add("distance", row["distance"], "steps", pattern="co_movement", near=row["window"])
    # Without a window, one that was never reached.
    merged: Mapping[str, tuple[float, float]] = _merged(windows) or {"": (np.nan, np.nan)}
    for name, (start, stop) in merged.items():
        add("window_of_births", start, "step", near=name, low=start, high=stop)
    return estimates(pd.DataFrame(found))
