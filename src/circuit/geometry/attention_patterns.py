"""Whole attention patterns of a few events, with the token and role of every position."""

from __future__ import annotations

import pandas as pd

from circuit.scalars.base import Seen
from circuit.scalars.routing import Head, prediction_pattern
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import Vocabulary

# What a position is called in a picture: the first role that holds.
_SHOWN = (
    "support_value",
    "query_key",
    "stale_value",
    "value_distractors",
    "key_distractors",
    "prior_answers",
)
PATTERN_UNITS = {"step": "step", "event": "id", "position": "token", "attention": "probability"}


def pattern_labels(events: ReadEvents, vocabulary: Vocabulary, pictures: int) -> pd.DataFrame:
    """Event, sample_id, position, token and role of every position of the first events."""
    masks = {role: events.role_mask(role) for role in _SHOWN}
    found = []
    for event in range(min(pictures, len(events))):
        for position in range(int(events.length[event])):
            token = vocabulary.tokens[int(events.tokens[event, position])]
            role = next((r for r in _SHOWN if masks[r][event, position]), "other")
            found.append((event, events.sample_id[event], position, token, role))
    return pd.DataFrame(found, columns=["event", "sample_id", "position", "token", "role"])


def pictured_patterns(seen: Seen, head: Head, labels: pd.DataFrame) -> pd.DataFrame:
    """``labels`` with the attention that each position gets from the prediction position."""
    pattern = prediction_pattern(seen, head).double().numpy()
    return labels.assign(attention=pattern[labels["event"], labels["position"]])
