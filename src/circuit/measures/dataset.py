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
from circuit.estimates import EXCESS, FIXED, estimates
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
_KEYS = ("split", "group", "shortcut", "active_keys", "differs")


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
    splits: Mapping[str, pd.DataFrame],
    vocabulary: Vocabulary,
    heldout: Iterable[tuple[int, int]],
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
    return DatasetTables(
        rows=pd.concat([_rows(demands), _sizes(demands, overlaps)], ignore_index=True),
        histograms=_histograms(demands),
        pairs=pairs,
        overlaps=overlaps,
        graph=pd.concat(
            [
                found.graph.assign(split=split, programs=len(found.programs))
                for split, found in demands.items()
            ],
            ignore_index=True,
        )[["split", "relation", "source", "target", *GRAPH_UNITS]],
    )


def _rows(demands: Mapping[str, Demands]) -> pd.DataFrame:
    """Means of every measure of every split, compared with train, and shortcuts in slices."""
    wholes, slices = [], []
    resampled: dict[str, Float[np.ndarray, "r m"]] = {}
    for seed, (split, found) in enumerate(demands.items()):
        parts = []
        for of, table in (("programs", found.programs), ("reads", found.reads)):
            names = [name for name, measure in MEASURES.items() if measure.of == of]
            parts.append(_means(table, names, len(found.programs), seed))
        wholes.append(pd.concat([means for means, _ in parts]).assign(split=split))
        resampled[split] = np.concatenate([draws for _, draws in parts], axis=1)
        slices.append(_slices(found, seed).assign(split=split))
    compared = _compared(pd.concat(wholes, ignore_index=True), resampled)
    rows = _estimates(pd.concat([compared, *slices], ignore_index=True))
    others = rows[rows["against"] == EXCESS]
    counts = others["differs"].ne("").groupby(others["split"], sort=False).sum()
    wrong = {split: int((found.reads["oracle"] == 0).sum()) for split, found in demands.items()}
    return pd.concat(
        [
            rows,
            *_best(rows, resampled),
            _exact(counts.to_dict(), "measures_changed", "1"),
            _exact(wrong, "wrong_answers", "reads"),
        ],
        ignore_index=True,
    )


def _estimates(wide: pd.DataFrame) -> pd.DataFrame:
    """Rows with their differences to train, and their spreads, below one another."""
    known = pd.DataFrame(MEASURES.values(), index=list(MEASURES)).loc[wide["measure"]]
    keys = {
        "split": wide["split"],
        "group": known["group"].to_numpy(),
        "shortcut": "",
        "active_keys": wide["active_keys"],
        "measure": wide["measure"],
        "unit": known["unit"].to_numpy(),
        "noun": known["of"].to_numpy(),
        "count": wide["count"],
    }
    ends = {
        "": ("mean", "low", "high"),
        EXCESS: ("delta", "delta_low", "delta_high"),
        SPREAD: (None, "minimum", "maximum"),
    }
    parts = [
        pd.DataFrame(
            {
                **keys,
                "against": against,
                **{
                    to: wide[column] if column else np.nan
                    for to, column in zip(("mean", "low", "high"), columns, strict=True)
                },
            }
        ).dropna(subset="low")
        for against, columns in ends.items()
    ]
    found = pd.concat(parts, ignore_index=True)
    told = [
        _DIFFERS[verdict(Estimate(row.mean, row.low, row.high, row.count))]
        if row.against == EXCESS
        else ""
        for row in found[["against", "mean", "low", "high", "count"]].itertuples(index=False)
    ]
    found.insert(4, "differs", told)
    return estimates(found, step=0)


