"""Streams as arrays: the grid of events of many programs, and the table of their reads.

1. Every event takes three tokens, and event e starts at position 1 + 3e, after ``<bos>``. So a
   padded token matrix, without its first column and cut into threes, is a grid [N, E] of events.
2. Going through the grid event by event, with the latest write of every key at hand, finds the
   support write of every read of every program at once.

Positions are token positions in the stream, from 0 for ``<bos>``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from circuit.errors import BenchmarkError
from circuit.task.vocabulary import BOS, EOS, PAD, READ, WRITE, Vocabulary

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

SLICES = ("active_keys", "writes_since_support", "tokens_since_support", "slot_after_write")


class EventGrid(NamedTuple):
    """Events of N programs, right-padded to E events; arrays [N, E].

    ``is_write`` and ``is_read`` are both False on padding; ``key`` and ``value`` are token ids
    (an answer is the value of its read), ``PAD`` on padding.
    """

    is_write: BoolArray
    is_read: BoolArray
    key: IntArray
    value: IntArray


def padded_tokens(frame: pd.DataFrame) -> tuple[IntArray, IntArray]:
    """Return the ``tokens`` column as a matrix [N, T], right-padded, and the lengths [N].

    T is the length of the longest stream of `frame`.
    """
    streams = frame["tokens"].to_list()
    lengths = np.fromiter((len(stream) for stream in streams), np.int64, len(streams))
    matrix = np.full((len(streams), int(lengths.max(initial=0))), PAD, dtype=np.int64)
    if len(streams):
        matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = np.concatenate(streams)
    return matrix, lengths


def event_grid(frame: pd.DataFrame, vocabulary: Vocabulary) -> EventGrid:
    """Return the events of every program of `frame` (columns ``sample_id`` and ``tokens``).

    Raises:
        BenchmarkError: tokens are not a whole stream of this vocabulary; the first sample is named.
    """
    tokens, lengths = padded_tokens(frame)
    n_events = max(0, (tokens.shape[1] - 2) // 3)
    body = tokens[:, 1 : 1 + 3 * n_events].reshape(len(tokens), n_events, 3)
    inside = np.arange(n_events) < (lengths[:, None] - 2) // 3
    op, key, value = (np.where(inside, body[:, :, part], PAD) for part in range(3))
    grid = EventGrid(op == WRITE, op == READ, key, value)

    rows = np.arange(len(tokens))
    whole = (lengths >= 2) & (lengths % 3 == 2)
    whole &= (tokens[:, :1] == BOS).all(1)
    whole &= tokens[rows, np.maximum(lengths, 1) - 1] == EOS
    event_like = (
        (grid.is_write | grid.is_read)
        & (key >= vocabulary.key_ids.start)
        & (key < vocabulary.key_ids.stop)
        & (value >= vocabulary.value_ids.start)
        & (value < vocabulary.value_ids.stop)
    )
    whole &= (event_like | ~inside).all(1)
    if not whole.all():
        sample = frame["sample_id"].iloc[int(np.argmin(whole))]
        raise BenchmarkError(
            "tokens are not a whole stream",
            where=f"sample {sample}",
            expected="<bos>, events `W key value` or `R key value`, <eos>",
            do="regenerate the benchmark, or check which vocabulary the tokens belong to",
        )
    return grid


def read_table(
    frame: pd.DataFrame, vocabulary: Vocabulary, grid: EventGrid | None = None
) -> pd.DataFrame:
    """Return one row per read of every program, in order of programs and reads.

    Args:
        frame: programs with columns ``sample_id`` and ``tokens``.
        vocabulary: the token ids.
        grid: ``event_grid(frame, vocabulary)`` where it is at hand.

    Columns (positions in tokens; ids are token ids):
        row: number of the program's row in `frame`, from 0.
        sample_id, read_index: the program, and the read's number in it, from 0.
        event, support_event: numbers of the read's and of its support write's event, from 0.
        query_key, answer: ids of the read's key and value.
        prediction: position of the read's key token, where the answer is predicted.
        support_op, support_key, support_value: positions of the support write's tokens.
        active_keys: keys that the program writes.
        writes_since_support: writes after the support write and before the read.
        tokens_since_support: ``prediction`` − ``support_value``.
        slot_after_write: writes before the read; the read stands in the slot after that write.

    Raises:
        BenchmarkError: a stream is malformed, or a read's key was not written before.
    """
    if grid is None:
        grid = event_grid(frame, vocabulary)
    n, n_events = grid.key.shape
    key = np.clip(grid.key - vocabulary.key_ids.start, 0, None)
    latest = np.full((n, vocabulary.n_keys), -1, dtype=np.int64)
    support = np.full((n, n_events), -1, dtype=np.int64)
    for number in range(n_events):
        support[:, number] = latest[np.arange(n), key[:, number]]
        writing = np.flatnonzero(grid.is_write[:, number])
        latest[writing, key[writing, number]] = number

    row, event = np.nonzero(grid.is_read)
    support_event = support[row, event]
    sample = frame["sample_id"].to_numpy(dtype=object)
    if (support_event < 0).any():
        first = int(np.argmin(support_event))
        raise BenchmarkError(
            f"event {event[first]} reads a key that was not written before",
            where=f"sample {sample[row[first]]}",
            expected="a write to the key before its first read",
            do="regenerate the benchmark",
        )
    writes_until = np.cumsum(grid.is_write, axis=1)
    prediction, support_op = 3 * event + 2, 3 * support_event + 1
    return pd.DataFrame(
        {
            "row": row,
            "sample_id": sample[row],
            "read_index": np.cumsum(grid.is_read, axis=1)[row, event] - 1,
            "event": event,
            "support_event": support_event,
            "query_key": grid.key[row, event],
            "answer": grid.value[row, event],
            "prediction": prediction,
            "support_op": support_op,
            "support_key": support_op + 1,
            "support_value": support_op + 2,
            "active_keys": (latest >= 0).sum(1)[row],
            "writes_since_support": writes_until[row, event] - writes_until[row, support_event],
            "tokens_since_support": prediction - (support_op + 2),
            "slot_after_write": writes_until[row, event],
        }
    )
