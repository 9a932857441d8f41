"""Subspaces of a state that edits remove or keep, and random ones that carry as much of it.

A random subspace of the same rank is a weak control where most of a state lies in few directions:
it holds next to nothing of it. So controls hold the same *energy*, the mean of ‖P(x − μ)‖² over
states x: directions are drawn at random, weighted by a power of the states' covariance, and the
power is what gives the energy asked for.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.benchmark import SPECIAL_IDS
from circuit.config.scalar import ScalarSettings
from circuit.model.sites import parse_head
from circuit.scalars.base import Seen
from circuit.scalars.subspace import projection

_STRONGEST, _LEAST, _HALVINGS = 4.0, 1e-5, 24
_OTHER = {"value": "key", "key": "value"}


class Subspace(NamedTuple):
    """A named subspace (:mod:`circuit.scalars.subspace`), of a head where it is a head's."""

    name: str
    head: str | None = None

    def basis(
        self, seen: Seen, theta: Float[Tensor, " P"], rank: int, fit: bool = False
    ) -> Float[Tensor, "d r"]:
        """Its top ``rank`` directions at ``theta``; with ``fit``, at most as many as it has.

        Raises:
            AnalysisError: it has fewer.
        """
        shape = seen.decoder.settings
        if fit:
            tokens = seen.value_ids if "value" in self.name else _keys(seen)
            rank = min(rank, len(tokens) - 1, shape.d_model)
        asked = ScalarSettings(
            scalar="subspace_projection", stage="embedding", role="prediction",
            subspace=self.name, rank=rank,
        )  # fmt: skip
        of = None if self.head is None else parse_head(self.head, shape.n_layers, shape.n_heads)
        found = projection(asked, seen.decoder, seen.events, seen.value_ids, of).fitted(theta)
        assert found.held is not None
        return found.held.left


def _keys(seen: Seen) -> range:
    return range(SPECIAL_IDS, seen.value_ids.start)


def other_identity(subspace: Subspace) -> Subspace | None:
    """The identity of keys for that of values and the other way round; None for others."""
    for one, other in _OTHER.items():
        if subspace.name == f"embedding_{one}_identity":
            return Subspace(f"embedding_{other}_identity")
    return None


def energy(basis: Float[Tensor, "d r"], spread: Float[Tensor, "d d"]) -> float:
    """Mean of ‖P(x − μ)‖² over states whose mean of (x − μ)(x − μ)ᵀ is ``spread``."""
    basis = basis.to(spread)
    return float((spread @ basis * basis).sum())


def energy_matched(
    spread: Float[Tensor, "d d"], basis: Float[Tensor, "d r"], generator: torch.Generator
) -> Float[Tensor, "d r"]:
    """An orthonormal basis of a random subspace with the energy of ``basis``, float64.

    Where no weighting reaches it (nothing, or all that so many directions can hold), the nearest.
    """
    wanted = energy(basis, spread)
    sizes, directions = torch.linalg.eigh(spread)
    weights = (sizes / sizes[-1]).clamp(min=_LEAST)
    drawn = torch.randn(basis.shape, generator=generator, dtype=torch.float64)

    def at(power: float) -> Tensor:
        found: Tensor = torch.linalg.qr(directions @ (weights[:, None] ** power * drawn)).Q
        return found

    low, high = -_STRONGEST, _STRONGEST  # the energy rises with the power
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if energy(at(middle), spread) < wanted else (low, middle)
    return at((low + high) / 2)