def _best(
    rows: pd.DataFrame, resampled: Mapping[str, Float[np.ndarray, "r m"]]
) -> Iterator[pd.DataFrame]:
    """Rows of the best shortcut on train in every split, and of every split's own."""
    names = [name for name, measure in MEASURES.items() if measure.group == "shortcut"]
    order = [n for of in ("programs", "reads") for n, m in MEASURES.items() if m.of == of]
    columns = [order.index(name) for name in names]
    shortcuts = rows[rows["group"] == "shortcut"]
    for split, drawn in resampled.items():
        whole = shortcuts[(shortcuts["split"] == split) & (shortcuts["active_keys"] == "")]
        mean = whole[whole["against"] == ""].set_index("measure")["mean"][names].to_numpy()
        i = int(mean.argmax())
        best = names[i]
        if split == REFERENCE:
            found = shortcuts[shortcuts["measure"] == best]
            yield found.assign(group="", shortcut=best, differs="", measure="best_shortcut")
        low, high = simultaneous_interval(mean, drawn[:, columns])
        here = whole[(whole["measure"] == best) & (whole["against"] == "")]
        here = here.assign(group="", shortcut=best, differs="", measure="best_shortcut_here")
        yield here.assign(low=max(low[i], 0.0), high=min(high[i], 1.0))


def _exact(numbers: Mapping[str, float], measure: str, unit: str) -> pd.DataFrame:
    """Rows of numbers of splits that nothing was averaged for."""
    frame = pd.DataFrame({"split": list(numbers), "mean": list(numbers.values())})
    keys = frame.assign(group="", shortcut="", active_keys="", differs="")
    found = estimates(keys, unit, measure=measure, step=0)
    return found[[*_KEYS, *FIXED]]


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
    return pd.concat([_exact(of, *what) for what, of in numbers.items()], ignore_index=True)


def _means(
    table: pd.DataFrame, names: list[str], n: int, seed: int
) -> tuple[pd.DataFrame, Float[np.ndarray, "r m"]]:
    """Means of columns of programs or reads, one row each, and their resamples.

    Args:
        n: number of programs; a table of reads has a column ``row`` with each read's program.
    """
    values = table[names].to_numpy(dtype=np.float64)
    programs = table["row"].to_numpy() if "row" in table else np.arange(n)
    draws = grouped_resamples(values, programs, n, seed)
    low, high = interval(draws)
    means = {
        "measure": names,
        "active_keys": "",
        "mean": values.mean(0),
        "low": low,
        "high": high,
        "minimum": values.min(0),
        "maximum": values.max(0),
        "count": len(values),
    }
    return pd.DataFrame(means), draws


def _slices(found: Demands, seed: int) -> pd.DataFrame:
    """Accuracy of shortcuts and guesses for each number of active keys."""
    names = [name for name, measure in MEASURES.items() if measure.group in ("shortcut", "guess")]
    n = len(found.programs)
    return pd.concat(
        [
            _means(part, names, n, seed)[0].assign(active_keys=f"{keys}")
            for keys, part in found.reads.groupby("active_keys")
        ]
    )


def _compared(
    wholes: pd.DataFrame, resampled: Mapping[str, Float[np.ndarray, "r m"]]
) -> pd.DataFrame:
    """Add the differences to train with intervals that hold all at once."""
    others = [split for split in resampled if split != REFERENCE]
    mean = {split: part["mean"].to_numpy() for split, part in wholes.groupby("split")}
    rows = wholes.assign(delta=np.nan, delta_low=np.nan, delta_high=np.nan)
    if not others:
        return rows
    delta = np.concatenate([mean[split] - mean[REFERENCE] for split in others])
    draws = [resampled[split] - resampled[REFERENCE] for split in others]
    low, high = simultaneous_interval(delta, np.concatenate(draws, axis=1))
    # One row after the other: splits in order, and each split's measures in order.
    rows.loc[rows["split"] != REFERENCE, ["delta", "delta_low", "delta_high"]] = np.stack(
        [delta, low, high], axis=1
    )
    return rows


def _histograms(demands: Mapping[str, Demands]) -> pd.DataFrame:
    """How often each value of each of ``COUNTED`` occurs in each split."""
    parts = []
    for split, found in demands.items():
        for name in COUNTED:
            of = MEASURES[name].of
            table = found.programs if of == "programs" else found.reads
            value, count = np.unique(table[name].to_numpy(dtype=np.int64), return_counts=True)
            keys = {"split": split, "quantity": name, "value": value}
            share = {"measure": "share", "unit": "share", "mean": count / count.sum()}
            number = {"measure": "occurrences", "unit": "1", "mean": count}
            parts += [
                pd.DataFrame({**keys, **share, "count": len(table), "noun": of}),
                pd.DataFrame({**keys, **number}),
            ]
    return estimates(pd.concat(parts).fillna({"count": 0, "noun": ""}), step=0)
