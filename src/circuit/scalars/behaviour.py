"""The answer itself: logits, margins and loss at the prediction position."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.scalars.base import Measure, Rival, Seen, margin, pick
from circuit.scalars.value import right_value, value_logits

_SITES = frozenset({"final_norm"})


def answer_logits(seen: Seen) -> Float[Tensor, "E V"]:
    """Logits of all tokens at the prediction position (the unembedding runs there only)."""
    state = pick(seen.sites["final_norm"], seen.events.prediction)
    return seen.decoder.unembed(seen.params, state)


def right_answer(seen: Seen) -> Int[Tensor, " E"]:
    """Column of the right answer among all logits."""
    return seen.events.answer


def correct_value_logit() -> Measure:
    """Logit of the right answer."""
    return Measure("logit", _SITES, lambda seen: pick(answer_logits(seen), right_answer(seen)))


def negative_answer_loss() -> Measure:
    """Log probability of the right answer, in nats."""
    return Measure(
        "nat", _SITES, lambda seen: pick(answer_logits(seen).log_softmax(-1), right_answer(seen))
    )


def answered_right() -> Measure:
    """1 where the right answer has the largest logit of all tokens, else 0."""
    return Measure(
        "share",
        _SITES,
        lambda seen: (answer_logits(seen).argmax(-1) == right_answer(seen)).double(),
    )


def answer_margin(rival: Rival) -> Measure:
    """Correct logit minus the rival's; with no rival, minus the best wrong logit at each θ."""
    return Measure(
        "logit", _SITES, lambda seen: margin(answer_logits(seen), right_answer(seen), rival)
    )


def soft_margin() -> Measure:
    """Correct logit minus the logsumexp of all wrong values': smooth, since no rival switches."""

    def value(seen: Seen) -> Float[Tensor, " E"]:
        logits = value_logits(seen, pick(seen.sites["final_norm"], seen.events.prediction))
        right = right_value(seen)
        wrong = logits.scatter(1, right[:, None], -torch.inf)
        return pick(logits, right) - wrong.logsumexp(-1)

    return Measure("logit", _SITES, value)
