"""The read/write event graph: how an earlier event of a program bears on a later one.

1. The *version* of an event is the number of writes to its key up to it, itself included. A read
   answers with the value of its key's version; version v + 1 makes version v stale.
2. Two events stand in a relation by their kinds, whether their keys agree, and their versions:

    =================  =====  =====  ====================================================
    relation           from   to     the earlier event …
    =================  =====  =====  ====================================================
    overwrite          write  write  wrote the key's version that the later one replaces
    support            write  read   wrote the answer
    stale_write        write  read   wrote the same key, before the support write
    other_key_write    write  read   wrote another key
    same_answer        read   read   showed the answer already
    stale_answer       read   read   read the same key, before the support write
    other_key_answer   read   read   read another key
    =================  =====  =====  ====================================================

So each write before a read stands in exactly one of three relations to it, and each read before it
in one of three others. A read has one support; a write overwrites at most one write.

The distance of an edge in tokens runs from the earlier event's value token to the later event's key
token: 3Δ − 1 for events that lie Δ apart. For ``support`` it is ``tokens_since_support``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from circuit.task.streams import BoolArray, EventGrid, IntArray

EventKind = Literal["write", "read"]


class Ends(NamedTuple):
    """Kinds of the earlier and the later event of a relation."""

    source: EventKind
    target: EventKind


RELATIONS: Mapping[str, Ends] = {
    "overwrite": Ends("write", "write"),
    "support": Ends("write", "read"),
    "stale_write": Ends("write", "read"),
    "other_key_write": Ends("write", "read"),
    "same_answer": Ends("read", "read"),
    "stale_answer": Ends("read", "read"),
    "other_key_answer": Ends("read", "read"),
}


def versions(grid: EventGrid) -> IntArray:
    """Return the version [N, E] of every event: writes to its key up to it, itself included."""
    same = grid.key[:, :, None] == grid.key[:, None, :]
    until = np.tri(grid.key.shape[1], dtype=np.bool_).T  # [source, target]
    found: IntArray = (same & grid.is_write[:, :, None] & until).sum(1)
    return found


def relation_edges(grid: EventGrid) -> dict[str, BoolArray]:
    """Return, per relation, which events [N, source, target] stand in it."""
    version = versions(grid)
    earlier = np.tri(grid.key.shape[1], k=-1, dtype=np.bool_).T  # [source, target]
    same = earlier & (grid.key[:, :, None] == grid.key[:, None, :])
    other = earlier & ~same
    newer = version[:, None, :] - version[:, :, None]
    ends = {
        Ends("write", "write"): grid.is_write[:, :, None] & grid.is_write[:, None, :],
        Ends("write", "read"): grid.is_write[:, :, None] & grid.is_read[:, None, :],
        Ends("read", "read"): grid.is_read[:, :, None] & grid.is_read[:, None, :],
    }
    bears = {
        "overwrite": same & (newer == 1),
        "support": same & (newer == 0),
        "stale_write": same & (newer > 0),
        "other_key_write": other,
        "same_answer": same & (newer == 0),
        "stale_answer": same & (newer > 0),
        "other_key_answer": other,
    }
    return {name: bears[name] & ends[RELATIONS[name]] for name in RELATIONS}


def graph_table(edges: Mapping[str, BoolArray]) -> pd.DataFrame:
    """Return how often each relation spans each distance.

    Columns: relation, source, target, distance (events), tokens, edges, share (of the relation's
    edges). A relation without edges has no row.
    """
    parts = []
    for name, ends in RELATIONS.items():
        _, source, target = np.nonzero(edges[name])
        distance, count = np.unique(target - source, return_counts=True)
        parts.append(
            pd.DataFrame(
                {
                    "relation": name,
                    "source": ends.source,
                    "target": ends.target,
                    "distance": distance,
                    "tokens": 3 * distance - 1,
                    "edges": count,
                    "share": count / max(count.sum(), 1),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
