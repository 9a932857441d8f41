"""Reads found by going through a program's words, as the tests' independent oracle.

Nothing of the library's own event finding is used: a program is a list of words, three to an event.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from circuit.task.vocabulary import Vocabulary


class Read(NamedTuple):
    """One read: where its program is cut, its answer, its slices, and its roles' positions."""

    program: int
    sample_id: str
    words: list[str]
    prediction: int
    answer: str
    slices: dict[str, int]
    roles: dict[str, set[int]]


def reads_of(programs: pd.DataFrame, vocabulary: Vocabulary) -> Iterator[Read]:
    """Every read of every program, in order."""
    streams = zip(programs["sample_id"], programs["tokens"], strict=True)
    for program, (sample_id, tokens) in enumerate(streams):
        words = [vocabulary.tokens[token] for token in tokens]
        body = [(at, *words[at : at + 3]) for at in range(1, len(words) - 1, 3)]
        active = len({key for _, op, key, _ in body if op == "W"})
        writes: list[tuple[int, str]] = []  # where each write begins, and its key
        answers: list[int] = []
        for at, op, key, value in body:
            if op == "W":
                writes.append((at, key))
                continue
            latest = max(number for number, (_, k) in enumerate(writes) if k == key)
            support = writes[latest][0]
            others = [(w, k) for w, k in writes if w != support]
            yield Read(
                program,
                sample_id,
                words,
                at + 1,
                value,
                {
                    "active_keys": active,
                    "writes_since_support": len(writes) - 1 - latest,
                    "tokens_since_support": at + 1 - (support + 2),
                    "slot_after_write": len(writes),
                },
                {
                    "query_key": {at + 1},
                    "support_op": {support},
                    "support_key": {support + 1},
                    "support_value": {support + 2},
                    "stale_value": {w + 2 for w, k in others if k == key},
                    "value_distractors": {w + 2 for w, _ in others},
                    "key_distractors": {w + 1 for w, _ in others},
                    "prior_answers": set(answers),
                },
            )
            answers.append(at + 2)
