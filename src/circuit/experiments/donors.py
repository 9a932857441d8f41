"""Events that lend their states to others: what stands for another event's state.

1. *The next event* (:func:`of_other_events`): at one role's positions, counted from the last.
2. *One random cycle* (:func:`exchanged`): every event gets another one.
3. *Shuffles* (:func:`draw_shuffles`): a permutation of the events, drawn from a seed, in which no
   event's donor has its answer: both are sorted by answer, ties at random, and shifted by the size
   of the most frequent answer's class. Places are the roles of a stream, made disjoint
   (:func:`places`). The i-th latest position of a place stands for the i-th latest of the donor's;
   a donor with fewer gives its earliest again, and one with none (no earlier read) gives of the
   place that is alike. So an event that is its own donor keeps exactly its own states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.statistics import FEWEST
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import BOS, READ, WRITE

NEAREST = 8
"""Among so many that are most like a member, one is drawn that stands for it in a random set."""
OTHERS = "answers of other programs"
"""The control that asks what an effect does to answers that are not the event's own."""
_ALIKE = {"prior_answer": "other_value", "read_key": "other_key"}


def sets_alike(
    nearest: Sequence[Sequence[Any]], draws: int, rng: np.random.Generator
) -> list[list[Any]]:
    """Random sets: for each member, in turn, one of the ``NEAREST`` to it that are still free.

    Args:
        nearest: for each member of a set all that may stand for it, the most like it first.
    """
    found: list[list[Any]] = [[] for _ in range(draws)]
    for one in found:
        for others in nearest:
            free = [other for other in others if other not in one][:NEAREST]
            one.append(free[int(rng.integers(len(free)))])
    return found


def of_other_events(
    states: Float[Tensor, "E T ..."],
    events: ReadEvents,
    role: str,
    donor: Int[Tensor, " E"] | None = None,
) -> Float[Tensor, "E T ..."]:
    """States that hold, at a role's positions, those of the same role in the next (donor) event.

    The role's last position takes the other event's last, the one before it the one before, and so
    on; where the other event has fewer, its positions are gone through again. Where it has none at
    all, and at positions outside the role, any of its states may stand.
    """
    mask = events.role_mask(role)
    other = torch.arange(len(events)).roll(-1) if donor is None else donor
    ordered = (mask * torch.arange(1, mask.shape[1] + 1)).argsort(1, descending=True)
    from_last = mask.flip(1).cumsum(1).flip(1) - 1
    place = from_last.clamp(min=0) % mask.sum(1)[other, None].clamp(min=1)
    return states[other[:, None], ordered[other].gather(1, place)]


def exchanged(count: int, seed: int) -> Int[Tensor, " E"]:
    """For every event another one: all events in one random cycle."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    return torch.empty_like(order).index_put((order,), order.roll(1))


class Shuffle(NamedTuple):
    """For every event its donor, and for every position the donor's that it is exchanged for."""

    donor: Int[Tensor, " E"]
    position: Int[Tensor, "E T"]

    def __call__(self, states: Float[Tensor, "E T d"]) -> Float[Tensor, "E T d"]:
        """The donors' states at the places of the event's own."""
        return states[self.donor[:, None], self.position]


def random_cycle(events: ReadEvents, seed: int) -> Shuffle:
    """All events in one random cycle, each position for the one alike."""
    donor = exchanged(len(events), seed)
    return Shuffle(donor, counterparts(events, donor))


def stand_in(
    ablation: str, states: Float[Tensor, "E T ..."], where: Bool[Tensor, "E T"], shuffle: Shuffle
) -> Float[Tensor, "E T ..."]:
    """What stands in the place of states: nothing (``zero``), their ``mean`` over the marked
    positions, or (``resample``) what another event has.
    """
    if ablation == "zero":
        return torch.zeros_like(states)
    return shuffle(states) if ablation == "resample" else states[where].mean(0).expand_as(states)


def draw_shuffles(events: ReadEvents, shuffles: int, seed: int) -> list[Shuffle]:
    """Donors and their positions, drawn anew for each shuffle; see the module."""
    generator = torch.Generator().manual_seed(seed)
    donors = [draw_donors(events.answer, generator) for _ in range(shuffles)]
    return [Shuffle(donor, counterparts(events, donor)) for donor in donors]


def require_other_answers(events: ReadEvents) -> None:
    """Refuse events among which nothing has an interval, or no answer another beside it.

    Raises:
        AnalysisError: there are fewer than three events, or all have the same answer.
    """
    answers = len(events.answer.unique())
    if len(events) < FEWEST or answers < 2:
        raise AnalysisError(
            f"{len(events)} events with {answers} different answers are too few: there is no "
            "interval, or no other answer",
            where=f"the control: {OTHERS}",
            expected=f"at least {FEWEST} events, and at least two answers",
            do="raise probes.programs_per_split of the benchmark",
        )


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
    return torch.empty_like(order).index_put((order,), order.roll(most))


def places(events: ReadEvents) -> dict[str, Bool[Tensor, "E T"]]:
    """Disjoint places that cover every event up to its prediction position, [E, T] each."""
    tokens, prefix = events.tokens, events.causal_prefix
    single = {
        name: events.role_mask(name)
        for name in ("support_op", "support_key", "support_value", "prediction")
    }
    return single | {
        "stale_value": events.stale_value,
        "other_value": events.value_distractors & ~events.stale_value,
        "other_key": events.key_distractors,
        "prior_answer": events.prior_answers,
        "read_key": events.prior_answers.roll(-1, 1),
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
