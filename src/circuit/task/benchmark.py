"""A whole benchmark: six splits of distinct programs and the pairs that are held out.

1. Held-out (key, value) pairs are chosen so that every key has the same number of them, and every
   value too, up to one.
2. Splits are generated in the order of ``SPLITS``. Sample i of a split, attempt a, is a pure
   function of (seed, split, i, a). A program whose latent program (see
   :func:`circuit.task.programs.latent_program`) occurred before, in any split, is drawn again
   with the next attempt. The same latent program is needed for the same stream, so no stream
   occurs twice either.
3. A counterfactual program is a ``test_iid`` program in which one support write, chosen among
   those that answer a read, gets another value: one that its key may take and the program does
   not use. The answers that depend on it change with it; nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
import pandas as pd

from circuit.config.benchmark import SPLITS, BenchmarkSettings, SplitName
from circuit.errors import BenchmarkError
from circuit.task.draws import Draws
from circuit.task.programs import (
    Program,
    draw_program,
    encode,
    latent_program,
    replace_value,
)
from circuit.task.vocabulary import Vocabulary

MAX_ATTEMPTS = 1000

Pair = tuple[int, int]
Latent = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Programs of every split, with what is needed to read and to check them.

    Attributes:
        settings: what the benchmark was built from.
        vocabulary: its token ids.
        heldout_pairs: (key, value) indices, ascending.
        splits: one frame per split, one program a row, with the columns

            =============  ==========================================================
            sample_id      text, unique over all splits
            split          name of the split
            source_id      counterfactual: the id of the ``test_iid`` source, else ""
            changed_write  counterfactual: number of the changed write, else −1
            active_keys    keys that are written
            overwrites     writes after each active key's first
            reads          read events
            length         tokens of the stream
            tokens         int32 token ids of the stream
            answers        int32 token ids of the answers, in order of the reads
            =============  ==========================================================
    """

    settings: BenchmarkSettings
    vocabulary: Vocabulary
    heldout_pairs: tuple[Pair, ...]
    splits: Mapping[SplitName, pd.DataFrame]


def build_benchmark(settings: BenchmarkSettings) -> Benchmark:
    """Build every split of a benchmark; the same settings always give the same benchmark.

    Raises:
        BenchmarkError: the settings leave too few different programs, orders or values. Ask
            :func:`circuit.config.feasibility.check_feasible` first: drawing finds it out late.
    """
    vocabulary = Vocabulary.of(settings)
    heldout = draw_heldout_pairs(settings)
    seen: set[Latent] = set()
    programs: dict[SplitName, list[Program]] = {}
    changed: list[int] | None = None
    for split in SPLITS:
        allowed = allowed_values(settings, heldout, split)
        if split == "counterfactual":
            sources = programs["test_iid"][: settings.samples(split)]
            programs[split], changed = _counterfactuals(settings.seed, sources, allowed, seen)
        else:
            programs[split] = _programs(settings, split, allowed, seen)
    return Benchmark(
        settings,
        vocabulary,
        heldout,
        {
            split: _frame(
                split, programs[split], vocabulary, changed if split == "counterfactual" else None
            )
            for split in SPLITS
        },
    )


