"""What the positions of a program are called in pictures and stories."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from circuit.task.events import ReadEvents


def position_names(events: ReadEvents, roles: Sequence[str]) -> list[list[str]]:
    """Every position of every event by the first of the roles that holds; ``other`` where none."""
    masks = torch.stack([events.role_mask(role) for role in roles])
    names = [*roles, "other"]
    first = torch.where(masks.any(0), masks.int().argmax(0), len(roles)).tolist()
    return [
        [names[role] for role in of_event[:length]]
        for of_event, length in zip(first, events.length.tolist(), strict=True)
    ]
