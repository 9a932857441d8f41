"""Which key is written, and answered, with which value: a matrix per split, and their overlaps.

1. Every (key, value) pair of the world has two counts in a split: writes that use it, and reads
   that are answered with it.
2. Two splits *overlap* in the pairs that occur in both. Of a split's pairs, and of its events, a
   share is also found in the other split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from circuit.task.demands import Demands
from circuit.task.streams import IntArray
from circuit.task.vocabulary import Vocabulary

PAIR_UNITS = {"key": "id", "value": "id", "writes": "1", "answers": "1"}
OVERLAP_UNITS = {
    "pairs": "pairs",
    "shared": "pairs",
    "jaccard": "share",
    "share_of_pairs": "share",
    "share_of_events": "share",
    "events": "1",
}


def pair_matrix(key: Iterable[int], value: Iterable[int], vocabulary: Vocabulary) -> IntArray:
    """Return how often each key comes with each value, [n_keys, n_values], for token ids."""
    counts = np.zeros((vocabulary.n_keys, vocabulary.n_values), dtype=np.int64)
    rows = np.asarray(key) - vocabulary.key_ids.start
    np.add.at(counts, (rows, np.asarray(value) - vocabulary.value_ids.start), 1)
    return counts


def answer_matrix(reads: pd.DataFrame, vocabulary: Vocabulary) -> IntArray:
    """Return how many of some reads each (key, value) pair answers, [n_keys, n_values]."""
    return pair_matrix(reads["query_key"], reads["answer"], vocabulary)


def pair_table(
    demands: Mapping[str, Demands], vocabulary: Vocabulary, heldout: Iterable[tuple[int, int]]
) -> pd.DataFrame:
    """Return the counts of every pair of the world in every split.

    Columns: split, key and value (indices from 0), heldout (bool), writes, answers.
    """
    key, value = np.indices((vocabulary.n_keys, vocabulary.n_values)).reshape(2, -1)
    out = np.zeros((vocabulary.n_keys, vocabulary.n_values), dtype=np.bool_)
    for pair in heldout:
        out[pair] = True
    parts = [
        pd.DataFrame(
            {
                "split": split,
                "key": key,
                "value": value,
                "heldout": out.ravel(),
                "writes": pair_matrix(d.written["key"], d.written["value"], vocabulary).ravel(),
                "answers": answer_matrix(d.reads, vocabulary).ravel(),
            }
        )
        for split, d in demands.items()
    ]
    return pd.concat(parts, ignore_index=True)


def overlap_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return how the pairs of each split overlap with those of each split, itself included.

    Columns: split, other, of (``answers`` or ``writes``), pairs (different ones in `split`),
    shared (of them, in `other` too), jaccard (shared among the pairs of either), share_of_pairs
    (shared / pairs), share_of_events (answers or writes of `split` whose pair `other` has), events
    (answers or writes of `split`).
    """
    rows = []
    for of in ("answers", "writes"):
        counts = {name: part[of].to_numpy() for name, part in pairs.groupby("split", sort=False)}
        for split, mine in counts.items():
            for other, theirs in counts.items():
                shared = int(((mine > 0) & (theirs > 0)).sum())
                either = int(((mine > 0) | (theirs > 0)).sum())
                own, events = int((mine > 0).sum()), int(mine.sum())
                known = float(mine[theirs > 0].sum()) / events
                rows.append(
                    (split, other, of, own, shared, shared / either, shared / own, known, events)
                )
    return pd.DataFrame(rows, columns=["split", "other", "of", *OVERLAP_UNITS])
