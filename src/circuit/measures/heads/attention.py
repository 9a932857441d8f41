"""Where every head looks, what it reads there and what that is worth, over training.

1. One forward pass per checkpoint leaves what every head reads, its pattern and what it adds up,
   and the scale of the final LayerNorm.
2. Per head and event, from the prediction position: attention mass on every role, ``MEASURES`` of
   scores, pattern, OV image and direct logits. Mass on a role is the sum over its positions; roles
   overlap (stale values are value distractors too), so masses need not sum to 1. The rival of a
   margin is the best other value at each checkpoint; ``over_mean`` is against the mean of all
   other values, where a head that knows nothing is at 0 rather than below.
3. ``even`` stands beside the heads: attention spread evenly over the causal prefix, the mass and
   entropy of a head that does not choose. What heads have beyond it is paired by event.
4. All columns of a checkpoint, and their changes since the checkpoint before, are averaged over one
   set of resamples of events.
5. The same pass serves role maps and pictured patterns (:mod:`circuit.measures.heads.maps`) and, at
   the first and the last checkpoint, singular directions
   (:mod:`circuit.measures.heads.directions`). When each link of the retrieval chain moved is read
   off the events of all checkpoints at the end (:mod:`circuit.measures.heads.chain`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import EXCESS, estimates
from circuit.measures.heads.chain import LINKS, chain_moves
from circuit.measures.heads.directions import head_directions
from circuit.measures.heads.maps import (
    EVEN,
    KEY_ROLES,
    looks_back,
    map_rows,
    pattern_labels,
    pictured_patterns,
)
from circuit.model.sites import every_head, head_name, parse_head
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look, margin, over_mean
from circuit.scalars.routing import (
    best_margin,
    prediction_pattern,
    prediction_scores,
    separation,
)
from circuit.scalars.value import (
    attended_state,
    dla_logits,
    ov_image_logits,
    ov_value_margin,
    right_value,
)
from circuit.statistics import bootstrap_means
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import Vocabulary

ROLES = ("query_key", *KEY_ROLES)
MEASURES = {
    "attention_mass": "probability",
    "qk_separation": "score",
    "qk_best_margin": "score",
    "entropy": "nat",
    "ov_value_margin": "logit",
    "ov_value_margin_attended": "logit",
    "head_value_margin_dla": "logit",
    "head_value_over_mean_dla": "logit",
}
LEVEL, CHANGE = "level", "change"
_KEYS = ("head", "role", "link", "quantity", "direction")
Columns = dict[tuple[str, str, str], Float[Tensor, " E"]]


class Geometry(NamedTuple):
    """What the analysis leaves.

    ``rows``: estimates of ``MEASURES`` by head, role and, where it is one, link of the retrieval
    chain: with the quantity ``level``, the excess over ``even``, and ``change`` since the
    checkpoint before. Then the landmarks of :func:`chain_moves`, at the last step what
    :func:`looks_back` finds, and the ``agreement`` of :func:`head_directions`.
    ``maps``: estimates of :func:`map_rows`. ``directions`` and ``patterns`` are those of
    :func:`head_directions` and :func:`pictured_patterns`, with their step.
    """

    rows: pd.DataFrame
    maps: pd.DataFrame
    directions: pd.DataFrame
    patterns: pd.DataFrame


def attention_geometry(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    events: ReadEvents,
    vocabulary: Vocabulary,
    chain: Sequence[str],
    pictures: int,
    directions: int,
    tokens: int,
) -> Geometry:
    """Everything about all heads at all checkpoints; see :class:`Geometry`.

    Args:
        chain: names of the heads whose retrieval chain is told; the first is pictured.
        pictures: events whose whole patterns are kept.
        directions: singular directions of each head's W_QK and W_OV.
        tokens: tokens named per side of a direction.

    Raises:
        AnalysisError: a head does not exist, or has fewer directions.
    """
    s = decoder.settings
    sites, pictured = attention_sites(s.n_layers), parse_head(chain[0], s.n_layers, s.n_heads)
    labels = pattern_labels(events, vocabulary, pictures)
    rows, maps, sides, agreements, patterns = [], [], [], [], []
    links: list[Float[np.ndarray, "H L E"]] = []
    previous: Float[np.ndarray, "E K"] | None = None
    for step in steps:
        with torch.no_grad():
            parameters = theta(step)
            seen = look(decoder, parameters, events, vocabulary.value_ids, sites)
            columns = head_columns(seen)
            values = torch.stack([column.double() for column in columns.values()], 1).numpy()
            rows.append(_rows(list(columns), values, previous).assign(step=step))
            maps.append(map_rows(seen).assign(step=step))
            patterns.append(pictured_patterns(seen, pictured, labels).assign(step=step))
            if step in (steps[0], steps[-1]):
                items, agrees = head_directions(seen, parameters, vocabulary, directions, tokens)
                sides.append(items.assign(step=step))
                agreements.append(agrees.assign(step=step, count=len(events)))
            if step == steps[-1]:
                rows.append(looks_back(seen, pictured[0]).assign(step=step))
        keys = list(columns)
        links.append(values.T[[[keys.index((h, *at)) for at in LINKS.values()] for h in chain]])
        previous = values
    rows.append(chain_moves(np.stack(links, axis=2), steps, chain, MEASURES))
    rows += [rows_of.assign(measure="agreement", unit="1") for rows_of in agreements]
    every = pd.concat(rows, ignore_index=True).fillna(dict.fromkeys((*_KEYS, "against"), ""))
    masses = pd.concat(maps, ignore_index=True)
    return Geometry(
        estimates(every[[*_KEYS, *every.columns.drop(list(_KEYS))]], noun="events"),
        estimates(masses, "probability", "events", measure="attention_mass"),
        pd.concat(sides, ignore_index=True),
        pd.concat(patterns, ignore_index=True),
    )


def attention_sites(n_layers: int) -> frozenset[str]:
    """What the pass must leave."""
    names = ("attn_input", "pattern", "z")
    return frozenset(f"layer_{n}_{name}" for n in range(n_layers) for name in names) | {
        "final_norm_scale"
    }


def head_columns(seen: Seen) -> Columns:
    """One value per event of every (head, role, measure), ``even`` last."""
    events = seen.events
    masks = torch.stack([events.role_mask(role) for role in ROLES])
    found: Columns = {}
    right = right_value(seen)
    for head in every_head(seen.decoder.settings):
        name, scores = head_name(head), prediction_scores(seen, head)
        attended = ov_image_logits(seen, head, attended_state(seen, head))
        direct = dla_logits(seen, head, None)
        found |= _looks(name, prediction_pattern(seen, head), masks)
        found |= {
            (name, "support_value", "qk_separation"): separation(scores, seen),
            (name, "support_value", "qk_best_margin"): best_margin(scores, seen),
            (name, "support_value", "ov_value_margin"): ov_value_margin(head, None)(seen),
            (name, "causal_prefix", "ov_value_margin_attended"): margin(attended, right, None),
            (name, "prediction", "head_value_margin_dla"): margin(direct, right, None),
            (name, "prediction", "head_value_over_mean_dla"): over_mean(direct, right),
        }
    prefix = events.causal_prefix.double()
    return found | _looks(EVEN, prefix / prefix.sum(-1, keepdim=True), masks)


def _looks(head: str, pattern: Float[Tensor, "E T"], masks: Tensor) -> Columns:
    """Attention mass by role, and entropy, of a pattern from the prediction position."""
    masses = zip(ROLES, (masks * pattern).sum(-1), strict=True)
    found = {(head, role, "attention_mass"): mass for role, mass in masses}
    return found | {(head, "causal_prefix", "entropy"): torch.special.entr(pattern).sum(-1)}


def _rows(
    keys: Sequence[tuple[str, str, str]],
    values: Float[np.ndarray, "E K"],
    previous: Float[np.ndarray, "E K"] | None,
) -> pd.DataFrame:
    """Means of columns, of masses beyond ``even``, and of changes, over one set of resamples."""
    link = {place: name for name, place in LINKS.items()}
    frame = pd.DataFrame(keys, columns=["head", "role", "measure"]).assign(quantity=LEVEL)
    frame["link"] = [link.get(place, "") for place in (key[1:] for key in keys)]
    frame["unit"] = frame["measure"].map(MEASURES)
    masses = {key[:2]: i for i, key in enumerate(keys) if key[2] == "attention_mass"}
    beside = [i for (head, _), i in masses.items() if head != EVEN]
    excess = values[:, beside] - values[:, [masses[EVEN, keys[i][1]] for i in beside]]
    blocks = [(frame, values), (frame.iloc[beside].assign(against=EXCESS), excess)]
    if previous is not None:
        blocks.append((frame.assign(quantity=CHANGE), values - previous))
    mean, low, high = bootstrap_means(np.concatenate([columns for _, columns in blocks], 1))
    labels = pd.concat([labels for labels, _ in blocks], ignore_index=True)
    return labels.assign(mean=mean, low=low, high=high, count=len(values))
