"""How far a subspace of the residual stream lies along the directions in which states vary.

1. What varies is a symmetric form M = PᵀP − QᵀQ made of rows, one of each per state: P are states
   minus their mean, Q states minus their group's mean. P alone gives total scatter, whose top
   eigenvectors are the PCA axes; P and Q give between-group scatter, whose top eigenvectors span
   the group means.
2. ``variance_share`` of a subspace with orthonormal basis U [d, r] is tr(UᵀMU) / tr M: how much of
   what varies lies inside.
3. ``subspace_overlap`` with the top k eigenvectors A of M is the mean squared cosine of the
   principal angles, ‖UᵀA‖² / min(r, k). It asks for directions only, however little varies along
   some of them.
4. Of a random subspace of rank r both are expected to be r / d (the overlap where k ≤ r). Random
   subspaces and forms from shuffled labels are the controls.

Intervals are linear in the weights of programs (see :mod:`circuit.measures.states.scatter`). For a
top eigenspace with eigenvalues λ_i, d(AAᵀ) = Σ_{i ≤ k < j} (v_i v_jᵀ + v_j v_iᵀ) (v_iᵀ dM v_j) /
(λ_i − λ_j) (first-order perturbation; Kato 1995, II.2): where the gap at the cut is narrow, the
interval is wide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError

MEASURES = {"variance_share": "share", "subspace_overlap": "share"}


def random_subspaces(draws: int, width: int, rank: int, seed: int) -> Float[Tensor, "K d r"]:
    """Orthonormal bases of uniformly random subspaces; float64."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(draws, width, rank, generator=generator, dtype=torch.float64)
    bases: Tensor = torch.linalg.qr(normal).Q
    return bases


class Form(NamedTuple):
    """What varies: ``plus`` and ``minus`` are the rows P and Q of the module docstring."""

    plus: Float[Tensor, "N d"]
    minus: Float[Tensor, "N d"] | None

    def _difference(self, of: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of the rows P, less that of the rows Q."""
        return of(self.plus) if self.minus is None else of(self.plus) - of(self.minus)

    @property
    def matrix(self) -> Float[Tensor, "d d"]:
        """M."""
        return self._difference(lambda rows: rows.T @ rows)

    def along(self, a: Float[Tensor, "d r"], b: Float[Tensor, "d r"]) -> Float[Tensor, " N"]:
        """Each state's part of tr(aᵀ M b)."""
        return self._difference(lambda rows: ((rows @ a) * (rows @ b)).sum(-1))

    @property
    def squares(self) -> Float[Tensor, " N"]:
        """Each state's part of tr M."""
        return self._difference(lambda rows: rows.square().sum(-1))


class Axes(NamedTuple):
    """Eigenvalues [B, d] and eigenvectors [B, d, d] of B forms, largest first; ``k`` are kept."""

    values: Float[Tensor, "B d"]
    vectors: Float[Tensor, "B d d"]
    k: int

    @property
    def top(self) -> Float[Tensor, "B d k"]:
        """The top eigenvectors."""
        return self.vectors[..., : self.k]

    def measures(self, basis: Float[Tensor, "#B d r"]) -> Float[Tensor, "B m"]:
        """``MEASURES`` of one subspace in B forms, or of B subspaces in one form."""
        inside = (basis.transpose(-1, -2) @ self.vectors).square().sum(-2)
        share = (inside * self.values).sum(-1) / self.values.sum(-1)
        return torch.stack([share, overlap(basis, self.top)], -1)


def axes(matrices: Float[Tensor, "B d d"], k: int) -> Axes:
    """Principal axes of forms.

    Raises:
        AnalysisError: there are no ``k`` of them.
    """
    if not 1 <= k <= matrices.shape[-1]:
        raise AnalysisError(
            what=f"{k} principal axes cannot be kept",
            where=f"states of width {matrices.shape[-1]}",
            expected=f"1 to {matrices.shape[-1]}",
            do="choose another rank, or more than one group",
        )
    values, vectors = torch.linalg.eigh(matrices)
    return Axes(values.flip(-1), vectors.flip(-1), k)


def overlap(a: Float[Tensor, "#B d r"], b: Float[Tensor, "#B d k"]) -> Float[Tensor, " B"]:
    """Mean squared cosine of the principal angles between subspaces with orthonormal bases."""
    angles = min(a.shape[-1], b.shape[-1])
    return (a.transpose(-1, -2) @ b).square().sum((-2, -1)) / angles


def derivatives(form: Form, found: Axes, basis: Float[Tensor, "d r"]) -> Float[Tensor, "N m"]:
    """Derivative of each measure by each state's weight, for the one form whose axes are given.

    Means that the rows were centred on are held fixed: at them M is stationary.
    """
    values, vectors, k = found.values[0], found.vectors[0], found.k
    share = found.measures(basis)[0, 0]
    of_share = (form.along(basis, basis) - share * form.squares) / values.sum()

    top, rest = vectors[:, :k], vectors[:, k:]
    gaps = (values[:k, None] - values[None, k:]).clamp(min=torch.finfo(values.dtype).tiny)
    mixed = rest @ ((top.T @ basis @ basis.T @ rest) / gaps).T
    of_overlap = form.along(top, mixed) * 2 / min(basis.shape[1], k)
    return torch.stack([of_share, of_overlap], 1)
