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
UNITS = {
    **dict.fromkeys(("step", "low", "high", "start", "stop"), "step"),
    **dict.fromkeys(("value", "value_low", "value_high"), "column unit"),
    "share": "share",
    "count": "1",
}
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
    if curve.rule == "stays":
        rows = pd.DataFrame([_stabilisation(curve)])
    else:
        rows = pd.DataFrame([_threshold(curve), *_changes(curve, draws, seed)])
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


def _threshold(curve: Curve) -> dict[str, Any]:
    at, level = _stays(curve, curve.mean), {"value": curve.threshold}
    if at in (0, len(curve.steps)) or not curve.moves:
        note = STILL if not curve.moves else ALWAYS if at == 0 else BELOW
        return _row(curve, "threshold", level, note)
    return _row(curve, "threshold", _crossing(curve, at) | level)


def _stabilisation(curve: Curve) -> dict[str, Any]:
    at, level = _stays(curve, curve.mean), {"value": curve.threshold}
    if not 0 < at < len(curve.steps) - 1:
        return _row(curve, "stabilisation", level, ALWAYS if at == 0 else BELOW)
    return _row(curve, "stabilisation", _crossing(curve, at) | level)


def _stays(curve: Curve, values: Float[np.ndarray, " C"]) -> int:
    """From which checkpoint on values stay at or beyond the threshold, on the good side."""
    return int(stays_from(beyond(values, curve.threshold, curve.direction)))


def _crossing(curve: Curve, at: int) -> dict[str, float]:
    """A crossing between two checkpoints, with its interval from the band's two edges."""
    never = len(curve.steps)
    first, last = (_stays(curve, edge) for edge in (curve.better, curve.worse))
    return {
        "step": int(curve.steps[at]),
        "start": int(curve.steps[at - 1]),
        "stop": int(curve.steps[at]),
        "low": int(curve.steps[at if first == never else first]),
        "high": np.nan if last == never else int(curve.steps[last]),
    }


def _changes(curve: Curve, draws: int, seed: int) -> list[dict[str, Any]]:
    """Rows of the change point and of the largest jump."""
    jump = "largest_jump" if curve.direction > 0 else "largest_drop"
    if not curve.moves:
        return [_row(curve, method, {}, STILL) for method in ("change_point", jump)]
    noise = np.random.default_rng(seed).standard_normal((draws, len(curve.steps)))
    drawn = curve.mean + noise * (curve.high - curve.low) / _WIDTH
    curves = np.vstack([curve.mean, drawn])  # what was measured comes first
    return [_change_point(curve, curves), _largest_jump(curve, jump, curves)]


def _change_point(curve: Curve, curves: Float[np.ndarray, "D C"]) -> dict[str, Any]:
    steps = curve.steps
    ramps = fit_ramps(steps.tolist(), curves, curve.direction)
    middle = np.searchsorted(steps, (steps[ramps.start] + steps[ramps.stop]) / 2)
    low, high = _ends(middle[1:])
    around = {
        "step": int(steps[middle[0]]),
        "low": int(steps[low]),
        "high": int(steps[high]),
        "start": int(steps[ramps.start[0]]),
        "stop": int(steps[ramps.stop[0]]),
    }
    return _row(curve, "change_point", around | _sized(curve, ramps.size))


def _largest_jump(curve: Curve, method: str, curves: Float[np.ndarray, "D C"]) -> dict[str, Any]:
    steps = curve.steps
    after = largest_jump(curves, curve.direction)
    low, high = _ends(after[1:])
    at = int(after[0])
    sized = _sized(curve, curves[:, at] - curves[:, at - 1])
    if curve.direction * sized["value_low" if curve.direction > 0 else "value_high"] <= 0:
        return _row(curve, method, sized, "no jump beyond its interval")
    around = {
        "step": int(steps[at]),
        "low": int(steps[low]),
        "high": int(steps[high]),
        "start": int(steps[at - 1]),
        "stop": int(steps[at]),
    }
    return _row(curve, method, around | sized)


def _ends(numbers: Int[np.ndarray, " B"]) -> tuple[int, int]:
    """Ends of a 95% interval that are themselves among the numbers."""
    low, high = np.quantile(numbers, _TAILS, method="inverted_cdf")
    return int(low), int(high)


def _sized(curve: Curve, sizes: Float[np.ndarray, " D"]) -> dict[str, float]:
    """A change with its interval over draws, and its share of the curve's whole change."""
    low, high = interval(sizes[1:])
    return {
        "value": float(sizes[0]),
        "value_low": float(low),
        "value_high": float(high),
        "share": float(sizes[0] / curve.change),
    }


def _row(curve: Curve, method: str, values: Mapping[str, float], note: str = "") -> dict[str, Any]:
    """A row of :class:`Evidence`; one with a note says why nothing was found."""
    return {
        "evidence": curve.name,
        "method": method,
        "found": not note,
        **dict.fromkeys(UNITS, np.nan),
        **values,
        "count": curve.count,
        "unit": curve.unit,
        "noun": curve.noun,
        "note": note,
    }


def evidence_rows(evidence: Sequence[Evidence]) -> pd.DataFrame:
    """The rows of all evidence, one after another."""
    return pd.concat([one.rows for one in evidence], ignore_index=True)


def birth_rows(evidence: Sequence[Evidence], last: int) -> pd.DataFrame:
    """All evidence as estimates.

    Keys: evidence, method, why (nothing was found; else empty). Measures: ``at`` (the step, with
    its interval; missing where nothing was found; its control ``extent`` is the range from start to
    stop), ``start`` and ``stop``, ``level`` or ``size``, and ``share`` of the curve's whole change.

    Args:
        last: the run's last checkpoint step.
    """
    rows = evidence_rows(evidence).rename(columns={"note": "why"})
    keys = rows[["evidence", "method", "why"]]
    counted = {name: rows[name] for name in ("count", "noun")}
    ends = {name: rows[name] for name in ("low", "high")}
    step = {"unit": "step", "measure": "at"}
    exact = {"count": 0, "noun": ""}
    sized = np.where(rows["method"].isin(("threshold", "stabilisation")), "level", "size")
    whole = {"low": rows["value_low"], "high": rows["value_high"], "unit": rows["unit"]}
    parts = [
        keys.assign(mean=rows["step"], **ends, **counted, **step),
        keys.assign(
            mean=np.nan, low=rows["start"], high=rows["stop"], against="extent", **exact, **step
        ),
        *(
            keys.assign(mean=rows[name], measure=name, unit="step", **exact)[rows["found"]]
            for name in ("start", "stop")
        ),
        keys.assign(mean=rows["value"], measure=sized, **whole, **counted)[rows["value"].notna()],
        keys.assign(mean=rows["share"], measure="share", unit="share", **counted)[
            rows["share"].notna()
        ],
    ]
    found = pd.concat(parts, ignore_index=True).fillna({"against": ""})
    found.loc[found["measure"] == "level", ["count", "noun"]] = [0, ""]
    return estimates(found, step=last)
