"""What a head would write or does write towards the answer: OV images and direct logits.

- The *OV image* of a state is what the head writes if it attends to that position alone:
  (W_V x̂ + b_V) W_O. Its logit lens applies the final LayerNorm to the image and unembeds it.
- *Direct logit attribution* reads a head's actual write through the final LayerNorm of the real
  residual stream: (write - mean(write)) / scale ⊙ gain, unembedded. It is linear in the write.
  The scale is recomputed at each θ, or frozen per event at a reference θ.

Margins are the true value's logit minus the best other *value's*, in nats of log-odds ("logit").
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from circuit.scalars.base import Measure, Rival, Seen, centre, margin, pick
from circuit.scalars.routing import Head, prediction_pattern, qk_separation, support_attention


def ov_image(seen: Seen, head: Head, state: Float[Tensor, "E d"]) -> Float[Tensor, "E d"]:
    """What the head writes if a LayerNorm'd state is all that it reads; affine in the state."""
    layer, h = head
    w, b = seen.params[f"layer_{layer}.attn.W_QKV"], seen.params[f"layer_{layer}.attn.b_QKV"]
    return (state @ w[2, h].T + b[2, h]) @ seen.params[f"layer_{layer}.attn.W_O"][h]


def ov_image_logits(
    seen: Seen, head: Head, state: Float[Tensor, "E d"] | None = None
) -> Float[Tensor, "E values"]:
    """Value logits of the logit lens on the head's OV image of one LayerNorm'd state per event.

    None are the states at support_value.
    """
    if state is None:
        state = pick(seen.sites[f"layer_{head[0]}_attn_input"], seen.events.support_value)
    return value_logits(seen, seen.decoder.final_norm(seen.params, ov_image(seen, head, state)))


def attended_state(seen: Seen, head: Head) -> Float[Tensor, "E d"]:
    """What the head reads from the prediction position: states in the shares of its attention.

    The OV map is affine and the shares sum to 1, so the OV image of it is the head's actual write.
    """
    states = seen.sites[f"layer_{head[0]}_attn_input"]
    return (prediction_pattern(seen, head)[:, None] @ states)[:, 0]


def dla_logits(
    seen: Seen, head: Head, scale: Float[Tensor, "E 1"] | None
) -> Float[Tensor, "E values"]:
    """Direct value logits of the head's write at the prediction position.

    ``scale`` is a frozen final LayerNorm scale per event, or None for the actual one.
    """
    layer, h = head
    z = pick(seen.sites[f"layer_{layer}_z"], seen.events.prediction)[:, h]
    if scale is None:
        scale = pick(seen.sites["final_norm_scale"], seen.events.prediction)
    return direct_logits(seen, z @ seen.params[f"layer_{layer}.attn.W_O"][h], scale)


def direct_logits(
    seen: Seen, write: Float[Tensor, "E d"], scale: Float[Tensor, "E 1"]
) -> Float[Tensor, "E values"]:
    """Value logits of a write through a final LayerNorm of this scale; linear in the write."""
    normed = centre(write) / scale.to(write.dtype) * seen.params["final_norm.gain"]
    return value_logits(seen, normed)


def stream_reader(
    seen: Seen, rows: Float[Tensor, "... d"], scale: Float[Tensor, "... 1"]
) -> Float[Tensor, "... d"]:
    """What a write is multiplied by to give what ``rows`` read of it by direct logit attribution.

    Centring is symmetric, so rows · (centre(write) / scale ⊙ gain) = write · centre(gain ⊙ rows) /
    scale: all writes of one event share this vector.
    """
    return centre(seen.params["final_norm.gain"] * rows) / scale


def value_logits(seen: Seen, state: Float[Tensor, "E d"]) -> Float[Tensor, "E values"]:
    """Inner products of LayerNorm'd states with the value tokens' embeddings."""
    embedding = seen.params["embedding.token"]
    return state @ embedding[seen.value_ids.start : seen.value_ids.stop].T


def right_value(seen: Seen) -> Int[Tensor, " E"]:
    """Column of the true value among the value logits."""
    return seen.events.answer - seen.value_ids.start


def ov_value_margin(head: Head, rival: Rival) -> Measure:
    """Logit-lens margin of the OV image of the support_value state."""
    return _image_margin(head, rival)


def support_mass_ov_value_margin(head: Head, rival: Rival) -> Measure:
    """Attention mass on support_value × ov_value_margin."""
    return _image_margin(head, rival, times=support_attention(head))


def qk_ov_product(head: Head, rival: Rival) -> Measure:
    """qk_separation (full scores) × ov_value_margin."""
    return _image_margin(head, rival, "score·logit", qk_separation(head))


def _image_margin(
    head: Head, rival: Rival, unit: str = "logit", times: Measure | None = None
) -> Measure:
    def value(seen: Seen) -> Float[Tensor, " E"]:
        weight = 1 if times is None else times(seen)
        return weight * margin(ov_image_logits(seen, head), right_value(seen), rival)

    return Measure(unit, frozenset({f"layer_{head[0]}_attn_input"}), value)


def head_value_margin_dla(
    head: Head, rival: Rival, scale: Float[Tensor, "E 1"] | None = None
) -> Measure:
    """Direct logit attribution of the head's write to the value margin."""
    sites = {f"layer_{head[0]}_z"} | ({"final_norm_scale"} if scale is None else set())
    return Measure(
        "logit",
        frozenset(sites),
        lambda seen: margin(dla_logits(seen, head, scale), right_value(seen), rival),
    )
