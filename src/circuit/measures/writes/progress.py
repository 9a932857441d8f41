"""Every head's write by every scalar at every checkpoint, under four conditions.

1. One forward pass per checkpoint leaves what all heads read, the final LayerNorm's scale and the
   state that answers. The two ends of the run come first: they give what is held fixed at all
   checkpoints, the last one's scale and the rivals of one of them.
2. Every scalar of every head is computed under the conditions of
   :mod:`circuit.measures.writes.conditions`, which only recombine what the pass left.
3. The model's outcomes stand beside the heads: the answer margin over a fixed rival, the correct
   logit, the log probability of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.experiments.donors import Shuffle, draw_shuffles
from circuit.measures.writes.conditions import Fixed, fix, head_writes
from circuit.measures.writes.measured import Progress
from circuit.model.sites import every_head, head_name
from circuit.model.transformer import Decoder
from circuit.scalars.base import Measure, Seen, best_other, look
from circuit.scalars.behaviour import (
    answer_logits,
    answer_margin,
    correct_value_logit,
    negative_answer_loss,
)
from circuit.task.events import ReadEvents

FEWEST = 3
Competitor = Literal["fixed_source", "fixed_target"]


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
        fixed = fix(ends[steps[-1]], chosen, heads)
        margin = answer_margin(best_other(answer_logits(chosen), events.answer))
        outcomes = (margin, correct_value_logit(), negative_answer_loss())
        found = [
            _measure(ends[step] if step in ends else capture(step), drawn, fixed, outcomes)
            for step in steps
        ]
    names = tuple(head_name(head) for head in heads)
    return Progress(tuple(steps), names, *(np.stack(part) for part in zip(*found, strict=True)))


def _measure(
    seen: Seen, shuffles: Sequence[Shuffle], fixed: Fixed, outcomes: Sequence[Measure]
) -> tuple[np.ndarray, ...]:
    """One checkpoint of the last four fields of :class:`Progress`."""
    shape, writes = seen.decoder.settings, []
    for layer in range(shape.n_layers):
        states = seen.sites[f"layer_{layer}_attn_input"]
        swapped = [shuffle(states) for shuffle in shuffles]
        writes += [head_writes(seen, (layer, h), swapped, fixed) for h in range(shape.n_heads)]
    return (
        torch.stack([write.values for write in writes]).double().numpy(),
        torch.stack([write.mass for write in writes]).double().numpy(),
        torch.stack([write.rival for write in writes]).numpy(),
        torch.stack([outcome(seen) for outcome in outcomes]).double().numpy(),
    )
