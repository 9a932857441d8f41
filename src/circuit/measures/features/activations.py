"""Which features fire: activation functions of dictionaries, and what keeps features from dying.

A feature's *drive* is what its encoder says of a state. What it is *active* by:

=============  =====================================================================  ============
architecture   activation                                                             source
=============  =====================================================================  ============
relu           its positive part                                                      Bricken 2023
topk           its positive part, of the ``k`` largest of a state                     Gao 2024
batchtopk      the same of the ``k`` · n largest of a batch of n states               Bussmann 2024
jumprelu       the drive where it exceeds the feature's threshold, which is learned   Rajamanoharan
               through a window around it                                             2024
matryoshka     as batchtopk; nested prefixes of the features must each reconstruct    Bussmann 2025
=============  =====================================================================  ============

How many features of a batch fire depends on the batch, so where a dictionary is used one number
stands in for it: a *threshold*, the running mean over the fit of the smallest activation that was
left (as in SAELens). Then batchtopk and matryoshka are jumprelu.

**AuxK** (Gao et al. 2024): features that have not fired for long reconstruct together what the
others leave over, x - x̂. The decoder's bias is in x̂ already, so it has no part in that.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

AUX_WEIGHT = 1 / 32
"""Of AuxK beside the error (Gao et al. 2024)."""
_RUNNING = 0.01  # share of the newest batch in the running threshold


def top_k(drive: Float[Tensor, "... F"], k: int) -> Float[Tensor, "... F"]:
    """Positive parts of the k largest drives of every state, 0 elsewhere."""
    largest = drive.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(drive).scatter(-1, largest.indices, largest.values.relu())


def batch_top_k(
    drive: Float[Tensor, "n F"], k: float, weight: Float[Tensor, " F"] | None = None
) -> Float[Tensor, "n F"]:
    """Positive parts of the k · n largest drives of a batch, 0 elsewhere; all of equal ones.

    ``weight`` ranks a feature by its weight times its drive: norms of decoders that are not 1.
    """
    active = drive.relu()
    ranked = (active if weight is None else active * weight).detach()
    count = min(round(k * len(drive)), ranked.numel())
    cut = ranked.flatten().topk(count, sorted=False).values.min()
    return torch.where(ranked >= cut, active, 0)


def jump_relu(
    drive: Float[Tensor, "n F"], threshold: Float[Tensor, " F"], window: float = 0.0
) -> Float[Tensor, "n F"]:
    """Drives where they exceed their feature's threshold and 0, and 0 elsewhere.

    With a ``window`` the threshold has a gradient: that of the expected activation, by a kernel
    density estimate from drives within half a window of it (Rajamanoharan et al. 2024).
    """
    active = torch.where(drive > threshold.clamp(min=0), drive, 0)
    return active + _slope(drive, threshold, window) * threshold.detach() if window else active


def count_above(
    drive: Float[Tensor, "n F"], threshold: Float[Tensor, " F"], window: float
) -> Float[Tensor, " n"]:
    """How many features of every state exceed their threshold: L0, with a gradient as above."""
    fires = (drive > threshold.clamp(min=0)).to(drive)
    return (fires + _slope(drive, threshold, window)).sum(-1)


def _slope(
    drive: Float[Tensor, "n F"], threshold: Float[Tensor, " F"], window: float
) -> Float[Tensor, "n F"]:
    """0, whose derivative by the threshold is -1/window within half a window of it."""
    near = ((drive - threshold).abs() < window / 2).to(drive)
    return (threshold.detach() - threshold) * near / window


def running_threshold(
    before: Float[Tensor, ""] | None, active: Float[Tensor, "n F"]
) -> Float[Tensor, ""]:
    """The threshold after one more batch of activations; ``before`` is None for the first."""
    least = torch.where(active > 0, active.detach(), torch.inf).min()
    if least.isinf():
        return active.new_zeros(()) if before is None else before
    return least if before is None else before.lerp(least, _RUNNING)


def prefixes(size: int, levels: int) -> tuple[int, ...]:
    """Sizes of nested prefixes, each half the next one, the last all ``size`` features."""
    return tuple(size >> level for level in reversed(range(levels)) if size >> level)


def nested_error(
    x: Float[Tensor, "n d"],
    active: Float[Tensor, "n F"],
    W_dec: Float[Tensor, "F d"],
    b_dec: Float[Tensor, " d"],
    ends: tuple[int, ...],
) -> Float[Tensor, ""]:
    """Squared error of what each prefix of the features reconstructs, averaged over prefixes.

    With one prefix, all features, it is the plain squared error, summed over dimensions.
    """
    left, total, begin = x - b_dec, x.new_zeros(()), 0
    for end in ends:
        left = left - active[:, begin:end] @ W_dec[begin:end]
        total, begin = total + left.square().sum(1).mean(), end
    return total / len(ends)


def aux_k(
    residual: Float[Tensor, "n d"],
    drive: Float[Tensor, "n F"],
    dead: Bool[Tensor, " F"],
    W_dec: Float[Tensor, "F d"],
) -> Float[Tensor, ""]:
    """Squared error of what dead features alone make of the ``residual`` x - x̂.

    Of every state the d/2 dead features of the largest drive take part (Gao et al. 2024, B.1), with
    their drives as they are: a negative one has a gradient, too, and so can learn to fire. With
    fewer dead features than that the error weighs less in proportion.
    """
    most, count = max(1, residual.shape[-1] // 2), int(dead.sum())
    if not count:
        return residual.new_zeros(())
    taken = drive[:, dead].topk(min(most, count), sorted=False)
    active = torch.zeros_like(drive[:, dead]).scatter(-1, taken.indices, taken.values)
    error = (residual.detach() - active @ W_dec[dead]).square().sum(1).mean()
    return error * min(1.0, count / most)
