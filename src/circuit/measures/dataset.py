"""What the splits of a benchmark ask for, and what each changes against train.

1. Every program and read of every split is measured (:mod:`circuit.task.demands`), and each read
   is asked whether train answers the same (key, value) pair.
2. A measure's mean stands with the 95% interval over bootstrap resamples of whole programs. The
   data at hand are counted exactly; the interval says how far other programs drawn by the same
   rules would move the mean.
3. The difference to train is taken in every resample, splits being resampled independently of each
   other. Its interval holds for all measures and splits at once
   (:func:`circuit.statistics.simultaneous_interval`), so a split that follows train's rules leaves
   none of them with 95% probability, however many there are.
4. Shortcuts are also scored per number of active keys. The best shortcut of a split is picked from
   all, so its interval holds for all of them at once.
5. Distributions, pair matrices, overlaps of pairs and the event graph are counted exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.errors import AnalysisError
from circuit.estimates import EXCESS, FIXED, estimates, with_controls
from circuit.evidence import Estimate, Verdict, verdict
from circuit.statistics import grouped_resamples, interval, simultaneous_interval
from circuit.task.demands import (
    GUESSES,
    PROGRAM_UNITS,
    READ_UNITS,
    SHORTCUTS,
    Demands,
    split_demands,
)
from circuit.task.pair_counts import answer_matrix, overlap_table, pair_table
from circuit.task.relations import RELATIONS
from circuit.task.vocabulary import Vocabulary

REFERENCE = "train"
_DIFFERS: Mapping[Verdict, str] = {"shown": "more", "opposite": "less", "open": ""}
_OF = ("programs", "reads")


class Measure(NamedTuple):
    """A column of programs or reads: the group it is reported in and its unit."""

    of: str
    group: str
    unit: str


MEASURES: Mapping[str, Measure] = {
    **{name: Measure("programs", "program", unit) for name, unit in PROGRAM_UNITS.items()},
    **{name: Measure("programs", "graph", "edges") for name in RELATIONS},
    **{name: Measure("reads", "read", unit) for name, unit in READ_UNITS.items()},
    "answer_pair_in_train": Measure("reads", "pair", "share"),
    **{name: Measure("reads", "shortcut", "share") for name in SHORTCUTS},
    **{name: Measure("reads", "guess", "share") for name in GUESSES},
    "oracle": Measure("reads", "oracle", "share"),
}
"""Every measure. ``graph``: edges of a relation in a program; ``guess``: the chance of a guess."""

COUNTED = tuple(
    name
    for name, m in MEASURES.items()
    if m.group in ("program", "read") and m.unit != "share" and name != "length"
)
"""Measures whose whole distribution is told."""

SPREAD = "smallest to largest"
"""In place of a control: from the smallest to the largest single value."""
GRAPH_UNITS = {
    "distance": "events",
    "tokens": "tokens",
    "edges": "edges",
    "share": "share",
    "programs": "1",
}


@dataclass(frozen=True, eq=False)
class DatasetTables:
    """What :func:`dataset_geometry` finds.

    Attributes:
        rows: estimates by split and group, of whole splits and, where ``active_keys`` says so, of
            the reads with so many. ``excess`` is the difference to train, and ``differs`` says
            where it is shown that there is ``more`` or ``less``. Measures of their own are the
            sizes of splits, how many measures of a split differ from train (``measures_changed``),
            the ``best_shortcut`` on train in every split and the ``best_shortcut_here`` of each,
            which ``shortcut`` names, and ``wrong_answers``, reads on which a dictionary disagrees.
        histograms: estimates by split, quantity and ``value``: the share of ``occurrences``.
        pairs: see :func:`circuit.task.pair_counts.pair_table`.
        overlaps: see :func:`circuit.task.pair_counts.overlap_table`.
        graph: split, programs, and the columns of :func:`circuit.task.relations.graph_table`.
    """

    rows: pd.DataFrame
    histograms: pd.DataFrame
    pairs: pd.DataFrame
    overlaps: pd.DataFrame
    graph: pd.DataFrame


def dataset_geometry(
    splits: Mapping[str, pd.DataFrame], vocabulary: Vocabulary, heldout: Iterable[tuple[int, int]]
) -> DatasetTables:
    """Measure splits and compare them with train.

    Args:
        splits: frames with columns ``sample_id`` and ``tokens``, ``train`` among them.
        heldout: the held-out (key, value) indices.

    Raises:
        AnalysisError: train is missing.
        BenchmarkError: a stream is malformed, or a read's key was not written before.
    """
    if REFERENCE not in splits:
        raise AnalysisError(
            f"no split {REFERENCE!r} to compare with",
            where="dataset geometry",
            expected=f"{REFERENCE} among the splits {', '.join(splits)}",
            do=f"add {REFERENCE} to `splits`",
        )
    demands = {split: split_demands(frame, vocabulary) for split, frame in splits.items()}
    pairs = pair_table(demands, vocabulary, heldout)
    known = answer_matrix(demands[REFERENCE].reads, vocabulary) > 0
    for found in demands.values():
        key = found.reads["query_key"].to_numpy() - vocabulary.key_ids.start
        value = found.reads["answer"].to_numpy() - vocabulary.value_ids.start
        found.reads["answer_pair_in_train"] = known[key, value]
    overlaps = overlap_table(pairs)
    rows = pd.concat([_rows(demands), _sizes(demands, overlaps)], ignore_index=True)
    graphs = (
        of.graph.assign(split=name, programs=len(of.programs)) for name, of in demands.items()
    )
    graph = pd.concat(graphs, ignore_index=True)
    graph = graph[["split", "relation", "source", "target", *GRAPH_UNITS]]
    return DatasetTables(rows, _histograms(demands), pairs, overlaps, graph)


def _rows(demands: Mapping[str, Demands]) -> pd.DataFrame:
    """Means of every measure of every split, compared with train, and shortcuts in slices."""
    wholes, slices = [], []
    resampled: dict[str, Float[np.ndarray, "r m"]] = {}
    for seed, (split, found) in enumerate(demands.items()):
        n = len(found.programs)
        of = (_means(getattr(found, of), _measured("of", of), n, seed) for of in _OF)
        means, draws = zip(*of, strict=True)
        wholes.append(pd.concat(means).assign(split=split, active_keys=""))
        resampled[split] = np.concatenate(draws, axis=1)
        for keys, part in found.reads.groupby("active_keys"):
            means, _ = _means(part, _measured("group", "shortcut", "guess"), n, seed)
            slices.append(means.assign(split=split, active_keys=f"{keys}"))
    compared = _compared(pd.concat(wholes, ignore_index=True), resampled)
    rows = _estimates(pd.concat([compared, *slices], ignore_index=True))
    others = rows[rows["against"] == EXCESS]
    counts = others["differs"].ne("").groupby(others["split"], sort=False).sum()
    wrong = {split: int((found.reads["oracle"] == 0).sum()) for split, found in demands.items()}
    parts = [
        rows,
        *_best(rows, resampled),
        _exact(counts.to_dict(), "measures_changed", "1"),
        _exact(wrong, "wrong_answers", "reads"),
    ]
    return pd.concat(parts, ignore_index=True)


def _measured(field: str, *values: str) -> list[str]:
    return [name for name, measure in MEASURES.items() if getattr(measure, field) in values]


def _means(
    table: pd.DataFrame, names: list[str], n: int, seed: int
) -> tuple[pd.DataFrame, Float[np.ndarray, "r m"]]:
    """Means of columns of programs or reads, one row each, and their resamples.

    Args:
        n: number of programs; a table of reads has a column ``row`` with each read's program.
    """
    values = table[names].to_numpy(dtype=np.float64)
    draws = grouped_resamples(values, table.get("row", pd.RangeIndex(n)).to_numpy(), n, seed)
    low, high = interval(draws)
    found = {"mean": values.mean(0), "low": low, "high": high, "count": len(values)}
    spread = {"minimum": values.min(0), "maximum": values.max(0)}
    return pd.DataFrame({"measure": names, **found, **spread}), draws


def _compared(
    wholes: pd.DataFrame, resampled: Mapping[str, Float[np.ndarray, "r m"]]
) -> pd.DataFrame:
    """Add the differences to train with intervals that hold all at once."""
    others = [split for split in resampled if split != REFERENCE]
    mean = {split: part["mean"].to_numpy() for split, part in wholes.groupby("split")}
    rows = wholes.assign(delta=np.nan, delta_low=np.nan, delta_high=np.nan)
    if others:
        delta = np.concatenate([mean[split] - mean[REFERENCE] for split in others])
        draws = [resampled[split] - resampled[REFERENCE] for split in others]
        ends = simultaneous_interval(delta, np.concatenate(draws, axis=1))
        # One row after the other: splits in order, and each split's measures in order.
        columns = ["delta", "delta_low", "delta_high"]
        rows.loc[rows["split"] != REFERENCE, columns] = np.stack([delta, *ends], axis=1)
    return rows


def _estimates(wide: pd.DataFrame) -> pd.DataFrame:
    """Rows with their differences to train, and their spreads, below one another."""
    controls = {
        EXCESS: ("delta", "delta_low", "delta_high"),
        SPREAD: (None, "minimum", "maximum"),
    }
    found = with_controls(wide, controls)
    measures = [MEASURES[name] for name in found["measure"]]
    differs = [
        _DIFFERS[verdict(Estimate(row.mean, row.low, row.high, row.count))]
        if row.against == EXCESS
        else ""
        for row in found[["against", "mean", "low", "high", "count"]].itertuples(index=False)
    ]
    keys = {"group": [m.group for m in measures], "shortcut": "", "differs": differs}
    fixed = {"unit": [m.unit for m in measures], "noun": [m.of for m in measures]}
    rows = estimates(found.assign(**keys, **fixed), step=0)
    return rows[["split", "group", "shortcut", "active_keys", "differs", *FIXED]]


def _best(
    rows: pd.DataFrame, resampled: Mapping[str, Float[np.ndarray, "r m"]]
) -> Iterator[pd.DataFrame]:
    """Rows of the best shortcut on train in every split, and of every split's own."""
    names = _measured("group", "shortcut")
    order = [name for of in _OF for name in _measured("of", of)]
    shortcuts = rows[rows["group"] == "shortcut"]
    levels = shortcuts[(shortcuts["active_keys"] == "") & (shortcuts["against"] == "")]
    for split, drawn in resampled.items():
        here = levels[levels["split"] == split].set_index("measure", drop=False)
        mean = here["mean"][names].to_numpy()
        i = int(mean.argmax())
        told = {"group": "", "shortcut": names[i], "differs": ""}
        if split == REFERENCE:
            best = shortcuts[shortcuts["measure"] == names[i]]
            yield best.assign(**told, measure="best_shortcut")
        columns = [order.index(name) for name in names]
        low, high = np.clip(simultaneous_interval(mean, drawn[:, columns]), 0, 1)
        best = here.loc[[names[i]]]
        yield best.assign(**told, measure="best_shortcut_here", low=low[i], high=high[i])


