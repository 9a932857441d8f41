"""The audit of a benchmark: what must hold for results on it to mean anything.

The audit reads the finished token streams, not the generator's intermediate results:

1. every stream is decoded; damaged ones are refused;
2. no stream, and no latent program, occurs twice, within a split or across splits;
3. held-out pairs are written and answered in ``heldout_pairs`` only, where every write uses one;
4. a dictionary answers every read; stored answers and answers in the stream must agree with it;
5. programs obey the generation rules of their split;
6. a counterfactual differs from its ``test_iid`` source in one write's value and the answers that
   depend on it, at least one;
7. shortcut heuristics score what they may (see :mod:`circuit.task.shortcuts`).

The first violation raises and names the check and the first offending sample. So a report that
exists has passed, and its rows say how clearly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from circuit.config.benchmark import SPLITS, ProgramSettings, Range, SplitName
from circuit.errors import BenchmarkError
from circuit.task.benchmark import Benchmark
from circuit.task.programs import Program, decode, latent_program, oracle, replace_value
from circuit.task.shortcuts import HEURISTICS, shortcut_hits
from circuit.task.streams import EventGrid, event_grid, read_table


@dataclass(frozen=True)
class AuditReport:
    """Rows of a passed audit.

    ``checks`` has the columns check, split ("all" for checks across splits), value, unit
    ("1", a count or an accuracy), bound (how large the value may be; NaN where there is none) and
    items (what was counted or averaged over: programs, writes or reads).
    """

    checks: pd.DataFrame

    def value(self, check: str, split: str = "all") -> float:
        """Return the value of one check; KeyError when there is no such row."""
        rows = self.checks[(self.checks["check"] == check) & (self.checks["split"] == split)]
        if len(rows) != 1:
            raise KeyError((check, split))
        return float(rows["value"].iloc[0])


@dataclass(frozen=True)
class _Split:
    """A split, decoded once for all checks."""

    name: SplitName
    frame: pd.DataFrame
    grid: EventGrid
    reads: pd.DataFrame
    programs: list[Program]

    @classmethod
    def of(cls, name: SplitName, benchmark: Benchmark) -> _Split:
        """Decode a split; a malformed stream raises and is named."""
        frame, vocabulary = benchmark.splits[name], benchmark.vocabulary
        grid = event_grid(frame, vocabulary)
        reads = read_table(frame, vocabulary, grid)
        return cls(name, frame, grid, reads, [decode(ids, vocabulary) for ids in frame["tokens"]])

    def __iter__(self) -> Iterator[tuple[str, Program]]:
        return zip(self.frame["sample_id"], self.programs, strict=True)


def audit(benchmark: Benchmark) -> AuditReport:
    """Check a benchmark and return what was measured.

    Raises:
        BenchmarkError: a check is violated; the message names it and the first offending sample.
    """
    splits = [_Split.of(name, benchmark) for name in SPLITS]
    rows = [
        _no_overlap("exact_sequence_overlap", splits, lambda program: program),
        _no_overlap("latent_program_overlap", splits, latent_program),
        *(_heldout_pairs(split, benchmark) for split in splits),
        *(_oracle_answers(split, benchmark) for split in splits),
        *(_program_rules(split, benchmark.settings.rules(split.name)) for split in splits),
        _counterfactual_sources(splits),
    ]
    for split in splits:
        rows += _shortcuts(split, benchmark)
    columns = ("check", "split", "value", "unit", "bound", "items")
    return AuditReport(pd.DataFrame(rows, columns=columns).astype({"bound": "float64"}))


Row = tuple[str, str, float, str, float | None, int]


def _violated(check: str, sample: str, what: str, expected: str) -> BenchmarkError:
    return BenchmarkError(
        f"audit check {check} is violated: {what}",
        where=f"sample {sample}",
        expected=expected,
        do="regenerate the benchmark; if it stays, its settings or the generator are at fault",
    )


def _no_overlap(check: str, splits: list[_Split], key: Callable[[Program], Any]) -> Row:
    """No two programs have the same `key`."""
    first: dict[Any, str] = {}
    for split in splits:
        for sample, program in split:
            other = first.setdefault(key(program), sample)
            if other != sample:
                raise _violated(check, sample, f"the same as {other}", "0 repeated programs")
    return check, "all", 0.0, "1", 0.0, len(first)


def _heldout_pairs(split: _Split, benchmark: Benchmark) -> Row:
    """Held-out pairs occur in their split only, where every write uses one."""
    heldout = set(benchmark.heldout_pairs)
    inside = split.name == "heldout_pairs"
    check = "writes_of_other_pairs" if inside else "heldout_pairs_outside_split"
    events = 0
    for sample, program in split:
        events += len(program)
        for event in program:
            if ((event.key, event.value) in heldout) != inside:
                raise _violated(
                    check,
                    sample,
                    f"{event.op} of key {event.key}, value {event.value}",
                    "held-out pairs only" if inside else "no held-out pair",
                )
    return check, split.name, 0.0, "1", 0.0, events


def _oracle_answers(split: _Split, benchmark: Benchmark) -> Row:
    """Stored answers, and the answers in the stream, are the dictionary's."""
    reads = 0
    offset = benchmark.vocabulary.value_ids.start
    for (sample, program), stored in zip(split, split.frame["answers"], strict=True):
        right = oracle(program)
        reads += len(right)
        streamed = [event.value for event in program if event.op == "R"]
        if right != streamed or right != [int(answer) - offset for answer in stored]:
            raise _violated(
                "oracle_disagreement",
                sample,
                f"answers are {streamed}, stored as {[int(a) - offset for a in stored]}",
                f"the latest written values {right}",
            )
    return "oracle_disagreement", split.name, 0.0, "1", 0.0, reads


