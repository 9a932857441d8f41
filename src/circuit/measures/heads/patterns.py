"""Whole attention patterns of a few events, with the token and role of every position."""

from __future__ import annotations

import pandas as pd

from circuit.measures.heads.position_names import position_names
from circuit.scalars.base import Seen
from circuit.scalars.routing import Head, prediction_pattern
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import Vocabulary

_NAMES = (
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
    tokens = [[vocabulary.tokens[i] for i in row] for row in events.tokens[:pictures].tolist()]
    found = [
        (event, events.sample_id[event], position, tokens[event][position], role)
        for event, names in enumerate(position_names(events, _NAMES)[:pictures])
        for position, role in enumerate(names)
    ]
    return pd.DataFrame(found, columns=["event", "sample_id", "position", "token", "role"])


def pictured_patterns(seen: Seen, head: Head, labels: pd.DataFrame) -> pd.DataFrame:
    """``labels`` with the attention that each position gets from the prediction position."""
    pattern = prediction_pattern(seen, head).double().numpy()
    return labels.assign(attention=pattern[labels["event"], labels["position"]])
