"""Means with bootstrap intervals, and the halves that keep choosing and confirming apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int, Real

RESAMPLES = 1000
LEVEL = 0.95
TINY = 1e-12
"""Relative to a number: a spread that is rounding, not chance."""
Ends = tuple[Float[np.ndarray, "*k"], Float[np.ndarray, "*k"]]


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


def draws(n: int, seed: int = 0) -> Float[np.ndarray, "r+1 n"]:
    """How often each of n observations counts: once, then as it was drawn in each resample."""
    return np.vstack([np.ones(n), resamples(n, seed)])


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
    return values.mean(0), *interval(resamples(n, seed) @ values / n)


def bootstrap_mean(values: Float[np.ndarray, " n"], seed: int = 0) -> Mean:
    """Mean of one column with its interval."""
    mean, low, high = bootstrap_means(np.asarray(values)[:, None], seed)
    return Mean(float(mean[0]), float(low[0]), float(high[0]), len(values))


def grouped_resamples(
    values: Float[np.ndarray, "R k"], groups: Int[np.ndarray, " R"], n: int, seed: int = 0
) -> Float[np.ndarray, "r k"]:
    """Means over observations in bootstrap resamples of all n groups, those without any too.

    Reads of one program share its writes, so programs are drawn, and their reads come with them.
    A resample may miss a rare kind of observation altogether; it has no mean and is left out.
    """
    sums = np.zeros((n, values.shape[1]))
    np.add.at(sums, groups, values)
    counts = resamples(n, seed)
    drawn = counts @ np.bincount(groups, minlength=n)[:, None]
    held = drawn[:, 0] > 0
    means: Float[np.ndarray, "r k"] = (counts @ sums)[held] / drawn[held]
    return means


def interval(resampled: Float[np.ndarray, "r *k"]) -> Ends:
    """Ends of the percentile intervals, low [*k] and high [*k], of resampled numbers.

    Where a resample has no number, neither has the interval.
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return low, high


def interval_of_found(resampled: Float[np.ndarray, "r *k"]) -> Ends:
    """Intervals over those resamples that have a number; NaN where none has."""
    found = np.isfinite(resampled)
    if found.all():
        return interval(resampled)
    ends = np.full((2, *resampled.shape[1:]), np.nan)
    for of in np.argwhere(found.any(0)):
        number = (slice(None), *of)
        ends[number] = interval(resampled[number][found[number]])
    return ends[0], ends[1]


def told(
    drawn: Float[np.ndarray, "r+1 *k"], ends: Callable[[Float[np.ndarray, "r *k"]], Ends] = interval
) -> tuple[Float[np.ndarray, "*k"], Float[np.ndarray, "*k"], Float[np.ndarray, "*k"]]:
    """Value, low and high of numbers that were taken over :func:`draws`, the value first."""
    return drawn[0], *ends(drawn[1:])


def band(drawn: Float[np.ndarray, "r *k"]) -> Float[np.ndarray, "3 *k"]:
    """What a control shows by chance: mean, low and high of its draws."""
    return np.stack([drawn.mean(0), *interval(drawn)])


def shuffled(values: Real[np.ndarray, " n"], times: int, seed: int) -> Real[np.ndarray, "times n"]:
    """The values in so many random orders."""
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(values, (times, 1)), axis=1)


def simultaneous_interval(
    values: Float[np.ndarray, " k"], resampled: Float[np.ndarray, "r k"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Intervals that hold all k numbers at once, low [k] and high [k].

    Number i lies within c standard errors of its value, where c is the 95% quantile over resamples
    of the largest deviation in standard errors (the studentised maximum, Romano & Wolf 2005). Of
    many comparisons with nothing behind them, 95% of the time none leaves its interval. A number
    that no resample changes has an interval of no width.
    """
    error = resampled.std(0)
    varies = error > TINY * (1 + np.abs(values))
    error = np.where(varies, error, 0.0)
    if not varies.any():
        return values, values
    deviation = np.abs(resampled - values)[:, varies] / error[varies]
    reach = np.quantile(deviation.max(1), LEVEL) * error
    return values - reach, values + reach


def correlations(
    x: Float[np.ndarray, "r k"], y: Float[np.ndarray, "r k"]
) -> Float[np.ndarray, " r"]:
    """Pearson's correlation of every row; NaN where one of the two does not vary."""
    x, y = (part - part.mean(1, keepdims=True) for part in (x, y))
    spread = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    none = np.full_like(spread, np.nan)
    found: Float[np.ndarray, " r"] = np.divide((x * y).sum(1), spread, out=none, where=spread > 0)
    return found


def halves(count: int) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " c"]]:
    """Numbers of the events that choose (even) and of those that confirm (odd)."""
    return np.arange(0, count, 2), np.arange(1, count, 2)


def halves_and_all(count: int) -> dict[str, Int[np.ndarray, " n"]]:
    """Numbers of the events of either half, ``selection`` and ``confirmation``, and of ``all``."""
    choosing, confirming = halves(count)
    return {"selection": choosing, "confirmation": confirming, "all": np.arange(count)}
