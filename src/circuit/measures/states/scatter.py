"""How well states separate into groups: scatter, distances of group means, a linear probe.

For states x_i in groups g(i), with group means μ_g, sizes n_g and overall mean μ:

1. Scatter decomposes: total = Σ|x_i − μ|² is between = Σ n_g|μ_g − μ|² plus within = Σ|x_i − μ_g|².
   ``between_share`` is between / total, ``scatter_ratio`` between / within.
2. ``pairwise_distance`` is |μ_a − μ_b| divided by the within spread √(within / N), averaged over
   all pairs of groups.
3. ``probe_accuracy`` is that of Fisher's linear discriminant: states of programs with even numbers
   give group means and the within-group covariance, to which ``shrinkage`` of the mean variance is
   added in every direction; a state of an odd program is guessed to be of the group whose mean is
   nearest in that covariance's metric. A group that no even program has is never guessed.
4. Groups of n states have between scatter even where labels mean nothing, since means of few states
   differ by chance. So every measure is taken again with shuffled labels (:func:`shuffles`).

Intervals are linear: the bootstrap over programs of a measure plus its derivative with respect to
each program's weight is that of the measure to first order (the nonparametric delta method; Davison
& Hinkley 1997, 2.7). Resampling states and taking the means anew would add the noise of means to
the noise that is in them already, and shift shares of small groups by more than their interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MEASURES = {
    "between_share": "share",
    "scatter_ratio": "1",
    "pairwise_distance": "within spread",
    "probe_accuracy": "share",
}
_TINY = 1e-12  # of the total scatter: what within scatter is at least taken to be


@dataclass(frozen=True, eq=False)
class Groups:
    """What is known about N states besides the states.

    ``codes`` are their groups, each of which has a state, and ``shuffled`` those of K shuffles;
    ``names`` are of groups; ``program`` numbers programs, ``n_programs`` counts those without
    states too.
    """

    codes: Int[Tensor, " N"]
    names: tuple[str, ...]
    program: Int[Tensor, " N"]
    n_programs: int
    shuffled: Int[Tensor, "K N"]

    @cached_property
    def fits(self) -> Bool[Tensor, " N"]:
        """States that the probe is fitted on: those of programs with even numbers."""
        return self.program % 2 == 0

    @property
    def counts(self) -> tuple[int, ...]:
        """States behind each of ``MEASURES``: the probe's accuracy has those that are scored."""
        n = len(self.codes)
        return n, n, n, int((~self.fits).sum())

    def measures(
        self, states: Float[Tensor, "#B N d"], codes: Int[Tensor, "#B N"], shrinkage: float
    ) -> Float[Tensor, "B m"]:
        """The ``MEASURES`` of B groupings, B sets of states, or both."""
        found = group_means(states, codes, len(self.names))
        return _measures(found, self.hits(states, codes, shrinkage))

    def hits(
        self, states: Float[Tensor, "#B N d"], codes: Int[Tensor, "#B N"], shrinkage: float
    ) -> Bool[Tensor, "B scored"]:
        """Whether the probe names the group of each state that it was not fitted on."""
        fitted, scored = states[:, self.fits], states[:, ~self.fits]
        centre, width = fitted.mean(1, keepdim=True), states.shape[-1]
        found = group_means(fitted, codes[:, self.fits], len(self.names))
        total = (fitted - centre).transpose(-1, -2) @ (fitted - centre)
        spread = shrinkage * found.total / width
        # Both sides of this are n times the covariance; the metric's scale does not matter.
        metric = (
            total - found.scatter + spread[:, None, None] * torch.eye(width, dtype=states.dtype)
        )
        folded = torch.cholesky_solve(found.means.transpose(-1, -2), torch.linalg.cholesky(metric))
        # |x − μ_g|² in the metric, without what all groups share and halved, sign turned.
        lead = (found.means * folded.transpose(-1, -2)).sum(-1) / 2
        lead = lead.masked_fill(found.sizes == 0, torch.inf)
        nearness = _products(scored - centre, folded) - lead[:, None]
        return nearness.argmax(-1) == codes[:, ~self.fits]


def _measures(found: GroupMeans, hits: Bool[Tensor, "B scored"]) -> Float[Tensor, "B m"]:
    """``MEASURES`` in their order."""
    shares = found.between / found.total, found.between / found.within
    return torch.stack([*shares, found.distances.mean(-1), hits.double().mean(-1)], -1)


