"""Means with bootstrap intervals, and the halves that keep choosing and confirming apart.

1. Units (events, programs, seeds) are drawn with replacement, 1000 times. A percentile interval of
   few units is too narrow: by √((n − 1)/n), and by the normal quantile in place of Student's. So
   every resample's weights are drawn out around 1 by k = √(n/(n − 1)) · t(n − 1)/z, which draws out
   by k whatever a number does under resampling: a mean of n normal units gets Student's interval
   (Hesterberg 2015, expanded percentiles, in the weights and so for every statistic alike).
2. Of fewer than ``FEWEST`` units there is no interval, so nothing can be shown.
3. A share of yes and no has Clopper and Pearson's exact interval, which has a width where all are
   yes or all are no; reads of one program count as one unit there.
4. Fewer than ``FEWEST_ITEMS`` items have no correlation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int, Real

RESAMPLES = 1000
LEVEL = 0.95
FEWEST = 3
"""Units below which there is no interval."""
FEWEST_ITEMS = 4
"""Items below which there is no correlation: that of two is always ±1."""
TINY = 1e-12
"""Relative to a number: a spread that is rounding, not chance."""
Shares = Bool[np.ndarray, " k"] | Sequence[bool] | bool
Ends = tuple[Float[np.ndarray, "*k"], Float[np.ndarray, "*k"]]


@dataclass(frozen=True)
class Mean:
    """A mean, its bootstrap 95% interval and the number of observations."""

    mean: float
    low: float
    high: float
    count: int


@lru_cache(maxsize=8)
def occurrences(n: int, seed: int) -> Float[np.ndarray, "r n"]:
    """How often each of n units occurs in each bootstrap resample; read-only."""
    drawn = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    drawn += n * np.arange(RESAMPLES)[:, None]  # one range of bins for each resample
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * n).astype(np.float64)
    counts = counts.reshape(RESAMPLES, n)
    counts.flags.writeable = False
    return counts


@lru_cache(maxsize=8)
def resamples(n: int, seed: int) -> Float[np.ndarray, "r n"]:
    """Weights of n units in each bootstrap resample (step 1 of the module); read-only.

    Their mean is 1. NaN where there are fewer than ``FEWEST``.
    """
    weights = drawn_out(occurrences(n, seed), 1.0, n)
    weights.flags.writeable = False
    return weights


def drawn_out(
    resampled: Float[np.ndarray, "r *k"], value: Float[np.ndarray, "*k"] | float, n: int
) -> Float[np.ndarray, "r *k"]:
    """Resampled numbers of n units, drawn out around their value; NaN for too few units."""
    if n < FEWEST:
        return np.full(resampled.shape, np.nan)
    from scipy.special import ndtri, stdtrit  # here, since reports start without SciPy

    tail = (1 - LEVEL) / 2
    factor = np.sqrt(n / (n - 1)) * stdtrit(n - 1, tail) / ndtri(tail)
    found: Float[np.ndarray, "r *k"] = value + factor * (resampled - value)
    return found


def draws(n: int, seed: int = 0) -> Float[np.ndarray, "r+1 n"]:
    """Weights of n units: 1 each, then those of every resample."""
    return np.vstack([np.ones(n), resamples(n, seed)])


def bootstrap_means(
    values: Float[np.ndarray, "n k"], seed: int = 0, shares: Shares = False
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Means of k columns over n units with bootstrap intervals.

    Rows are resampled together, so columns keep their dependence (Efron 1979). Fewer than
    ``FEWEST`` units have no interval.

    Args:
        shares: which columns are yes (1) or no (0) of every unit, so that their intervals are
            exact. Differences of such are none.

    Returns:
        mean [k], low [k], high [k].
    """
    values = np.asarray(values, dtype=np.float64)
    n, mean = len(values), values.mean(0)
    low, high = interval(resamples(n, seed) @ values / n)
    exact = share_ends(mean, n)
    shares = np.asarray(shares) & (n >= FEWEST)
    return mean, np.where(shares, exact[0], low), np.where(shares, exact[1], high)


