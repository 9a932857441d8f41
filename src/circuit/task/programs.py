"""Programs: lists of write and read events, the rules they are drawn by, and their oracle.

A program is drawn in six steps:

1. numbers of active keys, overwrites and reads, each uniform on its range, and the active keys;
2. the order of writes: all active keys in random order, then round after round of overwrites,
   where the least overwritten key comes next, ties at random, never the key just written;
3. the *places*, pairs (slot, key), at which a read is allowed: in the slot after write number s,
   a key whose latest write is an overwrite (not its first write) and lies ``query_lag`` writes
   back. An order with fewer places than the program has reads is drawn again (step 2);
4. that many places, drawn without replacement; reads of one slot stand in the order drawn;
5. a value for each write, uniform on the values that its key may take and the program has not
   used;
6. the events in order; a read's value, its answer, is that of its key's latest write.

Keys and values are indices from 0 here, events are tuples, and nothing knows of token ids but
:func:`encode` and :func:`decode`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from circuit.config.benchmark import ProgramSettings, Range
from circuit.errors import BenchmarkError
from circuit.task.draws import Draws
from circuit.task.vocabulary import BOS, EOS, READ, WRITE, Vocabulary

MAX_ORDERS = 5000
MAX_ASSIGNMENTS = 200


class Event(NamedTuple):
    """``W key value`` or ``R key value``; the value of a read is its answer."""

    op: Literal["W", "R"]
    key: int
    value: int


Program = tuple[Event, ...]


def draw_program(
    draws: Draws,
    rules: ProgramSettings,
    allowed: Mapping[int, Sequence[int]],
    where: str,
) -> Program:
    """Draw one program.

    Args:
        draws: where chance comes from.
        rules: ranges of keys, overwrites, reads and query lag.
        allowed: for every key of the world, the values it may be written with.
        where: the split, for the error message.

    Raises:
        BenchmarkError: no order of writes with enough places, or no distinct values, was found.
    """
    n_active = draws.between(*rules.active_keys)
    overwrites = draws.between(*rules.overwrites)
    reads = draws.between(*rules.reads)
    keys = draws.sample(sorted(allowed), n_active)
    for _ in range(MAX_ORDERS):
        order = write_order(draws, keys, overwrites)
        places = read_places(order, n_active, rules.query_lag)
        if len(places) >= reads:
            break
    else:
        raise BenchmarkError(
            f"no order of {n_active} keys and {overwrites} overwrites with {reads} places for "
            f"reads at query lag {rules.query_lag} in {MAX_ORDERS} tries",
            where=where,
            expected="orders with enough places to be common",
            do=f"lower {where}.reads, raise {where}.overwrites or widen {where}.query_lag",
        )
    chosen = sorted(draws.sample(places, reads), key=lambda place: place[0])
    values = _draw_values(draws, order, allowed, where)
    return _events(order, values, chosen)


def write_order(draws: Draws, keys: Sequence[int], overwrites: int) -> list[int]:
    """Return the key of every write: each of `keys` once, then `overwrites` overwrites (step 2)."""
    order = draws.shuffled(keys)
    overwritten = dict.fromkeys(keys, 0)
    for _ in range(overwrites):
        # The key just written is the least overwritten one only together with others, so the
        # minimum is the same with and without it.
        least = min(overwritten.values())
        ties = [key for key in keys if overwritten[key] == least and key != order[-1]]
        key = draws.choice(ties)
        overwritten[key] += 1
        order.append(key)
    return order


def read_places(order: Sequence[int], n_active: int, query_lag: Range) -> list[tuple[int, int]]:
    """Return the (slot, key) places where a read is allowed, ascending (step 3).

    Args:
        order: the key of every write; the first `n_active` are first writes.
        n_active: number of active keys.
        query_lag: allowed number of writes between the support write and the read.
    """
    places: list[tuple[int, int]] = []
    for slot in range(n_active, len(order)):
        seen: set[int] = set()
        oldest = max(n_active, slot - query_lag.hi)
        for write in range(slot, oldest - 1, -1):
            key = order[write]
            if key not in seen and slot - write >= query_lag.lo:
                places.append((slot, key))
            seen.add(key)
    return places


def _draw_values(
    draws: Draws, order: Sequence[int], allowed: Mapping[int, Sequence[int]], where: str
) -> list[int]:
    """Return a value for every write, all different (step 5).

    Settings guarantee more values than writes except in ``heldout_pairs``, where keys may compete
    for the values they share; a dead end there starts the assignment afresh.
    """
    for _ in range(MAX_ASSIGNMENTS):
        values: list[int] = []
        for key in order:
            free = [value for value in allowed[key] if value not in values]
            if not free:
                break
            values.append(draws.choice(free))
        else:
            return values
    raise BenchmarkError(
        f"no distinct values for the {len(order)} writes to keys {sorted(set(order))} in "
        f"{MAX_ASSIGNMENTS} tries",
        where=where,
        expected="enough different values among those the keys may take",
        do="change heldout_pair_fraction, raise n_values or lower the number of overwrites",
    )


def _events(
    order: Sequence[int], values: Sequence[int], chosen: Sequence[tuple[int, int]]
) -> Program:
    """Return writes and reads in the order of the stream (step 6)."""
    events: list[Event] = []
    latest: dict[int, int] = {}
    reads = iter([*chosen, (len(order), -1)])
    slot, asked = next(reads)
    for write, (key, value) in enumerate(zip(order, values, strict=True)):
        latest[key] = value
        events.append(Event("W", key, value))
        while slot == write:
            events.append(Event("R", asked, latest[asked]))
            slot, asked = next(reads)
    return tuple(events)


def oracle(events: Iterable[Event]) -> list[int]:
    """Return the answer of every read: the value of the latest earlier write to its key.

    Raises:
        BenchmarkError: a read asks for a key that was not written before.
    """
    memory: dict[int, int] = {}
    answers: list[int] = []
    for number, event in enumerate(events):
        if event.op == "W":
            memory[event.key] = event.value
        elif event.key in memory:
            answers.append(memory[event.key])
        else:
            raise BenchmarkError(
                f"event {number} reads key {event.key}, which was not written before",
                expected="a write to the key before its first read",
                do="correct the program",
            )
    return answers


def latent_program(events: Iterable[Event]) -> tuple[tuple[int, int], ...]:
    """Return what a program is under its surface: its writes, keys renamed 0, 1, … as they appear.

    The writes are the world's hidden state; reads only look at it. So two programs with the same
    latent program differ at most in the names of their keys and in what is asked. Values keep
    their names: with both renamed, a program of two keys would be one of a handful of shapes, and
    no two splits could differ.
    """
    names: dict[int, int] = {}
    return tuple(
        (names.setdefault(event.key, len(names)), event.value)
        for event in events
        if event.op == "W"
    )


def replace_value(program: Program, old: int, new: int) -> Program:
    """Return `program` with value `old` replaced wherever it is written or answered.

    Values differ between writes, so this changes one write and the answers that depend on it.
    """
    return tuple(event._replace(value=new) if event.value == old else event for event in program)


def encode(events: Iterable[Event], vocabulary: Vocabulary) -> list[int]:
    """Return the stream of a program: ``<bos>``, three token ids per event, ``<eos>``."""
    ids = [BOS]
    for event in events:
        ids += (
            WRITE if event.op == "W" else READ,
            vocabulary.key_id(event.key),
            vocabulary.value_id(event.value),
        )
    return [*ids, EOS]


def decode(ids: Sequence[int], vocabulary: Vocabulary) -> Program:
    """Return the program of a stream, the inverse of :func:`encode`.

    Raises:
        BenchmarkError: the ids are not a whole stream.
    """
    whole = len(ids) >= 2 and len(ids) % 3 == 2 and ids[0] == BOS and ids[-1] == EOS
    events: list[Event] = []
    for start in range(1, len(ids) - 1, 3) if whole else ():
        op, key, value = (int(token) for token in ids[start : start + 3])
        whole &= op in (WRITE, READ) and key in vocabulary.key_ids and value in vocabulary.value_ids
        if not whole:
            break
        events.append(
            Event(
                "W" if op == WRITE else "R",
                key - vocabulary.key_ids.start,
                value - vocabulary.value_ids.start,
            )
        )
    if not whole:
        raise BenchmarkError(
            f"token ids are not a whole stream: {[int(token) for token in ids]}",
            expected="<bos>, events `W key value` or `R key value`, <eos>",
            do="regenerate the benchmark, or check which vocabulary the ids belong to",
        )
    return tuple(events)
