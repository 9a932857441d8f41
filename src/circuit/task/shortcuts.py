"""Shortcut heuristics: what a reader that does not look up keys would score on a benchmark.

Each heuristic names an earlier event per read, and predicts that event's value:

    first_value_for_key                 the first write to the queried key
    last_value_before_query             the last event, be it a write or an answered read
    most_frequent_value_before_query    the value seen most often (writes and answers alike);
                                        of equally frequent ones any, each with the same chance
    second_last_written_value           the write before the last write

The first two are exactly 0 by the rules of generation. The last has no bound: with two active
keys and a query lag of 1 it is always right, which a benchmark's reader should know. It is one of
a family, :data:`WRITTEN`: the values written 1, 2, 3 and 4 writes ago.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from circuit.task.streams import BoolArray, EventGrid, FloatArray, IntArray

HEURISTICS = (
    "first_value_for_key",
    "last_value_before_query",
    "most_frequent_value_before_query",
    "second_last_written_value",
)
WRITTEN = (
    "last_written_value",
    "second_last_written_value",
    "third_last_written_value",
    "fourth_last_written_value",
)
"""The value written n writes ago, for n = 1, 2, …: what a reader gets that counts writes."""


def shortcut_hits(grid: EventGrid, reads: pd.DataFrame) -> dict[str, FloatArray]:
    """Return, per heuristic, its chance to answer each read rightly: 0 or 1 but for ties.

    Args:
        grid: events [N, E] of a split's programs.
        reads: the read table of the same programs, R rows.
    """
    row, event = reads["row"].to_numpy(), reads["event"].to_numpy()
    before = np.arange(grid.key.shape[1]) < event[:, None]
    value = np.where(before, grid.value[row], -1)
    writes = grid.is_write[row] & before
    own = writes & (grid.key[row] == reads["query_key"].to_numpy()[:, None])
    choices = {
        "first_value_for_key": own.argmax(1),
        "last_value_before_query": event - 1,
    }
    answer = reads["answer"].to_numpy()
    rows = np.arange(len(row))
    hits = {name: value[rows, choice] == answer for name, choice in choices.items()}
    hits["most_frequent_value_before_query"] = _most_frequent(value, before, answer)
    name = "second_last_written_value"
    hits[name] = written_hits(grid, reads)[name]
    return {name: hits[name].astype(np.float64) for name in HEURISTICS}


def written_hits(grid: EventGrid, reads: pd.DataFrame) -> dict[str, BoolArray]:
    """Return, for each of ``WRITTEN``, whether it answers each read rightly.

    Where fewer values were written than it counts back, it does not.

    Args:
        grid: events [N, E] of a split's programs.
        reads: the read table of the same programs, R rows.
    """
    row, event = reads["row"].to_numpy(), reads["event"].to_numpy()
    writes = grid.is_write[row] & (np.arange(grid.key.shape[1]) < event[:, None])
    right = writes & (grid.value[row] == reads["answer"].to_numpy()[:, None])
    # 1 at the last write before the read, 2 at the one before, ...
    ago = writes.sum(1, keepdims=True) - np.cumsum(writes, axis=1) + 1
    return {name: (right & (ago == n)).any(1) for n, name in enumerate(WRITTEN, start=1)}


def _most_frequent(value: IntArray, before: BoolArray, answer: IntArray) -> FloatArray:
    """Return the chance that one of the values seen most often is the answer, for every read."""
    n_events = value.shape[1]
    count = sum((value == value[:, [e]]) & before[:, [e]] for e in range(n_events)) * before
    most = before & (count == count.max(1, keepdims=True))
    # A value seen `count` times stands at as many events, so each adds its part of one value.
    tied = (most / np.maximum(count, 1)).sum(1)
    chance: FloatArray = (most & (value == answer[:, None])).any(1) / tied
    return chance
