"""Means over pairs of observations, with intervals from resampling the observations.

1. Pairs of observations share members and are no independent draws, so observations are
   resampled. With w_i the times that observation i was drawn, a mean over pairs i ≠ j of numbers
   M_ij is Σ w_i w_j M_ij / Σ w_i w_j: two quadratic forms, computed for all resamples at once. An
   observation is never paired with its own copy.
2. The same sums within and between groups come from one matrix product per group.
3. Several labellings at once are told apart by least squares over pairs, whose normal equations are
   such sums too.
4. Control: the groups drawn anew, each as large as it is.

Where no observation differs from others in the mean of its pairs, such an interval is up to sqrt(3)
times as wide as it need be, as a product of two weights varies three times as much as it should;
elsewhere it is the usual interval of a U-statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from circuit.statistics import shuffled, simultaneous_interval

Matrix = Float[np.ndarray, "N N"]


class Drawn(NamedTuple):
    """Sums over ordered pairs i ≠ j in r resamples: of a matrix, and of the pairs' weights.

    Row 0 is that of the observations as they are, the others are bootstrap resamples.
    """

    sums: Float[np.ndarray, "r *groups"]
    weights: Float[np.ndarray, "r *groups"]


def off_diagonal(matrix: Matrix) -> Matrix:
    """The matrix with zeros on its diagonal, which the sums below expect."""
    found = matrix.copy()
    np.fill_diagonal(found, 0)
    return found


def all_pairs(matrix: Matrix, drawn: Float[np.ndarray, "r N"]) -> Drawn:
    """Sums over all pairs, [r]."""
    squares = (drawn * drawn).sum(1)
    return Drawn((drawn @ matrix * drawn).sum(1), drawn.sum(1) ** 2 - squares)


def pairs_within(
    matrix: Matrix, codes: Int[np.ndarray, " N"], drawn: Float[np.ndarray, "r N"]
) -> Drawn:
    """Sums over pairs of two observations of the same group, [r]."""
    members = [np.flatnonzero(codes == group) for group in np.unique(codes)]
    parts = [all_pairs(matrix[np.ix_(chosen, chosen)], drawn[:, chosen]) for chosen in members]
    return Drawn(*(np.sum(part, axis=0) for part in zip(*parts, strict=True)))


def pairs_between(
    matrix: Matrix, codes: Int[np.ndarray, " N"], drawn: Float[np.ndarray, "r N"]
) -> Drawn:
    """Sums over pairs by the groups of the two, [r, K, K]; no group from 0 to K − 1 is empty."""
    order = np.argsort(codes, kind="stable")
    matrix, drawn = matrix[np.ix_(order, order)], drawn[:, order]
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    stops = [*starts[1:], len(codes)]
    sums = np.empty((len(drawn), len(starts), len(starts)))
    for group, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        pushed = drawn[:, start:stop] @ matrix[start:stop]
        sums[:, group] = np.add.reduceat(pushed * drawn, starts, axis=1)
    held = np.add.reduceat(drawn, starts, axis=1)
    weights = held[:, :, None] * held[:, None, :]
    places = np.arange(len(starts))
    weights[:, places, places] -= np.add.reduceat(drawn * drawn, starts, axis=1)
    return Drawn(sums, weights)


def related(within: Drawn, every: Drawn) -> Float[np.ndarray, "2 r"]:
    """Mean over pairs within groups, and over all others; NaN where there is none."""
    return np.stack([ratio(*within), ratio(*(e - w for e, w in zip(every, within, strict=True)))])


def net_differences(
    codes: Sequence[Int[np.ndarray, " N"]],
    within: Sequence[Drawn],
    every: Drawn,
    drawn: Float[np.ndarray, "r N"],
) -> Float[np.ndarray, "r L"]:
    """What sharing each of L labels adds to a pair's number, the others being equal.

    Least squares over pairs on L indicators and a constant. Two labels at once are one label, so
    the normal equations consist of sums within groups: of every labelling :func:`pairs_within` one
    matrix, and :func:`all_pairs` of that matrix.
    """
    size = len(codes) + 1
    normal, moment = np.empty((len(drawn), size, size)), np.empty((len(drawn), size))
    normal[:, -1, -1], moment[:, -1] = every.weights, every.sums
    for i, one in enumerate(codes):
        moment[:, i] = within[i].sums
        normal[:, i, -1] = normal[:, -1, i] = normal[:, i, i] = within[i].weights
        for j, other in enumerate(codes[:i]):
            both = one * (other.max() + 1) + other
            order = np.argsort(both, kind="stable")
            starts = np.flatnonzero(np.diff(both[order], prepend=-1))
            held = np.add.reduceat(drawn[:, order], starts, axis=1)
            weights = (held * held).sum(1) - (drawn * drawn).sum(1)
            normal[:, i, j] = normal[:, j, i] = weights
    # Labels that say the same leave the equations singular; each then gets an equal share.
    inverse = np.linalg.pinv(normal, rcond=1e-10, hermitian=True)
    found: Float[np.ndarray, "r L"] = np.einsum("rij,rj->ri", inverse, moment)[:, :-1]
    return found


def shuffled_differences(
    matrix: Matrix, codes: Int[np.ndarray, " N"], shuffles: int, seed: int = 0
) -> Float[np.ndarray, " shuffles"]:
    """Mean over pairs within groups less that over all others, with the groups drawn anew."""
    n, sizes = len(codes), np.bincount(codes)
    order = shuffled(np.arange(n), shuffles, seed)
    within = np.zeros(shuffles)
    for members in np.split(order, np.cumsum(sizes)[:-1], axis=1):
        if 8 * members.shape[1] ** 2 < n * n:  # fewer entries to pick than to multiply
            within += matrix[members[:, :, None], members[:, None, :]].sum((1, 2))
        else:
            chosen = np.zeros((shuffles, n))
            np.put_along_axis(chosen, members, 1.0, axis=1)
            within += (chosen @ matrix * chosen).sum(1)
    same = (sizes * (sizes - 1)).sum()
    beyond = matrix.sum() - within
    found: Float[np.ndarray, " shuffles"] = within / same - beyond / (n * (n - 1) - same)
    return found


def ratio(
    above: Float[np.ndarray, "*shape"], below: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Element by element; NaN where the divisor is 0."""
    found: Float[np.ndarray, "*shape"] = np.divide(
        above, below, out=np.full_like(above, np.nan), where=below != 0
    )
    return found


def together(values: Float[np.ndarray, "r k"]) -> Float[np.ndarray, "3 k"]:
    """Values of the observations as they are, and intervals that hold for all of them at once.

    A resample without any pair of a kind says nothing about it.
    """
    mean, drawn = values[0], values[1:]
    drawn = np.where(np.isfinite(drawn), drawn, mean)
    return np.stack([mean, *simultaneous_interval(mean, drawn)])
