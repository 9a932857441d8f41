"""What made a head look at the support value: its score, split over what was written at the keys.

1. With the query and the LayerNorm scales of the keys frozen, a head's score is linear in what each
   source wrote at the key position: score(j) = q · W_K x̂_j / √d_head plus what no source changes.
2. So the separation, score(support_value) − mean score(value_distractors), is a sum over sources
   (K-composition, Elhage et al. 2021); what is the same at every key cancels. MLPs below are split
   by what they made their write of, as in :mod:`circuit.measures.paths.second_order`.

Paths through a head's values say what it carries; these say why it looks where it looks.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from circuit.measures.paths.direct import ATTENTION, MLP, TARGETS, writers
from circuit.measures.paths.second_order import ARROW, Term, split_sources
from circuit.model.sites import head_name, parse_head
from circuit.scalars.base import Seen, centre, pick
from circuit.scalars.routing import Head, prediction_scores, separation

MATCHING_UNITS = {"separation": "score"}
WHOLE = "whole"


def matching_sites(n_layers: int) -> frozenset[str]:
    """What a pass must leave besides the sites of second-order paths."""
    return frozenset(f"layer_{layer}_attn_input" for layer in range(n_layers))


def most_adding_head(found: Sequence[Term]) -> str:
    """The head that adds most to the mean value margin: by itself, or through an MLP after it.

    Args:
        found: second-order terms (:func:`circuit.measures.paths.second_order.terms`).
    """
    target = TARGETS.index("value_margin")
    totals: dict[str, float] = {}
    for term in found:
        value = float(term.values[:, target].mean())
        if term.chain.endswith(ARROW + ATTENTION):
            totals[term.through] = totals.get(term.through, 0.0) + value
        elif term.chain == ATTENTION + ARROW + MLP:
            totals[term.source] = totals.get(term.source, 0.0) + value
    return max(totals, key=lambda name: totals[name])


def key_composition(seen: Seen, name: str) -> pd.DataFrame:
    """Rows of head, source, separation (mean over events); ``whole`` is the separation itself.

    Args:
        seen: a pass with the sites of :func:`matching_sites` and of second-order paths.
        name: the head.
    """
    settings = seen.decoder.settings
    head: Head = parse_head(name, settings.n_layers, settings.n_heads)
    at = f"layer_{head[0]}"
    w, b = (seen.params[f"{at}.attn.{part}"][:, head[1]] for part in ("W_QKV", "b_QKV"))
    query = pick(seen.sites[f"{at}_attn_input"], seen.events.prediction) @ w[0].T + b[0]
    reader = centre(seen.params[f"{at}.ln1.gain"] * (query @ w[1])) / query.shape[-1] ** 0.5
    scale = seen.sites[f"{at}_ln1_scale"]
    rows = []
    for source in split_sources(seen, writers(seen)):
        if source.order < 2 * head[0] + 1:
            scores = ((source.states / scale) @ reader[:, :, None])[..., 0]
            rows.append((head_name(head), source.name, float(separation(scores, seen).mean())))
    whole = separation(prediction_scores(seen, head), seen)
    rows.append((head_name(head), WHOLE, float(whole.mean())))
    return pd.DataFrame(rows, columns=["head", "source", "separation"])
