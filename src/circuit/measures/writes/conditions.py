"""What a head's write would be with attention forced, and with values of another event.

A head's value logits are a function of what it reads: of how attention *shares* itself out among
positions, and of which states stand at these positions. The two are exchanged separately.

1. ``attention``: ``real``, or ``forced`` entirely onto support_value.
2. ``values``: ``real``, or ``shuffled``: every state that the head takes values from is one of the
   same place in another event, the *donor*. The query, the attention pattern, the answer, the
   rival and the final LayerNorm's scale stay the event's own. What a scalar still shows then, it
   does not owe to this event's values. It is the mean over several shuffles
   (:func:`circuit.experiments.donors.draw_shuffles`): one alone leaves as much chance as there are
   events.
3. OV is affine and shares sum to 1, so the write is the OV image of the states mixed in the shares
   of attention. All scalars of :data:`circuit.measures.writes.names.SCALARS` are read off it, or
   off the OV image of the support value's state.

One forward pass leaves all that this needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.measures.writes.names import SCALARS
from circuit.scalars.base import Seen, best_other, margin, over_mean, pick
from circuit.scalars.routing import Head, prediction_pattern
from circuit.scalars.value import (
    attended_state,
    direct_logits,
    ov_image,
    ov_image_logits,
    right_value,
)


class Fixed(NamedTuple):
    """What stays as it was at a reference checkpoint, per event.

    ``scale``: of the final LayerNorm. ``direct`` and ``lens``: each head's best wrong value by
    direct logits and by the logit lens on its OV image, as columns of the value logits.
    """

    scale: Float[Tensor, "E 1"]
    direct: dict[Head, Int[Tensor, " E"]]
    lens: dict[Head, Int[Tensor, " E"]]


class Writes(NamedTuple):
    """One head at one checkpoint: every scalar under every condition, and what explains it.

    ``mass`` is the attention on support_value, ``rival`` the best wrong value at this checkpoint.
    """

    values: Float[Tensor, "M C E"]
    mass: Float[Tensor, " E"]
    rival: Int[Tensor, " E"]


def fix(frozen: Seen, rivals: Seen, heads: list[Head]) -> Fixed:
    """The final LayerNorm's scale at one checkpoint, and every head's rivals at another."""
    right = right_value(rivals)
    # A scale divides all logits of an event alike, so any gives the same rivals.
    scale = final_scale(rivals)
    direct = {
        head: best_other(
            direct_logits(rivals, ov_image(rivals, head, attended_state(rivals, head)), scale),
            right,
        )
        for head in heads
    }
    lens = {head: best_other(ov_image_logits(rivals, head), right) for head in heads}
    return Fixed(final_scale(frozen), direct, lens)


def final_scale(seen: Seen) -> Float[Tensor, "E 1"]:
    """Scale of the final LayerNorm at the prediction position."""
    return pick(seen.sites["final_norm_scale"], seen.events.prediction)


def head_writes(
    seen: Seen, head: Head, swapped: Sequence[Float[Tensor, "E T d"]], fixed: Fixed
) -> Writes:
    """Every scalar of one head under every condition.

    Args:
        swapped: the states of the head's layer, each event's from its donor, for every shuffle.
    """
    events, states = seen.events, [seen.sites[f"layer_{head[0]}_attn_input"], *swapped]
    pattern = prediction_pattern(seen, head)
    mass = pick(pattern, events.support_value)
    support = torch.cat([pick(each, events.support_value) for each in states])
    attended = torch.cat([(pattern[:, None] @ each)[:, 0] for each in states])
    # Attention × shuffles is one batch, with the event's own answer, rivals and scale throughout.
    kinds = 2 * len(states)
    right = right_value(seen).repeat(kinds)
    rival, lens_rival = (chosen[head].repeat(kinds) for chosen in (fixed.direct, fixed.lens))
    write = ov_image(seen, head, torch.cat([attended, support]))
    direct = direct_logits(seen, write, final_scale(seen).repeat(kinds, 1))
    frozen = direct_logits(seen, write, fixed.scale.repeat(kinds, 1))
    # Once, and the same numbers under both attentions: it does not read attention.
    once = len(support)
    lens = margin(ov_image_logits(seen, head, support), right[:once], lens_rival[:once]).repeat(2)
    shares = torch.stack([mass, torch.ones_like(mass)]).repeat_interleave(len(states), 0).flatten()
    found = {
        "head_value_margin_dla_fixed": margin(direct, right, rival),
        "head_value_margin_dla_moving": margin(direct, right, None),
        "head_margin_dla_fixed_readout": margin(frozen, right, rival),
        "head_value_over_mean_dla": over_mean(direct, right),
        "ov_value_margin_fixed": lens,
        "support_mass_ov_value_margin_fixed": shares * lens,
    }
    stacked = torch.stack([found[name] for name in SCALARS])
    by_shuffle = stacked.view(len(SCALARS), 2, len(states), len(events))
    values = torch.stack([by_shuffle[:, :, 0], by_shuffle[:, :, 1:].mean(2)], 2)
    return Writes(values.flatten(1, 2), mass, best_other(direct, right)[: len(events)])
