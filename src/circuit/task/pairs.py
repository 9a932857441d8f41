"""Minimal clean/corrupted pairs: two programs cut at one read that differ in one thing.

| kind            | corruption                                              | answer          |
|-----------------|---------------------------------------------------------|-----------------|
| `support_value` | the support write gets an unused value                  | that value      |
| `query_key`     | the read asks for another active key                    | that key's      |
| `recency`       | the support write and the one before it, of the same    | the stale value |
|                 | key, swap values                                        |                 |
| `distractor`    | a write to another key gets an unused value             | unchanged       |

1. All reads of the configured split are visited in a random order of their own for each kind.
2. A read is skipped, and the reason counted, when an earlier read already answered with a value
   that the corruption changes (the stream before the cut would contradict itself), or when no
   unused value is left. For `distractor` a write that was not exposed is looked for first.
   `query_key` changes no write, so nothing exposes it.
3. A program gives at most one pair per kind, so pairs of a kind are independent.

Both members are streams up to and including the read's key token, equally long. New values obey
the rules of the split: unused in the whole program, and held out or not as the split demands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from circuit.config.benchmark import PairKind
from circuit.errors import BenchmarkError
from circuit.task.benchmark import Benchmark, allowed_values
from circuit.task.draws import Draws
from circuit.task.programs import Program, decode, encode, oracle
from circuit.task.vocabulary import Vocabulary

EXPOSED = "exposed_by_earlier_read"
NO_VALUE = "no_unused_value"
REASONS = (EXPOSED, NO_VALUE)


class PairSet(NamedTuple):
    """Pairs, and how many reads were skipped for which reason.

    ``pairs`` has the columns kind, split, sample_id, read_index, prediction (position),
    clean_answer, corrupted_answer (ids), changed_positions, clean_tokens and corrupted_tokens
    (ids up to the prediction position). ``skipped`` has the columns kind, reason and count, one
    row for every kind and reason, also where the count is 0.
    """

    pairs: pd.DataFrame
    skipped: pd.DataFrame


class _Cut(NamedTuple):
    """A program cut at one of its reads: the events before it, and the read as its last one."""

    events: Program
    free: Mapping[int, Sequence[int]]  # for every key, values the whole program does not use

    @property
    def key(self) -> int:
        return self.events[-1].key

    def writes(self, own: bool) -> list[int]:
        """Return the event numbers of writes to the queried key, or to all others."""
        events = enumerate(self.events)
        return [n for n, event in events if event.op == "W" and (event.key == self.key) == own]

    def exposed(self, number: int) -> bool:
        """Whether an earlier read answered with the value that event `number` wrote."""
        value = self.events[number].value
        return any(event.op == "R" and event.value == value for event in self.events[:-1])

    def with_values(self, values: Mapping[int, int]) -> Program:
        """Return the events with new values at some event numbers."""
        return tuple(
            event._replace(value=values.get(n, event.value)) for n, event in enumerate(self.events)
        )


def _support_value(draws: Draws, cut: _Cut) -> Program | str:
    support = cut.writes(own=True)[-1]
    if cut.exposed(support):
        return EXPOSED
    return _revalued(draws, cut, support)


def _query_key(draws: Draws, cut: _Cut) -> Program | str:
    others = sorted({cut.events[number].key for number in cut.writes(own=False)})
    return (*cut.events[:-1], cut.events[-1]._replace(key=draws.choice(others)))


def _recency(draws: Draws, cut: _Cut) -> Program | str:
    stale, latest = cut.writes(own=True)[-2:]
    if cut.exposed(stale) or cut.exposed(latest):
        return EXPOSED
    return cut.with_values({stale: cut.events[latest].value, latest: cut.events[stale].value})


def _distractor(draws: Draws, cut: _Cut) -> Program | str:
    hidden = [number for number in cut.writes(own=False) if not cut.exposed(number)]
    return _revalued(draws, cut, draws.choice(hidden)) if hidden else EXPOSED


def _revalued(draws: Draws, cut: _Cut, number: int) -> Program | str:
    """Return the cut program with an unused value at write `number`."""
    free = cut.free[cut.events[number].key]
    return cut.with_values({number: draws.choice(free)}) if free else NO_VALUE


_CORRUPTIONS: dict[PairKind, Callable[[Draws, _Cut], Program | str]] = {
    "support_value": _support_value,
    "query_key": _query_key,
    "recency": _recency,
    "distractor": _distractor,
}
PAIR_KINDS: tuple[PairKind, ...] = tuple(_CORRUPTIONS)


def build_pairs(benchmark: Benchmark) -> PairSet:
    """Build the pairs of every kind, as the benchmark's settings say.

    A kind comes out smaller than asked for when the split has too few reads that allow it;
    ``skipped`` then shows why.

    Raises:
        BenchmarkError: not a single pair of a kind can be built.
    """
    settings = benchmark.settings.pairs
    frame = benchmark.splits[settings.split]
    programs = [decode(ids, benchmark.vocabulary) for ids in frame["tokens"]]
    allowed = allowed_values(benchmark.settings, benchmark.heldout_pairs, settings.split)
    rows: list[dict[str, object]] = []
    skipped: list[tuple[str, str, int]] = []
    for kind, corrupt in _CORRUPTIONS.items():
        counts = Counter(dict.fromkeys(REASONS, 0))
        built: dict[int, dict[str, object]] = {}
        draws = Draws(settings.seed, "pairs", settings.split, kind)
        for number, read in draws.shuffled(_reads(programs)):
            if len(built) == settings.pairs_per_kind:
                break
            if number in built:
                continue
            cut = _cut(programs[number], read, allowed)
            corrupted = corrupt(draws, cut)
            if isinstance(corrupted, str):
                counts[corrupted] += 1
                continue
            built[number] = {
                "kind": kind,
                "split": settings.split,
                "sample_id": frame["sample_id"].iloc[number],
                **_row(cut.events, corrupted, benchmark.vocabulary),
            }
        if not built:
            raise BenchmarkError(
                f"no pair of kind {kind} can be built from split {settings.split}",
                where="pairs.split",
                expected="a split with a read that allows it; skipped were "
                + ", ".join(f"{count} ({reason})" for reason, count in counts.items()),
                do="choose another pairs.split, or raise its samples or n_values",
            )
        rows += built.values()
        skipped += [(kind, reason, counts[reason]) for reason in REASONS]
    return PairSet(pd.DataFrame(rows), pd.DataFrame(skipped, columns=["kind", "reason", "count"]))


def _reads(programs: Sequence[Program]) -> list[tuple[int, int]]:
    """Return (program, event number) of every read."""
    return [
        (number, n)
        for number, program in enumerate(programs)
        for n, event in enumerate(program)
        if event.op == "R"
    ]


def _cut(program: Program, read: int, allowed: Mapping[int, Sequence[int]]) -> _Cut:
    """Return `program` cut at event number `read`."""
    used = {event.value for event in program}
    free = {key: [value for value in allowed[key] if value not in used] for key in allowed}
    return _Cut(program[: read + 1], free)


def _row(
    clean: Program,
    corrupted: Program,
    vocabulary: Vocabulary,
) -> dict[str, object]:
    """Return what a pair's row says of its programs; the answers are the dictionary's."""
    tokens = [
        np.array(encode(program, vocabulary)[:-2], dtype=np.int32) for program in (clean, corrupted)
    ]
    answers = [vocabulary.value_id(oracle(program)[-1]) for program in (clean, corrupted)]
    return {
        "read_index": sum(event.op == "R" for event in clean) - 1,
        "prediction": len(tokens[0]) - 1,
        "clean_answer": answers[0],
        "corrupted_answer": answers[1],
        "changed_positions": np.flatnonzero(tokens[0] != tokens[1]).astype(np.int32),
        "clean_tokens": tokens[0],
        "corrupted_tokens": tokens[1],
    }
