"""What a head's write would be with attention forced, and with values of another event.

A head's value logits are a function of what it reads: of how attention *shares* itself out among
positions, and of which states stand at these positions. The two are exchanged separately.

1. ``attention``: ``real``, or ``forced`` entirely onto support_value.
2. ``values``: ``real``, or ``shuffled``: every state that the head takes values from is one of the
   same place in another event, the *donor*. The query, the attention pattern, the answer, the
   rival and the final LayerNorm's scale stay the event's own. What a scalar still shows then, it
   does not owe to this event's values. It is the mean over several shuffles: one alone leaves as
   much chance as there are events.
3. Donors are a permutation of the events, drawn from a seed, in which no event's donor has its
   answer: both are sorted by answer, ties at random, and shifted by the size of the most frequent
   answer's class.
4. Places are the roles of a stream, made disjoint (:func:`places`). The i-th latest position of a
   place stands for the i-th latest of the donor's; a donor with fewer gives its earliest again, and
   one with none (no earlier read) gives of the place that is alike. So an event that is its own
   donor reads exactly its own states.
5. OV is affine and shares sum to 1, so the write is the OV image of the states mixed in the shares
   of attention. All scalars of :data:`circuit.geometry.writes.names.SCALARS` are read off it, or
   off the OV image of the support value's state.

One forward pass leaves all that this needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.geometry.writes.names import SCALARS
from circuit.scalars.base import Seen, best_other, margin, over_mean, pick
from circuit.scalars.routing import Head, prediction_pattern
from circuit.scalars.value import (
    attended_state,
    direct_logits,
    ov_image,
    ov_image_logits,
    right_value,
)
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import BOS, READ, WRITE

_ALIKE = {"prior_answer": "other_value", "read_key": "other_key"}


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


class Shuffle(NamedTuple):
    """For every event its donor, and for every position the donor's that it is exchanged for."""

    donor: Int[Tensor, " E"]
    position: Int[Tensor, "E T"]

    def __call__(self, states: Float[Tensor, "E T d"]) -> Float[Tensor, "E T d"]:
        """The donors' states at the places of the event's own."""
        return states[self.donor[:, None], self.position]


def draw_donors(answer: Int[Tensor, " E"], generator: torch.Generator) -> Int[Tensor, " E"]:
    """A random permutation of the events in which no event gets one of its own answer.

    Raises:
        AnalysisError: one answer is that of more than half of the events.
    """
    names, of = answer.unique(return_inverse=True)
    most = int(of.bincount().max())
    if 2 * most > len(answer):
        raise AnalysisError(
            what=f"{most} of {len(answer)} events have the same answer",
            where="the shuffle of values over events",
            expected="no answer in more than half of the events",
            do="take a split with more events",
        )
    # The order of answers is drawn too, or events would always get the next larger answers.
    rank = torch.randperm(len(names), generator=generator)[of]
    events = torch.randperm(len(answer), generator=generator)
    order = events[rank[events].argsort(stable=True)]
    donor = torch.empty_like(order)
    donor[order] = order.roll(most)
    return donor


def places(events: ReadEvents) -> dict[str, Bool[Tensor, "E T"]]:
    """Disjoint places that cover every event up to its prediction position, [E, T] each."""
    tokens, prefix = events.tokens, events.causal_prefix
    single = {
        name: events.role_mask(name)
        for name in ("support_op", "support_key", "support_value", "prediction")
    }
    earlier_read = events.prior_answers.roll(-1, 1)
    return single | {
        "stale_value": events.stale_value,
        "other_value": events.value_distractors & ~events.stale_value,
        "other_key": events.key_distractors,
        "prior_answer": events.prior_answers,
        "read_key": earlier_read,
        "write_op": (tokens == WRITE) & prefix & ~single["support_op"],
        "read_op": (tokens == READ) & prefix,
        "start": (tokens == BOS) & prefix,
    }


def counterparts(events: ReadEvents, donor: Int[Tensor, " E"]) -> Int[Tensor, "E T"]:
    """For every position of an event, its donor's position of the same place; see the module.

    Positions after the prediction, which no head reads, keep their own number.
    """
    here = places(events)
    position = torch.arange(events.tokens.shape[1])
    found = position.expand(events.tokens.shape).clone()
    for name, mask in here.items():
        latest_first = mask.flip(1).cumsum(1).flip(1) - 1
        offered, count = _latest_first(mask)
        if name in _ALIKE:
            other, others = _latest_first(here[_ALIKE[name]])
            offered = torch.where(count[:, None] > 0, offered, other)
            count = torch.where(count > 0, count, others)
        number = latest_first.clamp(min=0).minimum((count[donor] - 1).clamp(min=0)[:, None])
        found = torch.where(mask, offered[donor].gather(1, number), found)
    return found


def _latest_first(mask: Bool[Tensor, "E T"]) -> tuple[Int[Tensor, "E T"], Int[Tensor, " E"]]:
    """Marked positions of every event, the latest first, then all others; how many are marked."""
    rank = torch.where(mask, torch.arange(mask.shape[1]), -1)
    return rank.argsort(dim=1, descending=True, stable=True), mask.sum(1)


def draw_shuffles(events: ReadEvents, shuffles: int, seed: int) -> list[Shuffle]:
    """Donors and their positions, drawn anew for each shuffle; see the module."""
    generator = torch.Generator().manual_seed(seed)
    donors = [draw_donors(events.answer, generator) for _ in range(shuffles)]
    return [Shuffle(donor, counterparts(events, donor)) for donor in donors]


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
