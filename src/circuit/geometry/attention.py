"""Where one head looks from the prediction position, over training.

One forward pass per checkpoint up to the head's layer. Attention mass on a role is the sum of the
pattern over the role's positions; roles overlap (stale values are value distractors too), so masses
need not sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.geometry.heads import head_name
from circuit.model.transformer import Decoder
from circuit.scalars.base import look
from circuit.scalars.routing import Head, prediction_pattern
from circuit.statistics import bootstrap_means
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import Vocabulary

ROLES = (
    "query_key",
    "support_op",
    "support_key",
    "support_value",
    "stale_value",
    "value_distractors",
    "key_distractors",
    "prior_answers",
)
# What a position is called in a picture: the first role that holds.
_SHOWN = (
    "support_value",
    "query_key",
    "stale_value",
    "value_distractors",
    "key_distractors",
    "prior_answers",
)
ROW_UNITS = {
    "step": "step",
    "mean": "probability",
    "low": "probability",
    "high": "probability",
    "count": "1",
}
PATTERN_UNITS = {"step": "step", "event": "id", "position": "token", "attention": "probability"}


def attention_over_training(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Iterable[int],
    events: ReadEvents,
    vocabulary: Vocabulary,
    head: Head,
    pictures: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Attention mass by role, and whole patterns of the first ``pictures`` events.

    Returns:
        rows: step, head, role, mean, low, high, count.
        patterns: step, event, sample_id, position, token, role, attention; positions up to the
        prediction.
    """
    masks = torch.stack([events.role_mask(role) for role in ROLES])
    pictured = range(min(pictures, len(events)))
    labels = _labels(events, vocabulary, pictured)
    rows, patterns = [], []
    for step in steps:
        with torch.no_grad():
            site = frozenset({f"layer_{head[0]}_attn_input"})
            seen = look(decoder, theta(step), events, vocabulary.value_ids, site)
            pattern = prediction_pattern(seen, head)
        mass = (masks * pattern).sum(-1).double().T.numpy()
        mean, low, high = bootstrap_means(mass)
        rows.append(
            pd.DataFrame(
                {
                    "step": step,
                    "head": head_name(head),
                    "role": ROLES,
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "count": len(events),
                }
            )
        )
        shown = [pattern[e, : int(events.length[e])].double().numpy() for e in pictured]
        patterns.append(labels.assign(step=step, attention=np.concatenate(shown)))
    return pd.concat(rows, ignore_index=True), pd.concat(patterns, ignore_index=True)


def _labels(events: ReadEvents, vocabulary: Vocabulary, pictured: range) -> pd.DataFrame:
    """Event, position, token and shown role of every position of the pictured events."""
    masks = {role: events.role_mask(role) for role in _SHOWN}
    found = []
    for event in pictured:
        for position in range(int(events.length[event])):
            token = vocabulary.tokens[int(events.tokens[event, position])]
            role = next((r for r in _SHOWN if masks[r][event, position]), "other")
            found.append((event, events.sample_id[event], position, token, role))
    return pd.DataFrame(found, columns=["event", "sample_id", "position", "token", "role"])
