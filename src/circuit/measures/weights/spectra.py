"""Singular values and directions of every weight matrix at one checkpoint, in float64.

1. Matrices are written as maps from what they read (left, rows) to what they write (right,
   columns): W_Q, W_K, W_V [d_model, d_head], W_O [d_head, d_model], W_QK = W_Q W_Kᵀ and
   W_OV = W_V W_O [d_model, d_model] per head, W_in [d_model, d_ff] and W_out [d_ff, d_model] per
   MLP. Of W_QK the left side is the query's and the right side the key's. Biases and LayerNorm's
   gains are not folded in.
2. W_QK and W_OV have rank d_head. With QR factors W_Q = Q_q R_q and W_K = Q_k R_k, their singular
   values are those of the [d_head, d_head] core R_q R_kᵀ, and their vectors those of the core
   carried back by Q_q and Q_k: the same decomposition, exactly, of a smaller matrix. W_OV likewise.
3. ``effective_rank`` = (Σσ)² / Σσ²: the number of directions if all were equally strong.
   ``spectral_mass`` = the top k's share of Σσ². Neither depends on the scale of the matrix.
4. ``rotation``: the mean of the k principal angles between two top-k singular subspaces of one side
   (Björck and Golub 1973), in degrees; 0 for the same subspace, 90 for orthogonal ones. Where the
   k-th and the next singular value are close, the subspace turns easily: read it beside the mass.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.errors import AnalysisError
from circuit.model.sites import every_head, head_name
from circuit.model.transformer import Params

HEAD_MATRICES = ("W_Q", "W_K", "W_V", "W_O", "W_QK", "W_OV")
MLP_MATRICES = ("W_in", "W_out")
MATRICES = (*HEAD_MATRICES, *MLP_MATRICES)


class Svd(NamedTuple):
    """Decomposition of N matrices of one kind: ``matrix`` = left diag(values) rightᵀ."""

    matrix: Float[Tensor, "N m n"]
    left: Float[Tensor, "N m r"]
    values: Float[Tensor, "N r"]
    right: Float[Tensor, "N n r"]


def component_names(settings: ModelSettings, matrix: str) -> list[str]:
    """``L0H0``, … for a head's matrix, ``L0MLP``, … for an MLP's, in the order of :class:`Svd`."""
    if matrix in MLP_MATRICES:
        return [f"L{layer}MLP" for layer in range(settings.n_layers)]
    return [head_name(head) for head in every_head(settings)]


def require_top(settings: ModelSettings, top: int) -> None:
    """Refuse more singular directions than a head is wide.

    Raises:
        AnalysisError: ``top`` is above d_head.
    """
    if top > settings.d_head:
        raise AnalysisError(
            what=f"{top} singular directions are too many",
            where=f"a head of width {settings.d_head}",
            expected=f"1 to {settings.d_head}",
            do="choose fewer directions",
        )


def matrices(params: Params, settings: ModelSettings) -> dict[str, Float[Tensor, "N m n"]]:
    """Every matrix that is stored, by kind, all heads or MLPs of a kind at once; float64."""
    layers = range(settings.n_layers)

    def stacked(name: str) -> Tensor:
        return torch.stack([params[f"layer_{layer}.{name}"] for layer in layers]).double()

    # Stored (out, in) with heads first; a head's matrices become [d_model, d_head] here.
    w_q, w_k, w_v = (w.flatten(0, 1).mT for w in stacked("attn.W_QKV").unbind(1))
    return {
        "W_Q": w_q,
        "W_K": w_k,
        "W_V": w_v,
        "W_O": stacked("attn.W_O").flatten(0, 1),
        "W_in": stacked("mlp.W_in").mT,
        "W_out": stacked("mlp.W_out"),
    }


def plain_svd(matrix: Float[Tensor, "N m n"]) -> Svd:
    """Decomposition of matrices of which nothing is known."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return Svd(matrix, u, s, vh.mT)


def decompose(params: Params, settings: ModelSettings) -> dict[str, Svd]:
    """Every matrix of ``MATRICES``, all heads or MLPs of a kind at once."""
    stored = matrices(params, settings)
    w_q, w_k, w_v, w_o = (stored[name] for name in ("W_Q", "W_K", "W_V", "W_O"))
    (q, r_q), (k, r_k), (v, r_v), (o, r_o) = (torch.linalg.qr(w) for w in (w_q, w_k, w_v, w_o.mT))
    narrow = torch.eye(settings.d_head, dtype=torch.float64).expand_as(r_q)
    cores = {
        "W_Q": (w_q, q, r_q, narrow),
        "W_K": (w_k, k, r_k, narrow),
        "W_V": (w_v, v, r_v, narrow),
        "W_O": (w_o, narrow, r_o.mT, o),
        "W_QK": (w_q @ w_k.mT, q, r_q @ r_k.mT, k),
        "W_OV": (w_v @ w_o, v, r_v @ r_o.mT, o),
    }
    found = {}
    for name, (matrix, before, core, after) in cores.items():
        u, s, vh = torch.linalg.svd(core)
        found[name] = Svd(matrix, before @ u, s, after @ vh.mT)
    return {**found, **{name: plain_svd(stored[name]) for name in MLP_MATRICES}}


def effective_rank(values: Float[Tensor, "*N r"]) -> Float[Tensor, "*N"]:
    """(Σσ)² / Σσ²; a matrix of zeros has none (NaN)."""
    return values.sum(-1) ** 2 / (values**2).sum(-1)


def spectral_mass(values: Float[Tensor, "*N r"], top: int) -> Float[Tensor, "*N"]:
    """Share of the ``top`` largest in Σσ²; a matrix of zeros has none (NaN)."""
    squares = values**2
    return squares[..., :top].sum(-1) / squares.sum(-1)


def rotation(
    one: Float[Tensor, "N m r"], other: Float[Tensor, "N m r"], top: int
) -> Float[Tensor, " N"]:
    """Mean principal angle between the spans of the first ``top`` columns, in degrees."""
    a, b = one[..., :top], other[..., :top]
    cosines = torch.linalg.svdvals(a.mT @ b).clamp(max=1)
    # The sine tells small angles apart, which the cosine rounds to zero.
    sines = torch.linalg.svdvals(b - a @ (a.mT @ b)).clamp(max=1).flip(-1)
    angles = torch.where(cosines > 0.7, sines.asin(), cosines.acos())
    return torch.rad2deg(angles).mean(-1)
