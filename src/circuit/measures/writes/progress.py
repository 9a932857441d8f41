"""Every head's write by every scalar at every checkpoint, under four conditions.

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
   of attention. All scalars of :data:`circuit.measures.writes.measured.SCALARS` are read off it, or
   off the OV image of the support value's state.
4. One forward pass per checkpoint leaves all that this needs: what all heads read, the final
   LayerNorm's scale and the state that answers. The two ends of the run come first: they give what
   is held fixed at all checkpoints, the last one's scale and the rivals of one of them.
5. The model's outcomes stand beside the heads: the answer margin over a fixed rival, the correct
   logit, the log probability of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.experiments.donors import Shuffle, draw_shuffles
from circuit.measures.writes.measured import SCALARS, Progress
from circuit.model.sites import every_head, head_name
from circuit.model.transformer import Decoder
from circuit.scalars.base import Measure, Seen, best_other, look, margin, over_mean, pick
from circuit.scalars.behaviour import (
    answer_logits,
    answer_margin,
    correct_value_logit,
    negative_answer_loss,
)
from circuit.scalars.routing import Head, prediction_pattern
from circuit.scalars.value import (
    attended_state,
    direct_logits,
    ov_image,
    ov_image_logits,
    right_value,
)
from circuit.task.events import ReadEvents

FEWEST = 3
Competitor = Literal["fixed_source", "fixed_target"]


class Fixed(NamedTuple):
    """What stays as it was at a reference checkpoint, per event.

    ``scale``: of the final LayerNorm. ``rivals``: each head's best wrong value by direct logits,
    and by the logit lens on its OV image, as columns of the value logits.
    """

    scale: Float[Tensor, "E 1"]
    rivals: dict[Head, tuple[Int[Tensor, " E"], Int[Tensor, " E"]]]


def measure_heads(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
    competitor: Competitor,
    shuffles: int,
    seed: int,
) -> Progress:
    """Measure every head at every step; one forward pass per step.

    Args:
        competitor: whether fixed rivals are the best wrong tokens at the first checkpoint or at the
            last one.
        shuffles: how many shuffles of values over events are averaged; drawn with ``seed``.

    Raises:
        AnalysisError: there are fewer than three checkpoints, or no shuffle exists.
    """
    if len(steps) < FEWEST:
        raise AnalysisError(
            what=f"{len(steps)} checkpoints are too few for correlations over checkpoints",
            where="scalar_progress",
            expected=f"at least {FEWEST}",
            do="train with more checkpoints",
        )
    heads, drawn = every_head(decoder.settings), draw_shuffles(events, shuffles, seed)
    sites = frozenset(f"layer_{n}_attn_input" for n in range(decoder.settings.n_layers))
    sites |= {"final_norm_scale", "final_norm"}

    def capture(step: int) -> Seen:
        return look(decoder, theta(step), events, value_ids, sites)

    with torch.no_grad():
        ends = {step: capture(step) for step in (steps[0], steps[-1])}
        chosen = ends[steps[0] if competitor == "fixed_source" else steps[-1]]
        fixed = Fixed(_final_scale(ends[steps[-1]]), {h: _rivals(chosen, h) for h in heads})
        rival = best_other(answer_logits(chosen), events.answer)
        outcomes = (answer_margin(rival), correct_value_logit(), negative_answer_loss())
        found = [
            _measure(ends[step] if step in ends else capture(step), drawn, fixed, outcomes)
            for step in steps
        ]
    names = tuple(head_name(head) for head in heads)
    return Progress(tuple(steps), names, *(np.stack(part) for part in zip(*found, strict=True)))


def _final_scale(seen: Seen) -> Float[Tensor, "E 1"]:
    return pick(seen.sites["final_norm_scale"], seen.events.prediction)


def _rivals(seen: Seen, head: Head) -> tuple[Int[Tensor, " E"], Int[Tensor, " E"]]:
    write = ov_image(seen, head, attended_state(seen, head))
    # A scale divides all logits of an event alike, so any gives the same rivals.
    direct, lens = direct_logits(seen, write, _final_scale(seen)), ov_image_logits(seen, head)
    return best_other(direct, right_value(seen)), best_other(lens, right_value(seen))


def _measure(
    seen: Seen, shuffles: Sequence[Shuffle], fixed: Fixed, outcomes: Sequence[Measure]
) -> tuple[np.ndarray, ...]:
    """One checkpoint of the last four fields of :class:`Progress`."""
    shape, writes = seen.decoder.settings, []
    for layer in range(shape.n_layers):
        own = seen.sites[f"layer_{layer}_attn_input"]
        states = [own, *(shuffle(own) for shuffle in shuffles)]
        writes += [_head_writes(seen, (layer, h), states, fixed) for h in range(shape.n_heads)]
    values, mass, rival = (torch.stack(part) for part in zip(*writes, strict=True))
    told = torch.stack([outcome(seen) for outcome in outcomes])
    return values.double().numpy(), mass.double().numpy(), rival.numpy(), told.double().numpy()


def _head_writes(
    seen: Seen, head: Head, states: Sequence[Float[Tensor, "E T d"]], fixed: Fixed
) -> tuple[Float[Tensor, "M C E"], Float[Tensor, " E"], Int[Tensor, " E"]]:
    """One head: every scalar under every condition, attention on support_value, the best rival now.

    Args:
        states: of the head's layer: the events' own, then of every shuffle, from their donors.
    """
    events = seen.events
    pattern = prediction_pattern(seen, head)
    mass = pick(pattern, events.support_value)
    support = torch.cat([pick(each, events.support_value) for each in states])
    attended = torch.cat([(pattern[:, None] @ each)[:, 0] for each in states])
    # Attention × shuffles is one batch, with the event's own answer, rivals and scale throughout.
    kinds = 2 * len(states)
    right = right_value(seen).repeat(kinds)
    rival, lens_rival = (chosen.repeat(kinds) for chosen in fixed.rivals[head])
    write = ov_image(seen, head, torch.cat([attended, support]))
    direct = direct_logits(seen, write, _final_scale(seen).repeat(kinds, 1))
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
    return values.flatten(1, 2), mass, best_other(direct, right)[: len(events)]