def draw_heldout_pairs(settings: BenchmarkSettings) -> tuple[Pair, ...]:
    """Return the held-out (key, value) indices, ascending, spread evenly over keys and values.

    Pair i is (i mod K, (i + ⌊i / L⌋) mod V) with L the least common multiple of K and V: all
    K·V pairs occur once, and any first part of them is even in keys and in values. Keys and
    values are then renamed at random.
    """
    n_keys, n_values = settings.n_keys, settings.n_values
    draws = Draws(settings.seed, "heldout_pairs_set")
    keys, values = draws.shuffled(range(n_keys)), draws.shuffled(range(n_values))
    period = n_keys * n_values // gcd(n_keys, n_values)
    return tuple(
        sorted(
            (keys[i % n_keys], values[(i + i // period) % n_values])
            for i in range(settings.n_heldout_pairs)
        )
    )


def allowed_values(
    settings: BenchmarkSettings, heldout: Sequence[Pair], split: SplitName
) -> dict[int, list[int]]:
    """Return the values each key may be written with in `split`: held-out pairs, or the others."""
    pairs = set(heldout)
    inside = split == "heldout_pairs"
    return {
        key: [value for value in range(settings.n_values) if ((key, value) in pairs) == inside]
        for key in range(settings.n_keys)
    }


def _programs(
    settings: BenchmarkSettings,
    split: SplitName,
    allowed: Mapping[int, Sequence[int]],
    seen: set[Latent],
) -> list[Program]:
    """Return the programs of a split; their latent programs join `seen`."""
    rules = settings.rules(split)
    where = "structural_ood" if split == "structural_ood" else "in_distribution"
    programs: list[Program] = []
    for i in range(settings.samples(split)):
        attempts = (
            draw_program(Draws(settings.seed, split, i, attempt), rules, allowed, where)
            for attempt in range(MAX_ATTEMPTS)
        )
        programs.append(_unseen(attempts, seen, f"{split} sample {i}"))
    return programs


def _counterfactuals(
    seed: int,
    sources: Sequence[Program],
    allowed: Mapping[int, Sequence[int]],
    seen: set[Latent],
) -> tuple[list[Program], list[int]]:
    """Return, for each source, its twin, and the number of the write that was changed in it."""
    twins: list[Program] = []
    changed: list[int] = []
    for i, source in enumerate(sources):
        writes = [event for event in source if event.op == "W"]
        asked = {event.value for event in source if event.op == "R"}
        draws = Draws(seed, "counterfactual", i)
        number = draws.choice([n for n, write in enumerate(writes) if write.value in asked])
        old = writes[number]
        used = {write.value for write in writes}
        free = draws.shuffled([value for value in allowed[old.key] if value not in used])
        attempts = (replace_value(source, old.value, new) for new in free)
        twins.append(_unseen(attempts, seen, f"counterfactual sample {i}"))
        changed.append(number)
    return twins, changed


def _unseen(attempts: Iterable[Program], seen: set[Latent], where: str) -> Program:
    """Return the first attempt whose latent program is not in `seen`, and add it there."""
    for program in attempts:
        latent = latent_program(program)
        if latent not in seen:
            seen.add(latent)
            return program
    raise BenchmarkError(
        "every program that was drawn occurs already",
        where=where,
        expected="more different programs than samples",
        do="lower the samples of the splits, or raise n_keys, n_values or overwrites",
    )


def _frame(
    split: SplitName,
    programs: Sequence[Program],
    vocabulary: Vocabulary,
    changed: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Return the frame of a split (see :class:`Benchmark` for its columns)."""
    reads = [[event for event in program if event.op == "R"] for program in programs]
    writes = [len(program) - len(asked) for program, asked in zip(programs, reads, strict=True)]
    active = [len({event.key for event in program}) for program in programs]
    streams = [np.array(encode(program, vocabulary), dtype=np.int32) for program in programs]
    ids = range(len(programs))
    return pd.DataFrame(
        {
            "sample_id": [f"{split}-{i:05d}" for i in ids],
            "split": [str(split) for _ in ids],
            "source_id": ["" if changed is None else f"test_iid-{i:05d}" for i in ids],
            "changed_write": np.array(changed or [-1] * len(programs), dtype=np.int32),
            "active_keys": np.array(active, dtype=np.int32),
            "overwrites": np.array(writes, dtype=np.int32) - np.array(active, dtype=np.int32),
            "reads": np.array([len(asked) for asked in reads], dtype=np.int32),
            "length": np.array([len(stream) for stream in streams], dtype=np.int32),
            "tokens": streams,
            "answers": [
                np.array([vocabulary.value_id(event.value) for event in asked], dtype=np.int32)
                for asked in reads
            ],
        }
    )
