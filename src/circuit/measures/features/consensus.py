"""Families by consensus: features whose directions, activations and effects agree again and again.

1. Two features *agree* by the mean of three numbers: the cosine of their decoder rows, the
   correlation of their activations over states, and the correlation of what ablating them costs
   over programs. A correlation with what does not vary is 0.
2. Programs are drawn with replacement, and each resample takes one of the dictionaries in turn. In
   a further one, those features stand for the first one's that are matched with them one to one by
   decoder rows (:mod:`circuit.measures.features.matching`).
3. In each resample average-linkage clustering (UPGMA; Sokal & Michener 1958) joins features as long
   as two clusters agree by ``agreement`` on average. The *co-association* of two features is the
   share of resamples in which they are in one cluster (Fred & Jain 2005).
4. Families are the clusters of the same method on the co-association, joined as long as it is
   ``consensus`` on average. A feature that agrees with none is a family by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform
from torch import Tensor

from circuit.measures.features.matching import cosines
from circuit.statistics import TINY, occurrences

_FIRST = 3.0  # beyond what any two cosines differ by


class Traits(NamedTuple):
    """k features of one dictionary by what is compared.

    ``cosine`` is between decoder rows; ``active`` of n states, ``program`` says whose (numbered
    from 0); ``cost`` is what ablating each does to every program.
    """

    cosine: Float[np.ndarray, "k k"]
    active: Float[np.ndarray, "n k"]
    program: Int[np.ndarray, " n"]
    cost: Float[np.ndarray, "P k"]

    def agreement(self, weight: Float[np.ndarray, " P"]) -> Float[np.ndarray, "k k"]:
        """Step 1, with every program so many times."""
        parts = (
            self.cosine,
            _correlation(self.active, weight[self.program]),
            _correlation(self.cost, weight),
        )
        return np.asarray(sum(parts) / len(parts))

    def resampled(self, times: int, seed: int) -> Iterator[Float[np.ndarray, "k k"]]:
        """The same in resamples of the programs."""
        for weight in occurrences(len(self.cost), seed)[:times]:
            yield self.agreement(weight)


def matched(
    own: Float[Tensor, "k d"], other: Float[Tensor, "m d"], firing: Bool[np.ndarray, " m"]
) -> Int[np.ndarray, " k"]:
    """For every direction the other one that it is matched with, k ≤ m; firing ones first."""
    found = linear_sum_assignment(cosines(own, other) + _FIRST * firing, maximize=True)[1]
    return np.asarray(found)


def coassociation(
    dictionaries: Sequence[Traits], agreement: float, times: int, seed: int
) -> Float[np.ndarray, "k k"]:
    """Steps 2 and 3; the features of all dictionaries are matched ones, in one order."""
    drawn = [one.resampled(times, seed) for one in dictionaries]
    together = np.zeros_like(dictionaries[0].cosine)
    for number in range(times):
        found = [next(agreements) for agreements in drawn][number % len(drawn)]
        together += _alike(found, agreement)
    return together / times


def consensus(together: Float[np.ndarray, "k k"], least: float) -> list[Int[np.ndarray, " m"]]:
    """Step 4: the numbers of every family's features."""
    alike = _alike(together, least)
    firsts = np.flatnonzero(alike.argmax(1) == np.arange(len(alike)))
    return [np.flatnonzero(alike[first]) for first in firsts]


def _alike(similarity: Float[np.ndarray, "k k"], least: float) -> Bool[np.ndarray, "k k"]:
    """Which are in one cluster, joined as long as they are similar by ``least`` on average."""
    if len(similarity) == 1:
        return np.ones((1, 1), dtype=np.bool_)
    apart = np.clip(1 - (similarity + similarity.T) / 2, 0, None)
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), method="average")
    cluster = fcluster(tree, 1 - least, criterion="distance")
    return np.asarray(cluster[:, None] == cluster)


def _correlation(
    values: Float[np.ndarray, "n k"], weight: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "k k"]:
    """Weighted Pearson correlations of all columns; 0 of one that does not vary."""
    centred = values - weight @ values / weight.sum()
    scatter = (centred * weight[:, None]).T @ centred
    spread = np.sqrt(np.diag(scatter))
    size = np.sqrt(weight @ values**2)
    both = np.outer(spread, spread)
    varies = np.outer(spread > TINY * (1 + size), spread > TINY * (1 + size))
    found = np.divide(scatter, both, out=np.zeros_like(scatter), where=varies)
    return np.asarray(found)
