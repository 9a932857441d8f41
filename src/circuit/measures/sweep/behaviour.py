"""What a checkpoint does with reads: accuracy, margin, entropy and the coarse q, r, w.

One forward pass over whole programs serves all their reads (no position sees a later one, so a
read's states are those of its program cut there):

1. The logits at every prediction position give, per read, whether the argmax over the whole
   vocabulary is the answer, the margin (correct logit minus best wrong logit), the value-only
   margin, the entropy and loss (nats) and the confidence (the largest probability).
2. Reads are averaged over all and per slice. Reads of one program are not independent (they share
   its writes), so the interval resamples whole programs.
3. The same pass leaves the states that linear probes read, where it is asked to.

The coarse q, r (attention) come from the probe set's events; w is the value-only margin there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.model.tap import Tap
from circuit.model.transformer import Decoder
from circuit.scalars.base import margin, pick
from circuit.statistics import grouped_means
from circuit.task.events import AnswerPositions, answer_positions, token_matrix
from circuit.task.vocabulary import Vocabulary

MEASURES = {
    "accuracy": "share",
    "margin": "logit",
    "value_margin": "logit",
    "entropy": "nat",
    "answer_loss": "nat",
    "confidence": "probability",
}
COARSE = {"q": "probability", "r": "probability", "w": "logit"}
GUESS = "guess"
"""The control of an accuracy: a guess among the values."""
SLICES = ("active_keys", "writes_since_support", "tokens_since_support", "slot_after_write")


class SplitReads:
    """A split's programs ready to be evaluated at many checkpoints."""

    def __init__(
        self, programs: pd.DataFrame, vocabulary: Vocabulary, limit: int | None = None
    ) -> None:
        chosen = programs if limit is None else programs.head(limit)
        self.tokens, _ = token_matrix(chosen)
        self.reads: AnswerPositions = answer_positions(chosen, vocabulary)
        self.value_ids = vocabulary.value_ids


class Keep(NamedTuple):
    """Which states a pass leaves: those at these stages, at p positions of each read."""

    stages: tuple[str, ...]
    at: Int[Tensor, "R p"]


class ReadPass(NamedTuple):
    """What a pass over whole programs leaves of their reads.

    ``logits`` [R, V] at the prediction positions; ``states`` by stage, in the order of
    :class:`Keep`'s positions.
    """

    logits: Float[Tensor, "R V"]
    states: dict[str, Float[Tensor, "R p d"]]


def read_pass(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    split: SplitReads,
    keep: Keep | None = None,
    batch: int = 256,
) -> ReadPass:
    """One pass over a split's programs, ``batch`` at a time."""
    reads, params = split.reads, decoder.layout.views(theta)
    stages, at = keep or Keep((), reads.prediction[:, None])
    tap = Tap(capture=stages)
    logits: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {stage: [] for stage in stages}
    with torch.no_grad():
        for start in range(0, len(split.tokens), batch):
            tokens = split.tokens[start : start + batch]
            states = decoder.final_norm(params, decoder.residual(params, tokens, tap), tap)
            inside = (reads.row >= start) & (reads.row < start + batch)
            row = reads.row[inside] - start
            logits.append(decoder.unembed(params, states[row, reads.prediction[inside]]))
            for stage in stages:
                kept[stage].append(tap.cache[stage][row[:, None], at[inside]])
    return ReadPass(torch.cat(logits), {stage: torch.cat(kept[stage]) for stage in stages})


def measured_reads(split: SplitReads, logits: Float[Tensor, "R V"]) -> pd.DataFrame:
    """One row per read: its program's number, its slices and every measure of ``MEASURES``.

    Args:
        logits: from :func:`read_pass`.
    """
    slices = {name: getattr(split.reads, name) for name in SLICES}
    measures = answer_measures(logits, split.reads.answer, split.value_ids)
    columns = {"program": split.reads.row, **slices, **measures}
    return pd.DataFrame({name: column.numpy() for name, column in columns.items()})


def answer_measures(
    logits: Float[Tensor, "E V"], answer: Tensor, value_ids: range
) -> dict[str, Tensor]:
    """Every measure of ``MEASURES`` for answer logits, one value per event, float64."""
    logits = logits.double()
    log_p = logits.log_softmax(-1)
    values = logits[:, value_ids.start : value_ids.stop]
    right = answer - value_ids.start
    return {
        "accuracy": (logits.argmax(-1) == answer).double(),
        "margin": margin(logits, answer, None),
        "value_margin": margin(values, right, None),
        "entropy": -(log_p.exp() * log_p).sum(-1),
        "answer_loss": -pick(log_p, answer),
        "confidence": log_p.amax(-1).exp(),
    }


def summarise(reads: pd.DataFrame) -> pd.DataFrame:
    """Means over all reads and per value of each slice.

    Columns: slice, slice_value, measure, against, mean, low, high, count (reads), noun; ``slice``
    is ``all`` without a ``slice_value`` for the whole.
    """
    groups: list[tuple[str, str, np.ndarray]] = [("all", "", np.arange(len(reads)))]
    for name in SLICES:
        groups += [(name, str(v), rows) for v, rows in reads.groupby(name).indices.items()]
    programs, n = reads["program"].factorize()[0], reads["program"].nunique()
    values = reads[list(MEASURES)].to_numpy()
    yes_or_no, parts = [measure == "accuracy" for measure in MEASURES], []
    for name, value, chosen in groups:
        mean, low, high = grouped_means(values[chosen], programs[chosen], n, shares=yes_or_no)
        numbers = {"measure": list(MEASURES), "against": "", "mean": mean, "low": low, "high": high}
        frame = pd.DataFrame({"slice": name, "slice_value": value, **numbers})
        parts.append(frame.assign(count=len(chosen), noun="reads"))
    return pd.concat(parts, ignore_index=True)


def with_guess(rows: pd.DataFrame, measure: str, n_values: int) -> pd.DataFrame:
    """Estimates, and after them the control of one measure: a guess is right in 1 of n_values."""
    guess = rows[(rows["measure"] == measure) & (rows["against"] == "")].assign(
        against=GUESS, mean=1 / n_values, low=np.nan, high=np.nan, count=0, noun=""
    )
    return pd.concat([rows, guess], ignore_index=True)