class GroupMeans(NamedTuple):
    """Means of groups of centred states, and their total and between scatter, for B groupings."""

    means: Float[Tensor, "B G d"]
    sizes: Float[Tensor, "B G"]
    total: Float[Tensor, " B"]
    between: Float[Tensor, " B"]
    states: int

    @property
    def within(self) -> Float[Tensor, " B"]:
        """What total leaves to between, at least a rounding error of total."""
        return (self.total - self.between).clamp(min=_TINY * self.total)

    @property
    def scatter(self) -> Float[Tensor, "B d d"]:
        """Scatter matrices between the groups."""
        return (self.means * self.sizes[..., None]).transpose(-1, -2) @ self.means

    @property
    def distances(self) -> Float[Tensor, "B pairs"]:
        """Distances of all pairs a < b of group means, in within spreads."""
        a, b = torch.triu_indices(self.means.shape[1], self.means.shape[1], 1)
        apart = torch.cdist(self.means, self.means, compute_mode="use_mm_for_euclid_dist")
        return apart[:, a, b] / (self.within / self.states).sqrt()[:, None]


def group_means(
    states: Float[Tensor, "#B N d"], codes: Int[Tensor, "#B N"], n_groups: int
) -> GroupMeans:
    """Means and scatter; a group without states has mean 0, the overall mean."""
    centred = states - states.mean(-2, keepdim=True)
    batch, (n, width) = max(len(states), len(codes)), states.shape[-2:]
    place = (codes + n_groups * torch.arange(batch)[:, None]).reshape(-1)
    sums = states.new_zeros(batch * n_groups, width)
    sums.index_add_(0, place, centred.expand(batch, n, width).reshape(-1, width))
    sums = sums.view(batch, n_groups, width)
    sizes = torch.bincount(place, minlength=batch * n_groups).to(states.dtype).view(batch, n_groups)
    means = sums / sizes.clamp(min=1)[..., None]
    between = (sizes * means.square().sum(-1)).sum(-1)
    total = centred.square().sum((-2, -1)).expand(between.shape)
    total = total.clamp(min=torch.finfo(total.dtype).tiny)  # states that are all the same
    return GroupMeans(means, sizes, total, between, states.shape[-2])


def _products(states: Float[Tensor, "#B n d"], folded: Float[Tensor, "B d G"]) -> Tensor:
    """``states @ folded``; states that all B share are taken as one matrix, which is faster."""
    if len(states) > 1:
        return states @ folded
    batch, width, n_groups = folded.shape
    rows = states[0] @ folded.transpose(0, 1).reshape(width, -1)
    return rows.view(-1, batch, n_groups).transpose(0, 1)


def program_columns(
    states: Float[Tensor, "N d"], groups: Groups, shrinkage: float
) -> Float[np.ndarray, "P m"]:
    """One column per measure whose mean over programs is the measure; see the module docstring.

    Group means of the probe are held fixed: its interval is that of scoring.
    """
    codes, n = groups.codes, len(states)
    found = group_means(states[None], codes[None], len(groups.names))
    hits = groups.hits(states[None], codes[None], shrinkage)[0]
    values = _measures(found, hits[None])[0]
    share, ratio, distance, accuracy = values
    centred = states - states.mean(0)
    rest = centred - found.means[0, codes]
    total, within = centred.square().sum(-1), rest.square().sum(-1)
    scored = torch.zeros(n, dtype=states.dtype)
    scored[~groups.fits] = (hits.to(states.dtype) - accuracy) / len(hits)
    # How the mean pairwise distance moves with each group's mean, the spread held fixed.
    apart = found.means[0][:, None] - found.means[0][None]
    length = apart.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(states.dtype).tiny)
    pull, pairs = (apart / length).sum(1), len(apart) * (len(apart) - 1) / 2
    spread = (found.within[0] / n).sqrt()
    derivatives = torch.stack(
        [
            (total - within - share * total) / found.total,
            (total - within - ratio * within) / found.within,
            (pull[codes] * rest).sum(-1) / found.sizes[0, codes] / (spread * pairs)
            - distance * (within / found.within - 1 / n) / 2,
            scored,
        ],
        1,
    )
    return by_program(values, derivatives, groups.program, groups.n_programs).numpy()


def by_program(
    values: Float[Tensor, " m"],
    derivatives: Float[Tensor, "N m"],
    program: Int[Tensor, " N"],
    n_programs: int,
) -> Float[Tensor, "P m"]:
    """Values plus their derivatives by each program's weight, times the number of programs."""
    sums = torch.zeros(n_programs, len(values), dtype=values.dtype)
    return values + n_programs * sums.index_add_(0, program, derivatives)


def shuffles(
    codes: Int[np.ndarray, " N"],
    strata: Int[np.ndarray, " N"],
    units: Int[np.ndarray, " N"],
    draws: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "K N"]:
    """Codes handed round among the units of each stratum.

    States of one unit keep one code, and every stratum keeps its codes, so what codes owe to the
    stratum, and states of one unit to each other, is in the control as it is in the groups.

    Args:
        codes, strata: the same for all states of a unit.
        units: numbers of what the states belong to.
    """
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    of_unit, stratum = codes[first], strata[first]
    there = np.argsort(stratum, kind="stable")
    found = np.empty((draws, len(first)), dtype=np.int64)
    for k in range(draws):
        found[k, there] = of_unit[np.lexsort((rng.random(len(first)), stratum))]
    return found[:, unit]
