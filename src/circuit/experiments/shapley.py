"""Order-averaged (Shapley) shares of parts that are put together: exact, or over random orders.

A part's share is what it adds to a set of others, averaged over all orders in which the parts may
come. Shares sum to what all parts together do, and parts that stand in for each other get alike.

Up to ``EXACT`` parts every set is asked. Of more, every event draws orders of its own and each
comes with its reverse, so a bootstrap of events holds what the draw of orders leaves to chance.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import factorial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

EXACT = 8
Sets = dict[tuple[int, ...], Bool[Tensor, "E n"]]
"""By any number: which parts are in the set, event by event."""
Asked = Callable[[Sets], dict[tuple[int, ...], Float[Tensor, "E R"]]]


def shares(value: Asked, n: int, count: int, orders: int, seed: int) -> Float[Tensor, "n E R"]:
    """Every part's share, of R numbers of ``count`` events.

    Args:
        value: what sets of the ``n`` parts do; of no part, too.
        orders: how many orders an event draws (and reverses) where there are too many parts.
    """
    return _exact(value, n, count) if n <= EXACT else _drawn(value, n, count, orders, seed)


def _exact(value: Asked, n: int, count: int) -> Float[Tensor, "n E R"]:
    every = list(product((0, 1), repeat=n))
    found = value({one: torch.tensor(one).bool().expand(count, n) for one in every})
    total = torch.stack([torch.zeros_like(found[every[0]])] * n)
    for one in every:
        for part in (part for part in range(n) if not one[part]):
            size = sum(one)
            weight = factorial(size) * factorial(n - size - 1) / factorial(n)
            joined = (*one[:part], 1, *one[part + 1 :])
            total[part] += weight * (found[joined] - found[one])
    return total


def _drawn(value: Asked, n: int, count: int, orders: int, seed: int) -> Float[Tensor, "n E R"]:
    generator = torch.Generator().manual_seed(seed)
    places = []
    for _ in range(orders):
        place = torch.rand(count, n, generator=generator).argsort(1)
        places += [place, n - 1 - place]
    found = value({(i, k): place < k for i, place in enumerate(places) for k in range(n + 1)})
    total = torch.stack([torch.zeros_like(found[0, 0])] * n)
    for i, place in enumerate(places):
        adds = torch.stack([found[i, k + 1] - found[i, k] for k in range(n)])
        total += adds.gather(0, place.T[..., None].expand(n, *adds.shape[1:])) / len(places)
    return total
