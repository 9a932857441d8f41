"""The toy model of superposition (Elhage et al. 2022): n features in m dimensions.

1. x̂ = relu(Wᵀ W x + b), with W [m, n]; features are independent, 0 with probability ``sparsity``
   and else uniform in [0, 1], and the loss is the mean of Σᵢ Iᵢ (xᵢ - x̂ᵢ)² with importances I.
2. *Dimensions* of a feature are ‖wᵢ‖² / Σⱼ (ŵᵢ · wⱼ)²: the share of a dimension that it has for
   itself. Vectors that form a tight frame have m / n each.
3. The optimum is known at both ends (:func:`optimal_dimensions`):

   - *dense*: where features are always there, those that share a direction are always in each
     other's way. The m most important ones have a dimension each, the others none.
   - *sparse*: at most one feature is active, all matter the same. 2m features lose nothing in
     antipodal pairs, since relu clears what one leaves at the other: 1/2 each; and in no other way,
     as 2m is how many vectors of m dimensions can have no positive product, and then they are such
     pairs. Five in a plane form a pentagon, 2/5 each.

4. In the sparse limit the loss is a sum over features of an integral over the one that is active,
   which Gauss-Legendre nodes give without sampling. In the dense limit it is a mean over states.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_NODES = 16
_STATES = 512
Limit = Literal["sparse", "dense"]


class Toy(NamedTuple):
    """A trained toy model, and the loss that is left of it."""

    W: Float[Tensor, "m n"]
    b: Float[Tensor, " n"]
    loss: float

    @property
    def dimensions(self) -> Float[Tensor, " n"]:
        """Of every feature (step 2 of the module); 0 of one that is not represented."""
        return dimensions(self.W)

    def hidden(self, x: Float[Tensor, "k n"]) -> Float[Tensor, "k m"]:
        """The states of m dimensions that hold n features."""
        return x @ self.W.T


def dimensions(W: Float[Tensor, "m n"]) -> Float[Tensor, " n"]:
    """Dimensions per feature, step 2 of the module."""
    products = W.T @ W
    square = products.diagonal()
    shared = products.square().sum(0)
    return torch.where(square > 0, square.square() / shared.clamp(min=1e-30), 0)


def optimal_dimensions(n: int, m: int, limit: Limit) -> tuple[float, ...]:
    """Dimensions per feature at the optimum, the largest first, where it is known.

    Raises:
        ValueError: it is not known here.
    """
    if limit == "dense":
        return tuple(float(i < m) for i in range(n))
    if n == 2 * m or (n, m) == (5, 2):
        return (m / n,) * n
    raise ValueError(f"no known optimum of {n} features in {m} dimensions")


def sample(n: int, sparsity: float, count: int, seed: int) -> Float[Tensor, "count n"]:
    """States of features (step 1 of the module), float64."""
    generator = torch.Generator().manual_seed(seed)
    size, chance = torch.rand(2, count, n, generator=generator, dtype=torch.float64)
    return torch.where(chance < sparsity, 0, size)


def train(
    n: int, m: int, limit: Limit, seed: int, tries: int = 6, steps: int = 800, rate: float = 2e-2
) -> Toy:
    """The best of several models, trained together by Adam from random beginnings; float64.

    In the dense limit every feature is half as important as the one before it.
    """
    x, weight = _sparse(n) if limit == "sparse" else _dense(n, seed)
    halves = 0.5 if limit == "dense" else 1.0
    importance = halves ** torch.arange(n, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(tries, m, n, generator=generator, dtype=torch.float64) / m**0.5
    W, b = W.requires_grad_(), torch.zeros(tries, 1, n, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([W, b], lr=rate)

    def losses() -> Float[Tensor, " tries"]:
        remade = torch.relu(x @ W.mT @ W + b)
        return ((x - remade).square() @ importance * weight).sum(-1)

    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        adam.zero_grad()
        losses().sum().backward()
        adam.step()
    found = losses().detach()
    best = int(found.argmin())
    return Toy(W[best].detach(), b[best, 0].detach(), float(found[best]))


def _sparse(n: int) -> tuple[Float[Tensor, "k n"], Float[Tensor, " k"]]:
    """States with one active feature, and their weights: the sum is over features, not a mean."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    sizes = torch.from_numpy((nodes + 1) / 2)
    x = (torch.eye(n, dtype=torch.float64)[:, None] * sizes[:, None]).flatten(0, 1)
    return x, torch.from_numpy(weights / 2).repeat(n)


def _dense(n: int, seed: int) -> tuple[Float[Tensor, "k n"], Float[Tensor, " k"]]:
    return sample(n, 0.0, _STATES, seed), torch.full((_STATES,), 1 / _STATES, dtype=torch.float64)