def share_ends(share: Float[np.ndarray, " k"], n: Float[np.ndarray, " k"] | float) -> Ends:
    """Exact interval of a share of n units (Clopper & Pearson 1934); n need not be whole."""
    from scipy.special import betaincinv

    tail, yes = (1 - LEVEL) / 2, np.clip(share, 0, 1) * n
    no = n - yes
    low = np.where(yes > 0, betaincinv(yes, no + 1, tail), 0.0)
    high = np.where(no > 0, betaincinv(yes + 1, no, 1 - tail), 1.0)
    return low, high


def bootstrap_mean(values: Float[np.ndarray, " n"], seed: int = 0, share: bool = False) -> Mean:
    """Mean of one column with its interval, exact where it is a ``share``."""
    mean, low, high = bootstrap_means(np.asarray(values)[:, None], seed, share)
    return Mean(float(mean[0]), float(low[0]), float(high[0]), len(values))


def grouped_resamples(
    values: Float[np.ndarray, "R k"], groups: Int[np.ndarray, " R"], n: int, seed: int = 0
) -> Float[np.ndarray, "r k"]:
    """Means over observations in bootstrap resamples of all n groups, those without any too.

    Reads of one program share its writes, so programs are drawn, and their reads come with them.
    A resample may miss a rare kind of observation altogether; it has no mean and is left out. What
    few groups have is as uncertain as few units are.
    """
    sums = np.zeros((n, values.shape[1]))
    np.add.at(sums, groups, values)
    counts = occurrences(n, seed)
    drawn = counts @ np.bincount(groups, minlength=n)[:, None]
    held = drawn[:, 0] > 0
    means = (counts @ sums)[held] / drawn[held]
    return drawn_out(means, values.mean(0), len(np.unique(groups)))


def grouped_means(
    values: Float[np.ndarray, "R k"],
    groups: Int[np.ndarray, " R"],
    n: int,
    seed: int = 0,
    shares: Shares = False,
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Means over observations with intervals over all n groups, those without any too.

    Shares have exact intervals for as many independent units as would vary as the groups do (Korn
    & Graubard 1998), at most all observations; where nothing varies, for as many as there are
    groups with observations.

    Args:
        groups: of every observation, numbered from 0 to n − 1.
        shares: which columns are yes (1) or no (0) of every observation; differences are none.

    Returns:
        mean [k], low [k], high [k].
    """
    mean, drawn = values.mean(0), grouped_resamples(values, groups, n, seed)
    low, high = interval(drawn)
    units, spread = len(np.unique(groups)), drawn.var(0)
    like = np.divide(mean * (1 - mean), spread, out=np.full_like(mean, units), where=spread > 0)
    exact = share_ends(mean, np.clip(like, 1, len(values)))
    shares = np.asarray(shares) & (units >= FEWEST)
    low, high = (np.where(shares, *ends) for ends in zip(exact, (low, high), strict=True))
    return mean, low, high


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
    values: Float[np.ndarray, " k"], resampled: Float[np.ndarray, "r k"], families: int = 1
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Intervals that hold all k numbers at once, low [k] and high [k].

    Where there are several such ``families``, each with events of its own, they hold all of these
    (Bonferroni).

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
    reach = np.quantile(deviation.max(1), 1 - (1 - LEVEL) / families) * error
    return values - reach, values + reach


def correlations(
    x: Float[np.ndarray, "r k"], y: Float[np.ndarray, "r k"]
) -> Float[np.ndarray, " r"]:
    """Pearson's correlation of every row.

    NaN where one of the two does not vary, and of fewer than ``FEWEST_ITEMS`` columns.
    """
    x, y = (part - part.mean(1, keepdims=True) for part in (x, y))
    spread = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    none = np.full_like(spread, np.nan)
    found: Float[np.ndarray, " r"] = np.divide((x * y).sum(1), spread, out=none, where=spread > 0)
    return found if x.shape[1] >= FEWEST_ITEMS else np.full_like(spread, np.nan)


def halves(count: int) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " c"]]:
    """Numbers of the events that choose (even) and of those that confirm (odd)."""
    return np.arange(0, count, 2), np.arange(1, count, 2)


def halves_and_all(count: int) -> dict[str, Int[np.ndarray, " n"]]:
    """Numbers of the events of either half, ``selection`` and ``confirmation``, and of ``all``."""
    choosing, confirming = halves(count)
    return {"selection": choosing, "confirmation": confirming, "all": np.arange(count)}
