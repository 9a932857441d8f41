"""What each program and each read of a split demands, as two tables of plain numbers.

1. Programs: how many events of each kind, and how many of each relation of the event graph
   (:mod:`circuit.task.relations`).
2. Reads: how far back the answer stands, and what stands beside it that is not the answer.
3. Reads again: whether each shortcut (:mod:`circuit.task.shortcuts`) answers rightly, the chance of
   two blind guesses, and whether a dictionary that follows the stream word by word gives the answer
   that the stream shows (:func:`circuit.task.programs.oracle`; nothing of it is shared with the
   arrays that everything else here stands on).

Beside what the audit checks: the audit asks whether a benchmark is as its rules say, this asks what
a reader of it must be able to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from circuit.task.programs import decode, oracle
from circuit.task.relations import RELATIONS, graph_table, relation_edges, versions
from circuit.task.shortcuts import HEURISTICS, WRITTEN, shortcut_hits, written_hits
from circuit.task.streams import BoolArray, EventGrid, IntArray, event_grid, read_table
from circuit.task.vocabulary import Vocabulary

SHORTCUTS = (*(name for name in HEURISTICS if name not in WRITTEN), *WRITTEN)
GUESSES = ("any_written_value", "any_current_value")
PROGRAM_UNITS: Mapping[str, str] = {
    "active_keys": "keys",
    "writes": "writes",
    "overwrites": "writes",
    "reads": "reads",
    "length": "tokens",
}
READ_UNITS: Mapping[str, str] = {
    "writes_since_support": "writes",
    "tokens_since_support": "tokens",
    "stale_distractors": "writes",
    "other_key_distractors": "writes",
    "prior_answers": "reads",
    "stale_answers": "reads",
    "answer_shown": "share",
}


@dataclass(frozen=True, eq=False)
class Demands:
    """What a split demands.

    Attributes:
        programs: one row per program: the columns of ``PROGRAM_UNITS``, and the number of edges of
            each relation.
        reads: one row per read: ``row`` (its program's number), ``query_key`` and ``answer`` (token
            ids), ``active_keys``, the columns of ``READ_UNITS``, and the accuracies (0 or 1, or a
            chance) in ``SHORTCUTS``, ``GUESSES`` and ``oracle``.
        graph: see :func:`circuit.task.relations.graph_table`.
        written: token ids of key and value of every write, two columns.
    """

    programs: pd.DataFrame
    reads: pd.DataFrame
    graph: pd.DataFrame
    written: pd.DataFrame


def split_demands(frame: pd.DataFrame, vocabulary: Vocabulary) -> Demands:
    """Return what the programs of `frame` (columns ``sample_id`` and ``tokens``) demand.

    Raises:
        BenchmarkError: a stream is malformed, or a read's key was not written before.
    """
    grid = event_grid(frame, vocabulary)
    reads = read_table(frame, vocabulary, grid)
    edges = relation_edges(grid)
    first = grid.is_write & (versions(grid) == 1)
    n_writes, n_reads, n_keys = (part.sum(1) for part in (grid.is_write, grid.is_read, first))
    programs = pd.DataFrame(
        {
            "active_keys": n_keys,
            "writes": n_writes,
            "overwrites": n_writes - n_keys,
            "reads": n_reads,
            "length": 2 + 3 * (n_writes + n_reads),
            **{name: edges[name].sum((1, 2)) for name in RELATIONS},
        }
    )
    table = reads[["row", "query_key", "answer", "active_keys"]].assign(
        **_structure(reads, edges),
        **_shortcuts(grid, reads),
        any_written_value=1 / reads["slot_after_write"],
        any_current_value=1 / np.cumsum(first, axis=1)[reads["row"], reads["event"]],
        oracle=dictionary_answers(frame, vocabulary) == reads["answer"],
    )
    written = {"key": grid.key[grid.is_write], "value": grid.value[grid.is_write]}
    return Demands(programs, table, graph_table(edges), pd.DataFrame(written))


def dictionary_answers(frame: pd.DataFrame, vocabulary: Vocabulary) -> IntArray:
    """Return the answer (token id) that a dictionary gives to each read, program by program.

    Raises:
        BenchmarkError: a stream is malformed, or a read's key was not written before.
    """
    answers = [answer for ids in frame["tokens"] for answer in oracle(decode(ids, vocabulary))]
    return np.asarray(answers, dtype=np.int64) + vocabulary.value_ids.start


def _structure(reads: pd.DataFrame, edges: Mapping[str, BoolArray]) -> dict[str, pd.Series]:
    """The columns of ``READ_UNITS``."""
    row, event = reads["row"].to_numpy(), reads["event"].to_numpy()
    into = {name: pd.Series(edges[name][row, :, event].sum(1)) for name in RELATIONS}
    answers = ("same_answer", "stale_answer", "other_key_answer")
    return {
        "writes_since_support": reads["writes_since_support"],
        "tokens_since_support": reads["tokens_since_support"],
        "stale_distractors": into["stale_write"],
        "other_key_distractors": into["other_key_write"],
        "prior_answers": sum((into[name] for name in answers), start=pd.Series(0, reads.index)),
        "stale_answers": into["stale_answer"],
        "answer_shown": into["same_answer"] > 0,
    }


def _shortcuts(grid: EventGrid, reads: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """The chance of each of ``SHORTCUTS`` to answer each read rightly."""
    hits = {**shortcut_hits(grid, reads), **written_hits(grid, reads)}
    return {name: hits[name] for name in SHORTCUTS}
