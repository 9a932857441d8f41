"""Means with bootstrap intervals, and the halves that keep choosing and confirming apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean, its bootstrap 95% interval and the number of observations."""

    mean: float
    low: float
    high: float
    count: int


@lru_cache(maxsize=8)
def resamples(n: int, seed: int) -> Float[np.ndarray, "r n"]:
    """How often each of n observations occurs in each bootstrap resample; read-only."""
    drawn = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    drawn += n * np.arange(RESAMPLES)[:, None]  # one range of bins for each resample
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * n).astype(np.float64)
    counts = counts.reshape(RESAMPLES, n)
    counts.flags.writeable = False
    return counts


def bootstrap_means(
    values: Float[np.ndarray, "n k"], seed: int = 0
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Means of k columns over n observations with percentile bootstrap intervals.

    Rows are resampled together, so columns keep their dependence (Efron 1979). One observation
    gives an interval of no width; the caller reports the count beside it.

    Returns:
        mean [k], low [k], high [k].
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    resampled = resamples(n, seed) @ values / n
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return values.mean(0), low, high


def bootstrap_mean(values: Float[np.ndarray, " n"], seed: int = 0) -> Mean:
    """Mean of one column with its interval."""
    mean, low, high = bootstrap_means(np.asarray(values)[:, None], seed)
    return Mean(float(mean[0]), float(low[0]), float(high[0]), len(values))


def halves(count: int) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " c"]]:
    """Numbers of the events that choose (even) and of those that confirm (odd)."""
    return np.arange(0, count, 2), np.arange(1, count, 2)
