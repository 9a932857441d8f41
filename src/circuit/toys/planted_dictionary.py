"""States that are sparse sums of known directions: a dictionary's task, with its answer.

More directions than dimensions, drawn at random and moved apart until none of them are close; each
state is a sum of a few, of sizes between 0.5 and 1.5, about a mean that is not 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


class Planted(NamedTuple):
    """States, the directions that they are sums of, and how much of each."""

    states: Float[Tensor, "n d"]
    directions: Float[Tensor, "F d"]
    sizes: Float[Tensor, "n F"]


def planted_dictionary(
    size: int, width: int, active: int, count: int, seed: int, apart: int = 200
) -> Planted:
    """``count`` states with ``active`` of ``size`` directions each; float32, drawn by the seed.

    ``apart`` steps move directions away from those that are closest (0: as drawn).
    """
    rng = np.random.default_rng(seed)  # no stream that a fit with the same seed draws from
    directions = normalize(torch.from_numpy(rng.standard_normal((size, width))), dim=1)
    for _ in range(apart):
        near = directions @ directions.T - 2 * torch.eye(size)
        directions = normalize(directions - 0.1 * near.clamp(min=0).pow(3) @ directions, dim=1)
    chosen = torch.from_numpy(rng.random((count, size))).topk(active).indices
    drawn = torch.from_numpy(rng.uniform(0.5, 1.5, (count, active)))
    sizes = torch.zeros(count, size, dtype=torch.float64).scatter(1, chosen, drawn)
    states = sizes @ directions + torch.from_numpy(rng.standard_normal(width))
    return Planted(states.float(), directions.float(), sizes.float())