def _exact(numbers: Mapping[str, float], measure: str, unit: str) -> pd.DataFrame:
    """Rows of numbers of splits that nothing was averaged for."""
    keys = {
        "split": list(numbers),
        **dict.fromkeys(("group", "shortcut", "active_keys", "differs"), ""),
    }
    frame = pd.DataFrame({**keys, "mean": list(numbers.values())})
    return estimates(frame, unit, measure=measure, step=0)


def _sizes(demands: Mapping[str, Demands], overlaps: pd.DataFrame) -> pd.DataFrame:
    """Programs, events and answered pairs of every split, and how many of these train answers."""
    of_train = overlaps[(overlaps["other"] == REFERENCE) & (overlaps["of"] == "answers")]
    with_train = of_train.set_index("split")
    numbers: dict[tuple[str, str], Mapping[str, float]] = {
        ("programs", "1"): {split: len(found.programs) for split, found in demands.items()},
        ("reads_held", "1"): {split: len(found.reads) for split, found in demands.items()},
        ("writes_held", "1"): {split: len(found.written) for split, found in demands.items()},
        ("pairs_answered", "pairs"): with_train["pairs"].to_dict(),
        ("pairs_in_train", "pairs"): with_train["shared"].to_dict(),
        ("jaccard_with_train", "share"): with_train["jaccard"].to_dict(),
    }
    return pd.concat([_exact(of, *what) for what, of in numbers.items()])


def _histograms(demands: Mapping[str, Demands]) -> pd.DataFrame:
    """How often each value of each of ``COUNTED`` occurs in each split."""
    parts = []
    for split, found in demands.items():
        for name in COUNTED:
            table = getattr(found, MEASURES[name].of)
            value, count = np.unique(table[name].to_numpy(dtype=np.int64), return_counts=True)
            about = {"unit": "share", "count": len(table), "noun": MEASURES[name].of}
            for measure, mean, fixed in (
                ("share", count / count.sum(), about),
                ("occurrences", count, {"unit": "1"}),
            ):
                keys = {"split": split, "quantity": name, "value": value, "measure": measure}
                parts.append(pd.DataFrame({**keys, "mean": mean, **fixed}))
    return estimates(pd.concat(parts), step=0)
