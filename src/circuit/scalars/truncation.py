"""Rank truncation of a matrix, with an exact gradient.

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

The map dW → d[W]_r is its own adjoint, so the backward pass is the same formula.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from circuit.errors import AnalysisError


class _Truncate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, rank: int) -> Tensor:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        ctx.save_for_backward(u, s, vh)
        ctx.rank = rank
        kept: Tensor = (u[:, :rank] * s[:rank]) @ vh[:rank]
        return kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        u, s, vh = ctx.saved_tensors
        rank = ctx.rank
        _require_gap(s, rank)
        inside = u.T @ gradient @ vh.T
        kept = torch.arange(len(s)) < rank
        across = kept[:, None] != kept[None, :]
        both = (kept[:, None] & kept[None, :]).to(s.dtype)
        # Across the cut the larger value is the kept one, whichever of i, j it is.
        top = torch.maximum(s[:, None], s[None, :])
        low = torch.minimum(s[:, None], s[None, :])
        a = torch.where(across, top / (top - low), both)
        b = torch.where(across, top / (top + low), both)
        frame = 0.5 * (a * (inside + inside.T) + b * (inside - inside.T))
        outside_left = gradient @ vh.T - u @ inside
        outside_right = u.T @ gradient - inside @ vh
        result = u @ frame @ vh
        result = result + outside_left[:, :rank] @ vh[:rank]
        return result + u[:, :rank] @ outside_right[:rank], None


def _require_gap(s: Float[Tensor, " k"], rank: int) -> None:
    """Refuse the gradient of a truncation that cuts between equal singular values."""
    if rank < len(s) and s[rank - 1] - s[rank] <= len(s) * torch.finfo(s.dtype).eps * s[0]:
        raise AnalysisError(
            what=f"truncation to rank {rank} has no gradient: singular values {rank} and "
            f"{rank + 1} are equal",
            where=f"a matrix with singular values {float(s[rank - 1]):.6g} and "
            f"{float(s[rank]):.6g} at the cut",
            expected="a gap between the last value kept and the first one dropped",
            do="choose another rank",
        )


def truncate(matrix: Float[Tensor, "m n"], rank: int) -> Float[Tensor, "m n"]:
    """The best rank-``rank`` approximation of a matrix, differentiable once.

    Raises:
        AnalysisError: the matrix has no such rank; or, from the backward pass, the
            cut lies between equal singular values.
    """
    if not 1 <= rank <= min(matrix.shape):
        raise AnalysisError(
            what=f"a matrix cannot be truncated to rank {rank}",
            where=f"a {matrix.shape[0]} by {matrix.shape[1]} matrix",
            expected=f"1 to {min(matrix.shape)}",
            do="choose another rank",
        )
    result: Tensor = _Truncate.apply(matrix, rank)
    return result
