"""Where a curve over checkpoints changes its level: the least-squares ramp. No torch here.

1. A *ramp* is flat, then straight, then flat again, with its two corners on checkpoints; a jump
   between neighbouring checkpoints is the shortest one. So a fit says when a change began and when
   it was over, where a single change point would only say when half of it was done.
2. Every pair of corners is a candidate. Given the corners, both levels follow by least squares
   from one projection, so all candidates of all curves are two matrix products.
3. Checkpoints are weighted by the time that they stand for (the trapezoidal rule), so a denser
   schedule does not pull the fit towards itself. They are not weighted by their precision: an
   accuracy at 0 or 1 has next to no band and would outweigh everything between.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


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
