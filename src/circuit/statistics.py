"""Means with intervals, and fits that are scored on what they did not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean, its bootstrap 95% interval and the number of observations."""

    mean: float
    low: float
    high: float
    count: int


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
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    resampled = counts @ values / n
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return values.mean(0), low, high


def bootstrap_mean(values: Float[np.ndarray, " n"], seed: int = 0) -> Mean:
    """Mean of one column with its interval."""
    mean, low, high = bootstrap_means(np.asarray(values)[:, None], seed)
    return Mean(float(mean[0]), float(low[0]), float(high[0]), len(values))
