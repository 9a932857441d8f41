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

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import estimates
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


def embedding_alignment(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    vocabulary: Vocabulary,
    chosen: Mapping[str, str],
    *,
    rank: int,
    variance: float,
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Estimates of every head's ``overlap`` at every checkpoint, exact but for random directions.

    ``directions`` is an identity's number of directions. ``beyond_random_from`` is the checkpoint
    from which an overlap stays above the band of random directions, missing where it does not.

    Args:
        chosen: head → what a scan chose it as.
    """
    found, energy = [], np.empty((0, 0, 0))
    for step in steps:
        params = decoder.layout.views(theta(step).double())
        rows = []
        for head in every_head(decoder.settings):
            bases, name = head_bases(params, head, rank), head_name(head)
            for side, space, mover, seen in _seen(decoder, params, vocabulary, head):
                identity = _identity(seen, variance)
                lies = float(overlap(bases[f"head_{side}"][None], identity[None]))
                about = (name, chosen.get(name, ""), side, space, mover)
                rows.append((*about, step, lies, identity.shape[1]))
        if not energy.size:
            random = random_subspaces(draws * len(rows), decoder.settings.d_model, rank, seed)
            energy = random.square().sum(-1).cumsum(-1).numpy().reshape(draws, len(rows), -1)
        table = pd.DataFrame(rows, columns=[*_KEYS, "step", "mean", "directions"])
        k = table["directions"].to_numpy()
        drawn = energy[:, np.arange(len(k)), k - 1] / np.minimum(rank, k)
        low, high = simultaneous_interval(drawn.mean(0), drawn)
        found.append(table.assign(expected=drawn.mean(0), low=low.clip(0), high=high.clip(max=1)))
    table = pd.concat(found, ignore_index=True)
    chance = table[[*_KEYS, "step", "low", "high"]].assign(mean=table["expected"], count=draws)
    bare = table[[*_KEYS, "step", "mean"]]
    whens = [
        (*about, from_then_on(part["step"].to_numpy(), (part["mean"] > part["high"]).to_numpy()))
        for about, part in table.groupby(_KEYS, sort=False)
    ]
    since = pd.DataFrame(whens, columns=[*_KEYS, "mean"])
    parts = [
        estimates(bare, "share", "draws", measure="overlap"),
        estimates(chance, "share", "draws", measure="overlap", against=RANDOM),
        estimates(bare.assign(mean=table["directions"]), "1", measure="directions"),
        estimates(since, "step", step=steps[-1], measure="beyond_random_from"),
    ]
    return pd.concat(parts, ignore_index=True)


def _seen(
    decoder: Decoder, params: Params, vocabulary: Vocabulary, head: Head
) -> Iterator[tuple[str, str, str, Float[Tensor, "n d"]]]:
    """Side, space, mover, and embeddings about their mean as they are seen there."""
    for side in SIDES:
        site = f"layer_{head[0]}_{'post_attn' if side == 'ov_output' else 'attn_input'}"
        rows = token_rows(params, vocabulary, [site])
        yield side, KEYS, "", rows[site, "keys"]
        yield side, VALUES, "", rows[site, "values"]
        if side == "qk_key":
            gain = params[f"layer_{head[0]}.ln1.gain"]
            for mover in (one for one in every_head(decoder.settings) if one[0] < head[0]):
                read = f"layer_{mover[0]}_attn_input"
                moved = token_rows(params, vocabulary, [read])[read, "keys"] @ w_ov(params, mover)
                yield side, MOVED, head_name(mover), centre(moved) * gain


def _identity(rows: Float[Tensor, "n d"], variance: float) -> Float[Tensor, "d k"]:
    """The fewest directions that hold a share of the rows' squares."""
    _, values, right = torch.linalg.svd(rows, full_matrices=False)
    held = values.square().cumsum(0)
    directions: Tensor = right[: int((held < variance * held[-1]).sum()) + 1].T
    return directions
