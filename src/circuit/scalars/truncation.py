"""Rank truncation of a matrix and projection onto its top directions, with exact gradients.

[W]_r = U_r S_r V_rᵀ is smooth in W wherever σ_r > σ_{r+1}, but differentiating through individual
singular vectors divides by every gap among σ_1..σ_r, which truncation does not depend on. The
gradient here divides only by gaps across the cut:

1. W = U S Vᵀ (thin). With E = Uᵀ dW V and f_i = σ_i for i ≤ r, 0 else, the differential of the
   truncation within the singular frame is  F_ij = ½ (a_ij (E_ij + E_ji) + b_ij (E_ij - E_ji)),
   a_ij = (f_i - f_j)/(σ_i - σ_j), b_ij = (f_i + f_j)/(σ_i + σ_j)
   (Daleckii-Krein, applied to the symmetric embedding of W).
2. Both a and b are 1 where i, j ≤ r and 0 where i, j > r; only pairs across the cut divide. Where
   σ_r = σ_{r+1} the truncation is not unique and has no gradient; asking for it is an error.
3. Directions outside the frame rotate the kept vectors: the top rows and columns pass unchanged.

The map dW → d[W]_r is its own adjoint, so forward and backward mode are the same formula.

The projector P onto kept eigenvectors of a symmetric matrix A is simpler, being of one size: in A's
eigenframe dP_ij = dA_ij / (λ_i - λ_j) for i kept and j dropped, the same for j, i, and 0 elsewhere.

All of this holds for any set of kept directions, not just the top r: where two values cross at
the cut, the kept set continued through the crossing moves smoothly and the top set jumps.
:func:`continued` finds that set from the directions kept before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from circuit.errors import AnalysisError


class _Truncate(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor, u: Tensor, s: Tensor, vh: Tensor, chosen: Tensor) -> Tensor:
        kept: Tensor = (u[:, chosen] * s[chosen]) @ vh[chosen]
        return kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def differential(ctx: Any, change: Tensor) -> Tensor:
        u, s, vh, chosen = ctx.saved_tensors
        kept = _kept(s, chosen, f"truncation to rank {len(chosen)}", "singular values")
        inside = u.T @ change @ vh.T
        across = kept[:, None] != kept[None, :]
        both = (kept[:, None] & kept[None, :]).to(s.dtype)
        # Of a pair across the cut, the value that is kept and the one that is dropped.
        stays = torch.where(kept[:, None], s[:, None], s[None, :])
        goes = torch.where(kept[:, None], s[None, :], s[:, None])
        a = torch.where(across, stays / (stays - goes), both)
        b = torch.where(across, stays / (stays + goes), both)
        frame = 0.5 * (a * (inside + inside.T) + b * (inside - inside.T))
        outside_left = change @ vh.T - u @ inside
        outside_right = u.T @ change - inside @ vh
        result = u @ frame @ vh
        result = result + outside_left[:, chosen] @ vh[chosen]
        found: Tensor = result + u[:, chosen] @ outside_right[chosen]
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _Truncate.differential(ctx, gradients[0]), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        return _Truncate.differential(ctx, tangents[0])


class _Project(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor, values: Tensor, vectors: Tensor, chosen: Tensor) -> Tensor:
        kept: Tensor = vectors[:, chosen] @ vectors[:, chosen].T
        return kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])
        ctx.save_for_forward(*inputs[1:])

    @staticmethod
    def differential(ctx: Any, change: Tensor) -> Tensor:
        values, vectors, chosen = ctx.saved_tensors
        kept = _kept(values, chosen, f"projection onto {len(chosen)} directions", "eigenvalues")
        inside = vectors.T @ change @ vectors
        across = kept[:, None] != kept[None, :]
        # Of a pair across the cut, the value that is kept less the one that is dropped.
        gap = (values[:, None] - values[None, :]) * torch.where(kept[:, None], 1, -1)
        frame = torch.where(across, 0.5 * (inside + inside.T) / torch.where(across, gap, 1), 0)
        found: Tensor = vectors @ frame @ vectors.T
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _Project.differential(ctx, gradients[0]), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        return _Project.differential(ctx, tangents[0])


class Frame(NamedTuple):
    """Orthonormal directions that are kept, in their order.

    ``left`` and ``right`` singular directions of a matrix; of a symmetric one they are the same.
    """

    left: Float[Tensor, "m r"]
    right: Float[Tensor, "n r"]


def top_frame(matrix: Float[Tensor, "m n"], rank: int) -> Frame:
    """The top ``rank`` singular directions of a matrix."""
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    return Frame(u[:, :rank], vh[:rank].T)


def continued(matrix: Float[Tensor, "m n"], frame: Frame) -> tuple[Frame, Frame]:
    """Singular directions of a matrix: those that continue ``frame``, and as many top ones.

    They are the same unless singular values crossed at the cut since ``frame`` was taken.
    """
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    rank = frame.left.shape[1]
    chosen = _chosen(u, s, vh.T, rank, frame)
    return Frame(u[:, chosen], vh[chosen].T), Frame(u[:, :rank], vh[:rank].T)


def _chosen(u: Tensor, s: Tensor, v: Tensor, rank: int, frame: Frame | None) -> Int[Tensor, " r"]:
    """Numbers, in rising order, of the singular triplets that lie most in a frame, or the top."""
    if frame is None:
        return torch.arange(rank)
    overlap = (frame.left.T @ u).square().sum(0) + (frame.right.T @ v).square().sum(0)
    # The null space has no directions of its own: what a decomposition calls them is arbitrary.
    overlap[s <= _negligible(s)] = -1
    numbers: Tensor = overlap.topk(rank).indices.sort().values
    return numbers


def _negligible(s: Float[Tensor, " k"]) -> Float[Tensor, ""]:
    """What rounding makes of a 0 among values in falling order."""
    return len(s) * torch.finfo(s.dtype).eps * s[0]


def _kept(
    s: Float[Tensor, " k"], chosen: Int[Tensor, " r"], what: str, values: str
) -> Bool[Tensor, " k"]:
    """Which values, in falling order, are kept; refuses a cut between equal ones."""
    kept = torch.zeros(len(s), dtype=torch.bool)
    kept[chosen] = True
    apart = (s[kept][:, None] - s[~kept][None, :]).abs()
    if apart.numel() and apart.min() <= _negligible(s):
        first, second = (int(at) for at in (apart == apart.min()).nonzero()[0])
        stays, goes = float(s[kept][first]), float(s[~kept][second])
        numbers = (int(kept.nonzero()[first]) + 1, int((~kept).nonzero()[second]) + 1)
        raise AnalysisError(
            what=f"{what} has no gradient: {values} {numbers[0]} and {numbers[1]} are equal",
            where=f"a matrix with {values} {stays:.6g} and {goes:.6g} at the cut",
            expected="a gap between the last value kept and the first one dropped",
            do="choose another rank",
        )
    return kept


def truncate(
    matrix: Float[Tensor, "m n"], rank: int, frame: Frame | None = None
) -> Float[Tensor, "m n"]:
    """The best rank-``rank`` approximation of a matrix, differentiable once.

    Args:
        frame: keep the ``rank`` singular triplets that lie most in it, instead of the top ones.

    Raises:
        AnalysisError: the matrix has no such rank; or, as it is differentiated, the cut lies
            between equal singular values.
    """
    if not 1 <= rank <= min(matrix.shape):
        raise AnalysisError(
            what=f"a matrix cannot be truncated to rank {rank}",
            where=f"a {matrix.shape[0]} by {matrix.shape[1]} matrix",
            expected=f"1 to {min(matrix.shape)}",
            do="choose another rank",
        )
    u, s, vh = torch.linalg.svd(matrix.detach(), full_matrices=False)
    result: Tensor = _Truncate.apply(matrix, u, s, vh, _chosen(u, s, vh.T, rank, frame))
    return result


def project(
    matrix: Float[Tensor, "n n"], rank: int, frame: Frame | None = None
) -> Float[Tensor, "n n"]:
    """The projector onto the top ``rank`` eigenvectors of a symmetric matrix, differentiable once.

    Args:
        matrix: positive semidefinite, so that its singular directions are its eigenvectors; of
            at least this rank.
        frame: as for :func:`truncate`.

    Raises:
        AnalysisError: as it is differentiated, the cut lies between equal eigenvalues.
    """
    values, vectors = (found.flip(-1) for found in torch.linalg.eigh(matrix.detach()))
    chosen = _chosen(vectors, values, vectors, rank, frame)
    result: Tensor = _Project.apply(matrix, values, vectors, chosen)
    return result
