"""Programs written by hand or drawn at random, and what they demand, found by obvious loops."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from hypothesis import strategies as st

from circuit.task.vocabulary import Vocabulary

VOCABULARY = Vocabulary(4, 32)


def frame(*texts: str, vocabulary: Vocabulary = VOCABULARY) -> pd.DataFrame:
    """A split of programs given as words, ``<bos>`` and ``<eos>`` left out."""
    return pd.DataFrame(
        {
            "sample_id": [f"s{i}" for i in range(len(texts))],
            "tokens": [vocabulary.ids(f"<bos> {text} <eos>") for text in texts],
        }
    )


@st.composite
def programs(draw) -> str:
    """Any writes and reads in which no key is read before it is written; values may repeat."""
    memory: dict[int, int] = {}
    words = []
    for key, value, reads in draw(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 4), st.booleans()), min_size=1, max_size=14
        )
    ):
        if reads and key in memory:
            words.append(f"R K{key:02d} V{memory[key]:03d}")
        else:
            memory[key] = value
            words.append(f"W K{key:02d} V{value:03d}")
    key, value = next(iter(memory.items()))
    return " ".join([*words, f"R K{key:02d} V{value:03d}"])


def events(text: str) -> list[tuple[str, str, str]]:
    """Words in threes."""
    words = text.split()
    return [tuple(words[i : i + 3]) for i in range(0, len(words), 3)]


def relation(program: list[tuple[str, str, str]], i: int, j: int) -> str | None:
    """How event i bears on event j, in the words of definitions; i comes before j."""
    (op, key, _), (later, other, _) = program[i], program[j]
    between = [k for o, k, _ in program[i + 1 : j] if o == "W"]
    if later == "W":
        return "overwrite" if op == "W" and key == other and key not in between else None
    if key != other:
        return "other_key_write" if op == "W" else "other_key_answer"
    if op == "W":
        return "stale_write" if key in between else "support"
    return "stale_answer" if key in between else "same_answer"


def edges(program: list[tuple[str, str, str]]) -> Iterable[tuple[str, int, int]]:
    """Every pair of events that stands in a relation."""
    for j in range(len(program)):
        for i in range(j):
            name = relation(program, i, j)
            if name:
                yield name, i, j


def read_demands(program: list[tuple[str, str, str]]) -> list[dict[str, float]]:
    """Everything told of each read, by walking through the program."""
    found = []
    active = len({key for op, key, _ in program if op == "W"})
    for j, (op, key, answer) in enumerate(program):
        if op == "W":
            continue
        into = [name for name, _, target in edges(program) if target == j]
        written = [value for o, _, value in program[:j] if o == "W"]
        own = [value for o, k, value in program[:j] if o == "W" and k == key]
        seen = [value for *_, value in program[:j]]
        most = {value for value in seen if seen.count(value) == max(map(seen.count, seen))}
        support = max(i for i in range(j) if program[i][:2] == ("W", key))
        names = ("last", "second_last", "third_last", "fourth_last")
        found.append(
            {
                "active_keys": active,
                "writes_since_support": sum(o == "W" for o, *_ in program[support + 1 : j]),
                "tokens_since_support": 3 * (j - support) - 1,
                "stale_distractors": into.count("stale_write"),
                "other_key_distractors": into.count("other_key_write"),
                "prior_answers": sum(o == "R" for o, *_ in program[:j]),
                "stale_answers": into.count("stale_answer"),
                "answer_shown": "same_answer" in into,
                "first_value_for_key": own[0] == answer,
                "last_value_before_query": seen[-1] == answer,
                "most_frequent_value_before_query": (answer in most) / len(most),
                **{
                    f"{name}_written_value": len(written) > n and written[-n - 1] == answer
                    for n, name in enumerate(names)
                },
                "any_written_value": 1 / len(written),
                "any_current_value": 1 / len({k for o, k, _ in program[:j] if o == "W"}),
                "oracle": own[-1] == answer,
            }
        )
    return found
