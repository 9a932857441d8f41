"""Top singular directions of every head's W_QK and W_OV, and the tokens they tell apart.

1. W = U S Vᵀ in float64, in residual coordinates. The sides of direction i are U_i and V_i:
   ``query`` and ``key`` of W_QK, ``reads`` and ``writes`` of W_OV.
2. ``query``, ``key`` and ``reads`` are projections x̂·U_i of the LayerNorm'd states (gain and bias
   in) that the head meets on real programs. Token embeddings alone would not do: the keys of a
   matching head are what an earlier head wrote about the token before.
3. At level ``place`` a direction tells kinds of position apart: those of keys, of values and of
   each special token. The projection of a place is its mean less the mean over all positions.
4. At level ``token`` it tells positions of one place apart, by the token that stands ``offset``
   places before: the mean of what is left when each position's place is taken off. The offset is
   the one of ``OFFSETS`` that explains most.
5. ``explained`` is the share of variance over positions, of all of it at level ``place`` and of
   what is left at level ``token``, adjusted for the number G of groups:
   1 − (within / (n − G)) / (total / (n − 1)).
6. ``writes`` is what the unembedding makes of V_i: ((V_i − its mean) ⊙ final LayerNorm gain) ·
   embedding of the token, a logit per unit written, before the final LayerNorm's scale. Places are
   means over their tokens, less that over all tokens that occur. It follows from the weights, so it
   has no interval.
7. ``agreement`` is the correlation, over keys and values, of what the two sides have of them at
   level ``token``: near +1 where a query asks for its own token, or what is read is written.
8. SVD leaves the sign of a direction open: the largest projection of its first side is positive.

Intervals resample events; the means that are taken off are held fixed. Tokens of fewer than
``MIN_EVENTS`` events are not named, since they leave too little to resample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.measures.weights.spectra import require_top
from circuit.model.sites import every_head, head_name
from circuit.model.transformer import Params
from circuit.scalars.base import Seen, centre
from circuit.scalars.routing import Head, w_qk
from circuit.scalars.subspace import w_ov
from circuit.statistics import correlations, interval, resamples
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import Vocabulary

OFFSETS = (0, 1, 2)
MIN_EVENTS = 5
SIDES = {"QK": ("query", "key"), "OV": ("reads", "writes")}
DIRECTION_UNITS = {
    "step": "step",
    **dict.fromkeys(("direction", "rank"), "id"),
    "singular_value": "unit of the map",
    "offset": "token",
    "explained": "share",
    **dict.fromkeys(("projection", "low", "high", "count"), "1"),
}


class Level(NamedTuple):
    """What one side has of every item (place or token); NaN for what may not be named.

    ``resampled`` has B bootstrap resamples, ``positions`` the number of positions of an item.
    """

    offset: int
    explained: float
    items: Float[np.ndarray, " V"]
    resampled: Float[np.ndarray, "B V"]
    positions: Float[np.ndarray, " V"]


class Side(NamedTuple):
    """One side of a direction: what it has of places, and of tokens at one place."""

    place: Level
    token: Level

    def times(self, sign: float) -> Side:
        """The same side of the direction times ``sign``."""
        turned = (
            level._replace(items=sign * level.items, resampled=sign * level.resampled)
            for level in self
        )
        return Side(*turned)


def head_directions(
    seen: Seen, theta: Float[Tensor, " P"], vocabulary: Vocabulary, directions: int, tokens: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of one item on one side of one direction, and of the agreement of its sides, by head.

    Args:
        seen: a pass with every layer's ``attn_input``, and ``theta`` its parameters.

    Returns:
        items: head, matrix (QK, OV), direction (from 1), singular_value, side, level, offset,
        explained (missing for ``writes``), rank (by absolute projection, from 1; all places, and
        ``tokens`` tokens), item (a token, ``key`` or ``value``), projection, low, high, count
        (positions; 1 for ``writes``).
        agreements: head, direction (its matrix and number), mean, low, high.

    Raises:
        AnalysisError: the heads' maps have fewer directions.
    """
    require_top(seen.decoder.settings, directions)
    params = seen.decoder.layout.views(theta.detach().double())
    corpus = _Corpus(seen.events, vocabulary)
    frames, agreed = [], []
    for head in every_head(seen.decoder.settings):
        states = seen.sites[f"layer_{head[0]}_attn_input"].double()
        for matrix, number, value, pair in _sides(params, head, states, corpus, directions):
            agreed.append((head_name(head), f"{matrix} {number}", *corpus.agreement(*pair)))
            named = zip(SIDES[matrix], pair, strict=True)
            frame = pd.concat([corpus.named(x, tokens).assign(side=side) for side, x in named])
            about = {"head": head_name(head), "matrix": matrix, "direction": number}
            frames.append(frame.assign(**about, singular_value=value))
    agreements = pd.DataFrame(agreed, columns=["head", "direction", "mean", "low", "high"])
    return pd.concat(frames, ignore_index=True), agreements


