"""When a curve was born: by threshold, by change point, by its largest jump. No torch here.

1. *Does it move?* The bands of its first and its last checkpoint must lie apart, in the direction
   in which the measure gets better. A curve that does not move has no birth, whatever its noise
   does in between.
2. ``threshold``: the first checkpoint from which it stays at or beyond a level: the configured one
   for accuracies, half-way between its first and its last value for everything else. The interval
   runs from when the better edge of the band stays there to when the worse edge does; an edge that
   never does leaves that end open (missing). A level that holds from the first checkpoint on was
   not born in this run.
3. ``change_point``: the middle of the least-squares ramp (:func:`circuit.landmarks.fit_ramps`), as
   the first checkpoint at or after it. Its interval is a parametric bootstrap: curves are drawn
   from independent normal errors with standard error (high − low) / 3.92 at each checkpoint, and
   fitted anew. All checkpoints are measured on the same events, so true errors go together and
   cancel in part when checkpoints are compared: the interval is wide rather than narrow.
4. ``largest_jump`` (``largest_drop`` of a measure that falls): the pair of neighbouring
   checkpoints with the largest change, and from the same draws where and how large it may be. The
   largest of many noisy jumps is partly noise, so its size is rather too large.
5. ``stabilisation``, of rank orders, in place of 2 to 4: the first checkpoint from which the
   correlation stays at or above a level, with at least one more checkpoint to show that it stays.

What was born has two intervals of checkpoints. Its *moment* runs from the checkpoint before the
earlier of threshold and change point to the later of them. Its *extent* is the whole change: the
ramp from corner to corner, and the crossing. Of a stabilisation both are its crossing. Neither is
widened by the 95% intervals, which stand beside the steps: an uncertain birth should not make a
wide window.

Births become windows that later analyses can name:

1. Births whose moments share at least one interval between checkpoints are merged, and so on until
   none overlap: ``window_1``, ``window_2``, … in order of time. Where one ends as the next begins,
   they stay apart. Only moments are merged: slow changes would overlap with everything.
2. ``main`` is the merged window with most pieces of evidence, the earlier one of equals.
3. Every piece of evidence that was born also has a window under its own name, its extent.
4. Evidence that was not born, and ``main`` where nothing was, get the whole run and are not
   ``found``: an analysis that names them still runs on a run that learned nothing, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from circuit.estimates import estimates
from circuit.landmarks import beyond, fit_ramps, largest_jump, stays_from
from circuit.measures.births.sweep_curves import Curve
from circuit.statistics import LEVEL, interval

_WIDTH = 3.92  # of a normal 95% interval, in standard errors
_TAILS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
_PLACES = ("step", "low", "high", "start", "stop")
_NUMBERS = (*_PLACES, "value", "value_low", "value_high", "share")
_UNITS = {"start": "step", "stop": "step", "pieces": "1", "share": "share"}
STILL = "does not move beyond its interval"
BELOW = "never stays at this level"
ALWAYS = "was there from the first checkpoint on"


class Evidence(NamedTuple):
    """What one curve says.

    ``rows`` has one row per method: evidence, method, found, step, low, high (of the step), start,
    stop (the crossing, the ramp or the jump itself), value (the level, or the size of the change),
    value_low, value_high, share (of the curve's change from first to last checkpoint), count, noun,
    unit, note (why there is none). ``birth`` is the step of the threshold or stabilisation; it, the
    moment and the extent are None where nothing was born.
    """

    name: str
    rows: pd.DataFrame
    birth: int | None = None
    moment: tuple[int, int] | None = None
    extent: tuple[int, int] | None = None


def gather(curve: Curve, draws: int, seed: int) -> Evidence:
    """Everything that a curve has to say about a birth; see the module docstring."""
    rows = pd.DataFrame([_crossing(curve), *_changes(curve, draws, seed)])
    if not rows["found"].iloc[0]:
        return Evidence(curve.name, rows)
    when = rows[rows["method"].isin(("threshold", "change_point", "stabilisation"))]
    before = max(int(np.searchsorted(curve.steps, when["step"].min())) - 1, 0)
    return Evidence(
        curve.name,
        rows,
        birth=int(when["step"].iloc[0]),
        moment=(int(curve.steps[before]), int(when["step"].max())),
        extent=(int(when["start"].min()), int(when["stop"].max())),
    )


def _crossing(curve: Curve) -> dict[str, Any]:
    """The row of the threshold, or of the stabilisation; its interval from the band's edges."""
    lasts, never = curve.rule == "stays", len(curve.steps)
    method = "stabilisation" if lasts else "threshold"
    at, first, last = (
        int(stays_from(beyond(line, curve.threshold, curve.direction)))
        for line in (curve.mean, *curve.edges)
    )
    level = {"value": curve.threshold}
    if not lasts and not curve.moves:
        return _row(curve, method, level, STILL)
    if not 0 < at < never - int(lasts):
        return _row(curve, method, level, ALWAYS if at == 0 else BELOW)
    around = {
        "step": int(curve.steps[at]),
        "start": int(curve.steps[at - 1]),
        "stop": int(curve.steps[at]),
        "low": int(curve.steps[at if first == never else first]),
        "high": np.nan if last == never else int(curve.steps[last]),
    }
    return _row(curve, method, around | level)


def _changes(curve: Curve, draws: int, seed: int) -> list[dict[str, Any]]:
    """Rows of the change point and of the largest jump; a stabilisation has none."""
    jump = "largest_jump" if curve.direction > 0 else "largest_drop"
    if curve.rule == "stays":
        return []
    if not curve.moves:
        return [_row(curve, method, {}, STILL) for method in ("change_point", jump)]
    steps = curve.steps
    noise = np.random.default_rng(seed).standard_normal((draws, len(steps)))
    drawn = curve.mean + noise * (curve.high - curve.low) / _WIDTH
    curves = np.vstack([curve.mean, drawn])  # what was measured comes first
    ramps = fit_ramps(steps.tolist(), curves, curve.direction)
    middle = np.searchsorted(steps, (steps[ramps.start] + steps[ramps.stop]) / 2)
    ramp = _change(curve, middle, int(ramps.start[0]), int(ramps.stop[0]), ramps.size)
    ats = largest_jump(curves, curve.direction)
    at = int(ats[0])
    step = _change(curve, ats, at - 1, at, curves[:, at] - curves[:, at - 1])
    least = curve.direction * step["value_low" if curve.direction > 0 else "value_high"]
    note = "" if least > 0 else "no jump beyond its interval"
    return [_row(curve, "change_point", ramp), _row(curve, jump, step, note)]


def _change(
    curve: Curve, ats: Int[np.ndarray, " D"], start: int, stop: int, sizes: Float[np.ndarray, " D"]
) -> dict[str, float]:
    """Where a change is and how large, with intervals over draws, whose ends some draw has."""
    low, high = np.quantile(ats[1:], _TAILS, method="inverted_cdf")
    places = {"step": ats[0], "low": low, "high": high, "start": start, "stop": stop}
    value_low, value_high = interval(sizes[1:])
    return {
        **{name: int(curve.steps[int(number)]) for name, number in places.items()},
        "value": float(sizes[0]),
        "value_low": float(value_low),
        "value_high": float(value_high),
        "share": float(sizes[0] / curve.change),
    }


def _row(curve: Curve, method: str, values: Mapping[str, float], note: str = "") -> dict[str, Any]:
    """A row of :class:`Evidence`; one with a note says why nothing was found, and has no place."""
    return {
        "evidence": curve.name,
        "method": method,
        "found": not note,
        **dict.fromkeys(_NUMBERS, np.nan),
        **{name: value for name, value in values.items() if not note or name not in _PLACES},
        "count": curve.count,
        "unit": curve.unit,
        "noun": curve.noun,
        "note": note,
    }


def evidence_rows(evidence: Sequence[Evidence]) -> pd.DataFrame:
    """The rows of all evidence, one after another."""
    return pd.concat([one.rows for one in evidence], ignore_index=True)


def birth_rows(evidence: Sequence[Evidence], last: int) -> pd.DataFrame:
    """All evidence as estimates, at the run's last checkpoint step.

    Keys: evidence, method, why (nothing was found; else empty). Measures: ``at`` (the step, with
    its interval; missing where nothing was found; its control ``extent`` is the range from start to
    stop), ``start`` and ``stop``, ``level`` or ``size``, and ``share`` of the curve's whole change.
    """
    rows = evidence_rows(evidence).rename(columns={"note": "why"})
    keys = rows[["evidence", "method", "why", "count", "noun"]]
    at, exact = keys.assign(measure="at", unit="step"), {"count": 0, "noun": ""}
    extent = {"mean": np.nan, "low": rows["start"], "high": rows["stop"], **exact}
    whole = {"low": rows["value_low"], "high": rows["value_high"], "unit": rows["unit"]}
    sized = np.where(rows["method"].isin(("threshold", "stabilisation")), "level", "size")
    sizes = keys.assign(mean=rows["value"], measure=sized, **whole)
    shares = keys.assign(mean=rows["share"], measure="share", unit="share")
    parts = [
        at.assign(mean=rows["step"], low=rows["low"], high=rows["high"]),
        at.assign(against="extent", **extent),
        *(
            keys.assign(mean=rows[name], measure=name, unit="step", **exact)[rows["found"]]
            for name in ("start", "stop")
        ),
        *(part[part["mean"].notna()] for part in (sizes, shares)),
    ]
    found = pd.concat(parts, ignore_index=True).fillna({"against": ""})
    found.loc[found["measure"] == "level", ["count", "noun"]] = [0, ""]
    return estimates(found, step=last)


def learning_rows(
    curves: Sequence[Curve],
    evidence: Sequence[Evidence],
    windows: Mapping[str, Mapping[str, Any]],
    splits: Mapping[str, str],
) -> pd.DataFrame:
    """The learning curve as estimates, with what was born and where the main window lies.

    Key: curve; of those in ``splits`` it is the split's name. Measures: ``accuracy`` of these at
    every checkpoint; ``birth`` of every curve, missing where it has none, and of the main window
    where there is one, from ``low`` to ``high`` and without a mean.
    """
    parts = [
        pd.DataFrame({"step": one.steps, "mean": one.mean, "low": one.low, "high": one.high})
        .assign(curve=splits[one.name], measure="accuracy", unit="share")
        .assign(count=one.count, noun=one.noun)
        for one in curves
        if one.name in splits
    ]
    born = [(splits.get(one.name, one.name), one.birth) for one in evidence]
    main = windows["main"]
    if main["found"]:
        parts.append(pd.DataFrame({"low": [main["start"]], "high": main["stop"]}))
        parts[-1] = parts[-1].assign(curve="main window", mean=np.nan)
    parts.append(pd.DataFrame(born, columns=["curve", "mean"]).astype({"mean": float}))
    last = int(curves[0].steps[-1])
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.fillna({"step": last, "measure": "birth", "unit": "step", "count": 0, "noun": ""})
    return estimates(rows.astype({"step": int, "count": int}))


def merged_windows(evidence: Sequence[Evidence], run: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """Windows by name, in a run from one checkpoint step to another: start, stop, evidence (names),
    found; own windows also birth (step or None).
    """
    merged: list[dict[str, Any]] = []
    born = [(one.moment, one.name) for one in evidence if one.moment is not None]
    for (start, stop), name in sorted(born):
        if merged and start < merged[-1]["stop"]:
            merged[-1]["stop"] = max(merged[-1]["stop"], stop)
            merged[-1]["evidence"].append(name)
        else:
            merged.append({"start": start, "stop": stop, "evidence": [name], "found": True})
    whole = {"start": run[0], "stop": run[1], "evidence": [], "found": False}
    main = max(merged, key=lambda window: len(window["evidence"]), default=whole)
    windows = {"main": main} | {f"window_{i + 1}": window for i, window in enumerate(merged)}
    for one in evidence:
        start, stop = one.extent or run
        names = [one.name] if one.extent else []
        own = {"start": start, "stop": stop, "evidence": names, "found": bool(names)}
        windows[one.name] = {**own, "birth": one.birth}
    return windows


def window_rows(
    windows: dict[str, dict[str, Any]], evidence: Sequence[Evidence], curve: Curve, last: int
) -> pd.DataFrame:
    """Every window as estimates, and what the windows leave out, at the run's last checkpoint step.

    Keys: window, role (``main``, ``apart`` for other merged ones, ``own``), setting (the steps as a
    study's ``windows`` name them), evidence. Measures: start, stop, pieces (of evidence), share (of
    the curve's change from first to last checkpoint; missing where it does not move). Without a
    window: ``not_born``, and ``largest_change_outside_main``, whose mean is how many curves the
    evidence names.
    """
    at = dict(zip(curve.steps.tolist(), curve.mean.tolist(), strict=True))
    main = windows["main"]
    rows = []
    for name, window in windows.items():
        start, stop, names = (window[key] for key in ("start", "stop", "evidence"))
        role = "own" if "birth" in window else "main" if window == main else "apart"
        keys = (name, role, f"[{start}, {stop}]", ", ".join(names))
        share = (at[stop] - at[start]) / curve.change if curve.moves else np.nan
        values = (start, stop, len(names), share)
        rows += [(*keys, *pair) for pair in zip(_UNITS, values, strict=True)]
    jumps = evidence_rows(evidence)
    jumps = jumps[jumps["method"].str.startswith("largest_") & jumps["found"].astype(bool)]
    outside = (jumps["start"] >= main["stop"]) | (jumps["stop"] <= main["start"])
    without = {
        "not_born": [one.name for one in evidence if one.extent is None],
        "largest_change_outside_main": list(jumps.loc[outside, "evidence"]),
    }
    rows += [("", "", "", ", ".join(names), name, len(names)) for name, names in without.items()]
    columns = ["window", "role", "setting", "evidence", "measure", "mean"]
    units = {**_UNITS, **dict.fromkeys(without, "1")}
    return estimates(pd.DataFrame(rows, columns=columns), units, step=last)
