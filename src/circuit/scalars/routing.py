"""Where a head looks: scores of the support value against the value distractors.

For a head with queries q = W_Q x̂ + b_Q and keys k = W_K x̂ + b_K of LayerNorm'd states x̂,

    score(i, j) = q_i · k_j / √d_head,

and separation = score(prediction, support_value) - mean score(prediction, value_distractors), in
score units (the attention pattern is their softmax). The rank-limited form keeps only the bilinear
part, without biases:  score_r(i, j) = x̂_iᵀ [W_QK]_r x̂_j / √d_head  with W_QK = W_Qᵀ W_K in this
project's (out, in) storage.

``[W_QK]_r`` in a frozen basis is U_r U_rᵀ W_QK V_r V_rᵀ with the top singular vectors of the
basis' own W_QK; in the ``own`` basis it is the truncated SVD itself, differentiated through in
float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.model.transformer import Decoder, Params
from circuit.scalars.base import Measure, Seen, masked_mean, pick
from circuit.scalars.moving_basis import BasisScalar
from circuit.scalars.truncation import truncate

Head = tuple[int, int]


def w_qk(params: Params, head: Head) -> Float[Tensor, "d d"]:
    """W_QK of a head in residual coordinates, rows on the query side."""
    layer, h = head
    w = params[f"layer_{layer}.attn.W_QKV"]
    return w[0, h].T @ w[1, h]


def attention_weights(params: Params, head: Head) -> Params:
    """Attention weights of a head's layer in float64, whose products keep the rank that they have.

    Rounding to float32 would give W_QK directions beyond its rank.
    """
    return {
        name: params[name].double()
        for name in (f"layer_{head[0]}.attn.W_QKV", f"layer_{head[0]}.attn.W_O")
    }


def prediction_scores(seen: Seen, head: Head) -> Float[Tensor, "E T"]:
    """Full scores (biases included) from the prediction position to every position."""
    layer, h = head
    states = seen.sites[f"layer_{layer}_attn_input"]
    w, b = seen.params[f"layer_{layer}.attn.W_QKV"], seen.params[f"layer_{layer}.attn.b_QKV"]
    query = pick(states, seen.events.prediction) @ w[0, h].T + b[0, h]
    # (W_K x + b_K) · q with q folded into residual coordinates first: no [E, T, d_head] tensor.
    folded = query @ w[1, h]
    bias = query @ b[1, h]
    return ((states @ folded[:, :, None])[..., 0] + bias[:, None]) / math.sqrt(query.shape[-1])


def prediction_pattern(seen: Seen, head: Head) -> Float[Tensor, "E T"]:
    """Attention probabilities from the prediction position."""
    scores = prediction_scores(seen, head)
    return scores.masked_fill(~seen.events.causal_prefix, -math.inf).softmax(-1)


def separation(values: Float[Tensor, "E T"], seen: Seen) -> Float[Tensor, " E"]:
    """Value at support_value minus the mean over value_distractors."""
    events = seen.events
    return pick(values, events.support_value) - masked_mean(values, events.value_distractors)


def best_margin(values: Float[Tensor, "E T"], seen: Seen) -> Float[Tensor, " E"]:
    """Value at support_value minus the largest over value_distractors."""
    events = seen.events
    others = values.masked_fill(~events.value_distractors, -math.inf)
    return pick(values, events.support_value) - others.amax(-1)


def qk_separation(head: Head) -> Measure:
    """Separation of one head's full scores."""
    return attention_separation(head, probabilities=False)


def attention_separation(head: Head, probabilities: bool) -> Measure:
    """Separation of full scores, or of attention probabilities."""
    measure = prediction_pattern if probabilities else prediction_scores
    return Measure(
        "probability" if probabilities else "score",
        frozenset({f"layer_{head[0]}_attn_input"}),
        lambda seen: separation(measure(seen, head), seen),
    )


def support_attention(head: Head) -> Measure:
    """Attention probability from prediction to support_value."""
    return Measure(
        "probability",
        frozenset({f"layer_{head[0]}_attn_input"}),
        lambda seen: pick(prediction_pattern(seen, head), seen.events.support_value),
    )


def require_rank(decoder: Decoder, rank: int) -> None:
    """Refuse a rank above d_head, which W_QK cannot have."""
    if rank > decoder.settings.d_head:
        raise AnalysisError(
            what=f"rank {rank} is too large for W_QK",
            where=f"a head of width {decoder.settings.d_head}",
            expected=f"1 to {decoder.settings.d_head}",
            do="choose a smaller rank, or leave rank out for full scores",
        )


@dataclass(frozen=True, eq=False)
class RankSeparation(BasisScalar):
    """``qk_separation`` of the rank-r part of W_QK, whose singular directions are its basis."""

    decoder: Decoder
    head: Head
    unit: str = "score"

    @property
    def sites(self) -> frozenset[str]:
        return frozenset({f"layer_{self.head[0]}_attn_input"})

    def matrix_at(self, theta: Float[Tensor, " P"]) -> Float[Tensor, "d d"]:
        params = self.decoder.layout.views(theta.detach())
        return w_qk(attention_weights(params, self.head), self.head)

    def __call__(self, seen: Seen) -> Float[Tensor, " E"]:
        states = seen.sites[f"layer_{self.head[0]}_attn_input"]
        queries = pick(states, seen.events.prediction)
        if self.held is None:
            matrix = w_qk(attention_weights(seen.params, self.head), self.head)
            folded = queries @ truncate(matrix, self.rank, self.basis).to(queries)
        else:
            matrix = w_qk(seen.params, self.head)
            left, right = (side.to(matrix) for side in self.held)
            folded = (queries @ left) @ (left.T @ matrix @ right) @ right.T
        scores = (states @ folded[:, :, None])[..., 0]
        return separation(scores / math.sqrt(self.decoder.settings.d_head), seen)
