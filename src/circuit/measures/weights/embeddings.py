"""How far heads' singular directions lie in the identities that token embeddings hold.

1. The *identity* of keys (or values) is what varies among their embeddings E [n, d] about their
   mean: the fewest directions that hold the share ``variance`` of it. A head that reads sees E
   through its LayerNorm's centring and gain, so for its query, key and input sides so do we.
2. A layer's head may also find an identity that an earlier head, the *mover*, wrote elsewhere:
   E as the mover reads it, times its W_OV (K-composition, Elhage et al. 2021). It is looked for on
   the key side.
3. ``overlap`` of a side's top r singular directions U with an identity's k directions A is the mean
   squared cosine of the principal angles, ‖UᵀA‖² / min(r, k)
   (:func:`circuit.measures.states.alignment.overlap`).
4. The control are random directions. What they overlap with is any k directions, say the first k
   axes; the expected overlap is max(r, k) / d. Their band holds all that is compared at a
   checkpoint at once (:func:`circuit.statistics.simultaneous_interval`), so the largest of many
   overlaps may be held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import estimates, with_controls
from circuit.landmarks import from_then_on
from circuit.measures.states.alignment import overlap, random_subspaces
from circuit.measures.states.head_views import token_rows
from circuit.model.sites import every_head, head_name
from circuit.model.transformer import Decoder, Params
from circuit.scalars.base import centre
from circuit.scalars.routing import Head
from circuit.scalars.subspace import head_bases, w_ov
from circuit.statistics import simultaneous_interval
from circuit.task.vocabulary import Vocabulary

SIDES = ("qk_query", "qk_key", "ov_input", "ov_output")
KEYS, VALUES, MOVED = "key_identity", "value_identity", "moved_key_identity"
RANDOM = "random directions"
_KEYS = ["head", "chosen", "side", "space", "mover"]
_CONTROL = {RANDOM: ("expected", "random_low", "random_high")}


class Asked(NamedTuple):
    """``rank`` directions of a head, the ``variance`` that makes an identity, and the control."""

    rank: int
    variance: float
    draws: int
    seed: int


def embedding_alignment(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    vocabulary: Vocabulary,
    chosen: Mapping[str, str],
    asked: Asked,
) -> pd.DataFrame:
    """Estimates of every head's ``overlap`` at every checkpoint, exact but for random directions.

    Keys are head, chosen, side, space and mover. ``directions`` is an identity's number of
    directions. ``beyond_random_from`` is the checkpoint from which an overlap stays above the band
    of random directions, missing where it does not in the end.

    Args:
        chosen: head → what a scan chose it as.
    """
    found, energy = [], np.empty((0, 0, 0))
    for step in steps:
        params = decoder.layout.views(theta(step).double())
        rows = pd.DataFrame(_overlaps(decoder, params, vocabulary, chosen, asked))
        if not energy.size:
            shape = (asked.draws * len(rows), decoder.settings.d_model, asked.rank)
            random = random_subspaces(*shape, asked.seed).square().sum(-1).cumsum(-1)
            energy = random.numpy().reshape(asked.draws, len(rows), -1)
        k = rows["directions"].to_numpy()
        drawn = energy[:, np.arange(len(k)), k - 1] / np.minimum(asked.rank, k)
        low, high = simultaneous_interval(drawn.mean(0), drawn)
        band = {
            "expected": drawn.mean(0),
            "random_low": low.clip(0),
            "random_high": high.clip(max=1),
        }
        found.append(rows.assign(step=step, low=np.nan, high=np.nan, **band))
    table = pd.concat(found, ignore_index=True)
    overlaps = with_controls(table.drop(columns="directions"), _CONTROL)
    overlaps["count"] = np.where(overlaps["against"] == RANDOM, asked.draws, 0)
    keys = table[[*_KEYS, "step"]]
    parts = [
        estimates(overlaps, "share", "draws", measure="overlap"),
        estimates(keys.assign(mean=table["directions"]), "1", measure="directions"),
        _since(table),
    ]
    return pd.concat(parts, ignore_index=True)


def _overlaps(
    decoder: Decoder,
    params: Params,
    vocabulary: Vocabulary,
    chosen: Mapping[str, str],
    asked: Asked,
) -> Iterator[dict[str, Any]]:
    """Rows of one checkpoint: keys, mean, and the identity's number of directions."""
    heads = every_head(decoder.settings)
    for head in heads:
        name = head_name(head)
        bases = head_bases(params, head, asked.rank)
        for side in SIDES:
            movers = [m for m in heads if m[0] < head[0]] if side == "qk_key" else []
            for space, mover, rows in _spaces(params, vocabulary, head, side, movers):
                identity = _identity(rows, asked.variance)
                keys = (name, chosen.get(name, ""), side, space, mover)
                yield {
                    **dict(zip(_KEYS, keys, strict=True)),
                    "mean": float(overlap(bases[f"head_{side}"][None], identity[None])),
                    "directions": identity.shape[1],
                }


def _spaces(
    params: Params, vocabulary: Vocabulary, head: Head, side: str, movers: Sequence[Head]
) -> Iterator[tuple[str, str, Float[Tensor, "n d"]]]:
    """Embeddings about their mean, as they are seen at one side of a head."""
    site = f"layer_{head[0]}_{'post_attn' if side == 'ov_output' else 'attn_input'}"
    rows = token_rows(params, vocabulary, [site])
    yield KEYS, "", rows[site, "keys"]
    yield VALUES, "", rows[site, "values"]
    gain = params[f"layer_{head[0]}.ln1.gain"]
    for mover in movers:
        read = f"layer_{mover[0]}_attn_input"
        moved = token_rows(params, vocabulary, [read])[read, "keys"] @ w_ov(params, mover)
        yield MOVED, head_name(mover), centre(moved) * gain


def _identity(rows: Float[Tensor, "n d"], variance: float) -> Float[Tensor, "d k"]:
    """The fewest directions that hold a share of the rows' squares."""
    _, values, right = torch.linalg.svd(rows, full_matrices=False)
    held = values.square().cumsum(0)
    k = int((held < variance * held[-1]).sum()) + 1
    directions: Tensor = right[:k].T
    return directions


def _since(table: pd.DataFrame) -> pd.DataFrame:
    """The checkpoint from which each overlap stays above the band."""
    found = []
    for values, part in table.groupby(_KEYS, sort=False):
        beyond = (part["mean"] > part["random_high"]).to_numpy()
        since = from_then_on(part["step"].to_numpy(), beyond)
        found.append({**dict(zip(_KEYS, values, strict=True)), "mean": since})
    last = int(table["step"].max())
    return estimates(pd.DataFrame(found), "step", step=last, measure="beyond_random_from")