def _program_rules(split: _Split, rules: ProgramSettings) -> Row:
    """Every program obeys the rules of generation."""
    for sample, program in split:
        broken = broken_rule(program, rules)
        if broken:
            raise _violated("program_rules", sample, broken, "the generation rules of its split")
    return "program_rules", split.name, 0.0, "1", 0.0, len(split.programs)


def broken_rule(program: Program, rules: ProgramSettings) -> str | None:
    """Return what a program breaks of `rules`, in words, or None when it obeys them all."""
    writes = [event for event in program if event.op == "W"]
    n_active = len({event.key for event in writes})
    counts: dict[str, tuple[int, Range]] = {
        "active keys": (n_active, rules.active_keys),
        "overwrites": (len(writes) - n_active, rules.overwrites),
        "reads": (len(program) - len(writes), rules.reads),
    }
    for name, (count, allowed) in counts.items():
        if not allowed.lo <= count <= allowed.hi:
            return f"{count} {name}, not {allowed}"
    if len({event.value for event in writes}) < len(writes):
        return "a value is written twice"

    times = {event.key: 0 for event in writes}  # writes so far, per key
    latest: dict[int, int] = {}
    asked: set[tuple[int, int]] = set()
    slot = -1
    for number, event in enumerate(program):
        if event.op == "W":
            slot += 1
            if latest.get(event.key) == slot - 1:
                return f"event {number} writes the key that was just written"
            if times[event.key] > min(times.values()):
                return f"event {number} overwrites a key that is not least overwritten"
            times[event.key] += 1
            latest[event.key] = slot
            continue
        lag = slot - latest.get(event.key, slot)
        if times.get(event.key, 0) < 2:
            return f"event {number} reads a key before its first overwrite"
        if not rules.query_lag.lo <= lag <= rules.query_lag.hi:
            return f"event {number} reads at query lag {lag}, not {rules.query_lag}"
        if (slot, event.key) in asked:
            return f"event {number} repeats a read of its slot"
        asked.add((slot, event.key))
    return None


def _counterfactual_sources(splits: list[_Split]) -> Row:
    """Every counterfactual is its source with one supporting write's value replaced."""
    check = "counterfactual_sources"
    by_name = {split.name: split for split in splits}
    sources = dict(by_name["test_iid"])
    twins = by_name["counterfactual"]
    columns = (twins.frame["source_id"], twins.frame["changed_write"], twins)
    for source_id, number, (sample, program) in zip(*columns, strict=True):
        if source_id not in sources:
            raise _violated(check, sample, f"source {source_id!r} is missing", "a test_iid sample")
        source = sources[source_id]
        old, new = (
            next(iter([event.value for event in one if event.op == "W"][number:]), None)
            for one in (source, program)
        )
        if old is None or new is None or replace_value(source, old, new) != program:
            raise _violated(
                check,
                sample,
                f"it differs from {source_id} elsewhere",
                f"a new write {number} only",
            )
        if old == new or oracle(source) == oracle(program):
            raise _violated(check, sample, "no answer changed", f"answers unlike {source_id}'s")
    return check, "counterfactual", 0.0, "1", 0.0, len(twins.programs)


def _shortcuts(split: _Split, benchmark: Benchmark) -> list[Row]:
    """Accuracy of every shortcut heuristic, against its bound."""
    bounds: dict[str, float | None] = {
        "first_value_for_key": 0.0,
        "last_value_before_query": 0.0,
        "most_frequent_value_before_query": benchmark.settings.frequency_ceiling,
        "second_last_written_value": None,
    }
    rows: list[Row] = []
    hits = shortcut_hits(split.grid, split.reads)
    for name in HEURISTICS:
        accuracy, bound = float(hits[name].mean()), bounds[name]
        # The rules make the first two exactly 0; the ceiling itself is already too much.
        if bound is not None and (accuracy > 0 if bound == 0 else accuracy >= bound):
            raise _violated(
                name,
                split.reads["sample_id"].iloc[int(hits[name].argmax())],
                f"accuracy {accuracy:.4f} on {split.name}",
                "exactly 0" if bound == 0 else f"below frequency_ceiling = {bound:g}",
            )
        rows.append((name, split.name, accuracy, "1", bound, len(split.reads)))
    return rows
