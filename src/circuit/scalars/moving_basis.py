"""Scalars that keep the top directions of a matrix, and how these directions move along a run.

1. The matrix is a function of θ. Unbound, such a scalar keeps its top directions at the θ it is
   seen at, or those of one checkpoint.
2. Bound at an interval's first state it keeps a *frame*. A ``source`` basis is that frame, frozen.
   An ``own`` basis is part of the function, which is differentiated through; the frame only says
   which directions it keeps, those that continue it.
3. Re-binding at the interval's last state takes two steps: to the directions that continue the
   frame (``basis_motion``, which an own basis has within its function), then, where values crossed
   at the cut, to the top ones (``rank_cut_jump``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.scalars.base import Rebinding, Scalar
from circuit.scalars.truncation import Frame, continued, top_frame

Refitted = Literal["never", "source", "own"]
_TERMS: dict[Refitted, tuple[str, ...]] = {
    "never": (),
    "source": ("basis_motion", "rank_cut_jump"),
    "own": ("rank_cut_jump",),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class BasisScalar(Scalar, ABC):
    """A scalar that keeps ``rank`` directions of a matrix: ``basis``, or the top ones at each θ.

    ``refitted`` says what moves the basis: ``never`` (it is a checkpoint's), ``source`` (refitted
    at each interval's first state and frozen over the interval) or ``own`` (part of the function).
    """

    rank: int
    basis: Frame | None = None
    refitted: Refitted = "never"

    @abstractmethod
    def matrix_at(self, theta: Float[Tensor, " P"]) -> Float[Tensor, "m n"]:
        """The matrix whose directions are kept, in float64."""

    @property
    def terms(self) -> tuple[str, ...]:
        return _TERMS[self.refitted]

    @property
    def held(self) -> Frame | None:
        """The directions that are constants of the function; None where they depend on θ."""
        return None if self.refitted == "own" else self.basis

    def fitted(self, theta: Float[Tensor, " P"]) -> Self:
        """The same scalar with the top directions at ``theta``."""
        return replace(self, basis=top_frame(self.matrix_at(theta), self.rank))

    def at(self, theta: Float[Tensor, " P"]) -> Self:
        """The same scalar, with the top directions at ``theta`` where its basis is refitted."""
        return self if self.refitted == "never" else self.fitted(theta)

    def along(self, theta: Float[Tensor, " P"]) -> Self:
        """The same scalar, its own basis continued to ``theta``; a frozen basis stays."""
        if self.refitted != "own":
            return self
        assert self.basis is not None
        return replace(self, basis=continued(self.matrix_at(theta), self.basis)[0])

    def rebind(self, theta: Float[Tensor, " P"]) -> tuple[Rebinding, ...]:
        """Motion of the basis, then the jump where directions changed places at the cut."""
        if self.refitted == "never":
            return ()
        assert self.basis is not None
        on, top = continued(self.matrix_at(theta), self.basis)
        # The own basis moves within the function; only what it is compared with is renewed.
        motion = None if self.refitted == "own" else "basis_motion"
        chain: list[Rebinding] = [(motion, replace(self, basis=on))]
        if not torch.equal(on.left, top.left):
            chain.append(("rank_cut_jump", replace(self, basis=top)))
        return tuple(chain)
