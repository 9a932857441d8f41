"""Whole attention patterns of a few events, and what positions are called in pictures."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from circuit.measures.heads.maps import KEY_ROLES
from circuit.scalars.base import Seen
from circuit.scalars.routing import Head, prediction_pattern
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import Vocabulary

_NAMES = ("support_value", "query_key", *KEY_ROLES[3:])
PATTERN_UNITS = {"step": "step", "event": "id", "position": "token", "attention": "probability"}


def position_names(events: ReadEvents, roles: Sequence[str]) -> list[list[str]]:
    """Every position of every event by the first of the roles that holds; ``other`` where none."""
    masks = torch.stack([events.role_mask(role) for role in roles])
    names = [*roles, "other"]
    first = torch.where(masks.any(0), masks.int().argmax(0), len(roles)).tolist()
    return [
        [names[role] for role in of_event[:length]]
        for of_event, length in zip(first, events.length.tolist(), strict=True)
    ]


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
