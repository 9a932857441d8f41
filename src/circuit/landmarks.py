"""Every "when" of a curve over training: where it stays, gets half-way, jumps, changes its level.

1. A condition *stays* from the first checkpoint from which it holds at all later ones. Whatever
   comes to stay (a birth, a separation, an order of heads) is a condition on a curve and this rule.
2. *Half-way* is midway between a curve's first and its last value.
3. The *largest jump* is the pair of neighbouring checkpoints with the largest change.
4. A *ramp* is flat, then straight, then flat again, with its two corners on checkpoints; a jump
   between neighbouring checkpoints is the shortest one. So a fit says when a change began and when
   it was over, where a single change point would only say when half of it was done.

   - Every pair of corners is a candidate. Given the corners, both levels follow by least squares
     from one projection, so all candidates of all curves are two matrix products.
   - Checkpoints are weighted by the time that they stand for (the trapezoidal rule), so a denser
     schedule does not pull the fit towards itself. They are not weighted by their precision: an
     accuracy at 0 or 1 has next to no band and would outweigh everything between.

The last axis of curves is that of the C checkpoints, in order of steps. A landmark is the number of
its checkpoint, and C where the curve has none, unless its function says that it is a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real


def stays_from(held: Bool[np.ndarray, "... C"]) -> Int[np.ndarray, "..."]:
    """The first checkpoint from which a condition holds at all later ones; C where it never does.

    What holds at the last checkpoint only stays from there.
    """
    lasting = np.logical_and.accumulate(held[..., ::-1], axis=-1)
    return np.asarray(held.shape[-1] - lasting.sum(-1))


def from_then_on(steps: Int[np.ndarray, " C"], held: Bool[np.ndarray, " C"]) -> int | None:
    """Step of the first checkpoint from which a condition holds at all later ones, if any."""
    first = int(stays_from(held))
    return int(steps[first]) if first < len(steps) else None


def held_from(held: Mapping[int, bool]) -> float:
    """The same of a condition by step; NaN where it does not hold at the last one."""
    found = from_then_on(np.array(list(held)), np.array(list(held.values())))
    return np.nan if found is None else found


def step_at(
    steps: Real[np.ndarray, " C"], number: Int[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Steps of numbered checkpoints; NaN where the number is C."""
    found: Float[np.ndarray, "*shape"] = np.append(steps, np.nan)[number]
    return found


def beyond(
    values: Float[np.ndarray, "... C"],
    level: Float[np.ndarray, "... #C"] | float,
    direction: int = 1,
) -> Bool[np.ndarray, "... C"]:
    """Where values are at or above a level, or, with direction −1, at or below it."""
    return np.asarray(direction * values >= direction * np.asarray(level))


def half_level(curves: Float[np.ndarray, "... C"]) -> Float[np.ndarray, "..."]:
    """The level midway between a curve's first and its last value."""
    return np.asarray((curves[..., 0] + curves[..., -1]) / 2)


def half_way_step(
    curves: Float[np.ndarray, "... C"], steps: Float[np.ndarray, " C"]
) -> Float[np.ndarray, "..."]:
    """Step from which a curve stays half-way up its rise; NaN where its last value is no rise.

    Interpolated linearly between the last checkpoint below the level and the one after it.
    """
    above = curves - half_level(curves)[..., None]
    before = np.clip(stays_from(above >= 0) - 1, 0, curves.shape[-1] - 2)
    left = np.take_along_axis(above, before[..., None], -1)[..., 0]
    right = np.take_along_axis(above, before[..., None] + 1, -1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        crossing = steps[before] - left / (right - left) * (steps[before + 1] - steps[before])
    return np.where(curves[..., -1] > curves[..., 0], crossing, np.nan)


def half_of_end_step(
    steps: Int[np.ndarray, " C"],
    mean: Float[np.ndarray, " C"],
    low: Float[np.ndarray, " C"],
    high: Float[np.ndarray, " C"],
) -> int | None:
    """Step of the first checkpoint from which a curve stays at half its last value or more.

    For what is worth nothing at 0: the level lies midway between 0 and the last value. None where
    the last interval, ``low`` to ``high``, holds 0, so that there is nothing to be half of.
    """
    direction = int(low[-1] > 0) - int(high[-1] < 0)
    return from_then_on(steps, beyond(mean, mean[-1] / 2, direction)) if direction else None


def largest_jump(curves: Float[np.ndarray, "... C"], direction: int = 1) -> Int[np.ndarray, "..."]:
    """The later checkpoint of the neighbouring two with the largest change; the first of equals.

    Args:
        direction: 1 for the largest rise, −1 for the largest drop.
    """
    return np.asarray((direction * np.diff(curves, axis=-1)).argmax(-1) + 1)


class Ramps(NamedTuple):
    """Best ramp of each curve: numbers of its two corners, and the level after minus before."""

    start: Int[np.ndarray, " n"]
    stop: Int[np.ndarray, " n"]
    size: Float[np.ndarray, " n"]


def fit_ramps(steps: Sequence[int], curves: Float[np.ndarray, "n C"], direction: int) -> Ramps:
    """The ramp that leaves least of each curve's squares, among those that go one way.

    Args:
        steps: the C ≥ 2 checkpoint steps, increasing.
        direction: 1 for ramps that rise, −1 for ramps that fall. A curve that only goes the
            other way gets a ramp of size 0.
    """
    start, stop, centred, norm, weights = _candidates(tuple(steps))
    projections = (np.asarray(curves, dtype=np.float64) * weights) @ centred.T
    gain = np.where(direction * projections > 0, projections**2 / norm, 0.0)
    best = gain.argmax(1)
    size = projections[np.arange(len(best)), best] / norm[best]
    return Ramps(start[best], stop[best], np.where(direction * size > 0, size, 0.0))


@lru_cache(maxsize=8)
def _candidates(steps: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Corners of all ramps, the ramps themselves less their mean [K, C], their squares, weights."""
    at = np.asarray(steps, dtype=np.float64)
    start, stop = np.triu_indices(len(at), 1)
    weights = np.gradient(at)
    weights[[0, -1]] /= 2
    weights /= weights.sum()
    shapes = np.clip((at - at[start, None]) / (at[stop] - at[start])[:, None], 0, 1)
    centred = shapes - (shapes @ weights)[:, None]
    return start, stop, centred, (centred**2) @ weights, weights
