"""What a checkpoint does with reads: accuracy, margin, entropy and the coarse q, r, w.

One forward pass over whole programs serves all their reads:

1. The logits at every prediction position give, per read, whether the argmax over the whole
   vocabulary is the answer, the margin (correct logit minus best wrong logit), the value-only
   margin and the entropy (nats).
2. Reads are averaged over all and per slice. Reads of one program are not independent (they share
   its writes), so the interval resamples whole programs.

The coarse q, r (attention) come from the probe set's events; w is the value-only margin there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.model.tap import NoTap
from circuit.model.transformer import Decoder
from circuit.scalars.base import best_other, look, margin, pick
from circuit.scalars.behaviour import answer_logits
from circuit.scalars.routing import prediction_pattern
from circuit.statistics import LEVEL, bootstrap_means, resamples
from circuit.task.events import AnswerPositions, ReadEvents, answer_positions, token_matrix
from circuit.task.vocabulary import Vocabulary

MEASURES = {
    "accuracy": "1",
    "margin": "logit",
    "value_margin": "logit",
    "entropy": "nat",
    "answer_loss": "nat",
}
COARSE = {"q": "probability", "r": "probability", "w": "logit"}
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


def read_measures(
    decoder: Decoder, theta: Float[Tensor, " P"], split: SplitReads, batch: int = 256
) -> pd.DataFrame:
    """One row per read: its program's number, its slices and every measure of ``MEASURES``."""
    reads = split.reads
    params = decoder.layout.views(theta)
    logits = []
    with torch.no_grad():
        for start in range(0, len(split.tokens), batch):
            states = look_states(decoder, params, split.tokens[start : start + batch])
            inside = (reads.row >= start) & (reads.row < start + batch)
            state = states[reads.row[inside] - start, reads.prediction[inside]]
            logits.append(decoder.unembed(params, state))
    every = torch.cat(logits)
    measures = answer_measures(every, reads.answer, split.value_ids)
    slices = {name: getattr(reads, name).numpy() for name in SLICES}
    values = {name: value.numpy() for name, value in measures.items()}
    return pd.DataFrame({"program": reads.row.numpy(), **slices, **values})


def look_states(decoder: Decoder, params: dict[str, Tensor], tokens: Tensor) -> Tensor:
    """Final LayerNorm'd states [B, T, d] of a batch; the unembedding is left to the caller."""
    return decoder.final_norm(params, decoder.residual(params, tokens, NoTap()))


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
        "value_margin": pick(values, right) - pick(values, best_other(values, right)),
        "entropy": -(log_p.exp() * log_p).sum(-1),
        "answer_loss": -pick(log_p, answer),
    }


def summarise(reads: pd.DataFrame, sliced: bool = True) -> pd.DataFrame:
    """Means over all reads and, if asked, per value of each slice.

    Columns: slice, slice_value, measure, mean, low, high, count (reads); ``slice`` is ``all`` with
    ``slice_value`` -1 for the whole.
    """
    groups: list[tuple[str, int, np.ndarray]] = [("all", -1, np.arange(len(reads)))]
    if sliced:
        for name in SLICES:
            groups += [(name, int(v), rows) for v, rows in reads.groupby(name).indices.items()]
    programs, n = reads["program"].factorize()[0], reads["program"].nunique()
    values = reads[list(MEASURES)].to_numpy()
    rows = []
    for name, value, chosen in groups:
        mean, low, high = _means_over_reads(values[chosen], programs[chosen], n)
        for i, measure in enumerate(MEASURES):
            rows.append((name, value, measure, mean[i], low[i], high[i], len(chosen)))
    return pd.DataFrame(
        rows, columns=["slice", "slice_value", "measure", "mean", "low", "high", "count"]
    )


def _means_over_reads(
    values: Float[np.ndarray, "R k"], programs: Int[np.ndarray, " R"], n: int
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Means over reads with bootstrap intervals over all n programs, those without reads too.

    Reads of one program share its writes, so they are no independent observations.
    """
    sums = np.zeros((n, values.shape[1]))
    np.add.at(sums, programs, values)
    sizes = np.bincount(programs, minlength=n)[:, None]
    counts = resamples(n, 0)
    drawn = counts @ sizes
    # A resample may miss a rare slice altogether: it has no mean there.
    means = (counts @ sums)[drawn[:, 0] > 0] / drawn[drawn[:, 0] > 0]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return values.mean(0), low, high


def coarse(
    decoder: Decoder, theta: Float[Tensor, " P"], events: ReadEvents, value_ids: range
) -> pd.DataFrame:
    """q, r and w on the probe events, in the columns of :func:`summarise`.

    q and r are those of the best head: the one whose mean attention from the prediction position
    to the role is largest.
    """
    s = decoder.settings
    sites = frozenset({f"layer_{n}_attn_input" for n in range(s.n_layers)} | {"final_norm"})
    with torch.no_grad():
        seen = look(decoder, theta, events, value_ids, sites)
        patterns = [
            prediction_pattern(seen, (n, h)) for n in range(s.n_layers) for h in range(s.n_heads)
        ]
        query = torch.stack([pick(p, events.query_key) for p in patterns])
        support = torch.stack([pick(p, events.support_value) for p in patterns])
        measures = answer_measures(answer_logits(seen), events.answer, value_ids)
    columns = {
        "q": query[query.mean(1).argmax()].double().numpy(),
        "r": support[support.mean(1).argmax()].double().numpy(),
        "w": measures["value_margin"].numpy(),
    }
    mean, low, high = bootstrap_means(np.stack(list(columns.values()), axis=1))
    return pd.DataFrame(
        {
            "slice": "all",
            "slice_value": -1,
            "measure": list(columns),
            "mean": mean,
            "low": low,
            "high": high,
            "count": len(events),
        }
    )