class Groups(NamedTuple):
    """Positions by item: ``members`` is 1 where a position belongs, ``counts`` by event."""

    offset: int
    members: Float[Tensor, "E T V"]
    counts: Float[Tensor, "E V"]


class _Corpus:
    """The places and tokens of all positions, ready for means over them and over resamples."""

    def __init__(self, events: ReadEvents, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        size, width = vocabulary.size, events.tokens.shape[1]
        # A place is named by its first token: specials stand for themselves.
        self.place_of = torch.arange(size)
        for ids in (vocabulary.key_ids, vocabulary.value_ids):
            self.place_of[ids.start : ids.stop] = ids.start
        self.kept = events.causal_prefix
        self.places = self._groups(0, self.place_of[events.tokens], size)
        self.by_offset = [
            self._groups(offset, F.pad(events.tokens, (offset, 0))[:, :width], size)
            for offset in OFFSETS
        ]
        self.occurs = self.by_offset[0].counts.sum(0) > 0
        self.draws = resamples(len(events), 0)

    def _groups(self, offset: int, numbers: Int[Tensor, "E T"], size: int) -> Groups:
        members = F.one_hot(numbers, size).double() * self.kept[..., None]
        return Groups(offset, members, members.sum(1))

    def side(self, projected: Float[Tensor, "E T"]) -> Side:
        """What a projection of states has of places and of tokens."""
        n = self.kept.sum()
        centred = (projected - (projected * self.kept).sum() / n) * self.kept
        place = self._level(centred, self.places)
        means = torch.from_numpy(np.nan_to_num(place.items))
        inside = centred - self.places.members @ means
        best = max(self.by_offset, key=lambda groups: self._explained(inside, groups))
        return Side(place, self._level(inside, best))

    def _explained(self, values: Float[Tensor, "E T"], groups: Groups) -> float:
        """Adjusted share of the variance of values, which are 0 in the mean, between groups."""
        total, count = torch.einsum("et,etv->v", values, groups.members), groups.counts.sum(0)
        square = float(values.square().sum())
        within = square - float((total**2 / count.clamp(min=1)).sum())
        n, held = float(self.kept.sum()), float((count > 0).sum())
        return 1 - (within / (n - held)) / (square / (n - 1)) if square > 0 else 0.0

    def _level(self, values: Float[Tensor, "E T"], groups: Groups) -> Level:
        """Means of values, which are 0 in the mean, by group."""
        sums, counts = (values[:, None] @ groups.members)[:, 0].numpy(), groups.counts.numpy()
        enough = (counts > 0).sum(0) >= MIN_EVENTS

        def means(weights: Float[np.ndarray, "B E"]) -> Float[np.ndarray, "B V"]:
            with np.errstate(invalid="ignore", divide="ignore"):
                found = (weights @ sums) / (weights @ counts)
            return np.where(enough, found, np.nan)

        items = means(np.ones((1, len(counts))))[0]
        explained = self._explained(values, groups)
        return Level(groups.offset, explained, items, means(self.draws), counts.sum(0))

    def written(self, logits: Float[Tensor, " V"]) -> Side:
        """What logits that are written have of places and of tokens that occur."""
        centred = logits - logits[self.occurs].mean()
        members = F.one_hot(self.place_of, len(logits)).double() * self.occurs[:, None]
        means = (centred @ members) / members.sum(0)
        tokens = _exact(centred - means[self.place_of], self.occurs)
        return Side(_exact(means, members.sum(0) > 0), tokens)

    def agreement(self, first: Side, second: Side) -> tuple[float, float, float]:
        """Correlation over keys and values of what two sides have of them, with its interval."""
        start, one, other = self.vocabulary.key_ids.start, first.token, second.token
        (value,) = _over_both(one.items[None, start:], other.items[None, start:])
        low, high = interval(_over_both(one.resampled[:, start:], other.resampled[:, start:]))
        return float(value), float(low), float(high)

    def named(self, side: Side, tokens: int) -> pd.DataFrame:
        """The items that a side has most of, in absolute value."""
        words = np.array(self.vocabulary.tokens, dtype=object)
        places = words.copy()
        places[self.vocabulary.key_ids.start] = "key"
        places[self.vocabulary.value_ids.start] = "value"
        placed = _top(side.place, places, len(words)).assign(level="place")
        return pd.concat([placed, _top(side.token, words, tokens).assign(level="token")])


def _exact(values: Float[Tensor, " V"], held: Bool[Tensor, " V"]) -> Level:
    """A level of numbers that follow from the weights."""
    items = torch.where(held, values, torch.nan).numpy()
    return Level(0, float("nan"), items, items[None], held.double().numpy())


def _sides(
    params: Params, head: Head, states: Float[Tensor, "E T d"], corpus: _Corpus, directions: int
) -> Iterator[tuple[str, int, float, tuple[Side, Side]]]:
    """Matrix, number, singular value, and both sides of each direction, in one sign."""
    for matrix, w in (("QK", w_qk(params, head)), ("OV", w_ov(params, head))):
        u, values, vh = torch.linalg.svd(w)
        reads = [corpus.side(x) for x in (states @ u[:, :directions]).unbind(-1)]
        if matrix == "QK":
            others = [corpus.side(x) for x in (states @ vh[:directions].T).unbind(-1)]
        else:
            write = centre(vh[:directions]) * params["final_norm.gain"]
            others = [corpus.written(x) for x in write @ params["embedding.token"].T]
        for i, (first, second) in enumerate(zip(reads, others, strict=True)):
            every = np.concatenate([first.place.items, first.token.items])
            sign = float(np.sign(every[np.nanargmax(np.abs(every))]))
            yield matrix, i + 1, float(values[i]), (first.times(sign), second.times(sign))


def _over_both(
    a: Float[np.ndarray, "#B V"], b: Float[np.ndarray, "#B V"]
) -> Float[np.ndarray, " B"]:
    """Correlation, row by row, over the columns that both have."""
    a, b = np.broadcast_arrays(a, b)
    held = np.isfinite(a) & np.isfinite(b)
    # What is left out lies at the mean of the rest, so it adds nothing to any of the sums.
    a, b = (np.where(held, x - np.mean(x, 1, where=held, keepdims=True), 0) for x in (a, b))
    return correlations(a, b)


def _top(level: Level, names: np.ndarray, most: int) -> pd.DataFrame:
    """The named items of a level with their intervals, largest first."""
    size = np.abs(level.items)
    top = [t for t in np.argsort(-np.nan_to_num(size), kind="stable") if np.isfinite(size[t])]
    top = top[:most]
    drawn = level.resampled[:, top]
    low, high = interval(np.where(np.isfinite(drawn), drawn, level.items[top]))
    return pd.DataFrame(
        {
            "offset": level.offset,
            "explained": level.explained,
            "rank": np.arange(1, len(top) + 1),
            "item": names[top],
            "projection": level.items[top],
            "low": low,
            "high": high,
            "count": level.positions[top].astype(np.int64),
        }
    )
