"""What the splits of a benchmark ask for, and what each changes against train.

1. Every program and read of every split is measured (:mod:`circuit.task.demands`), and each read
   is asked whether train answers the same (key, value) pair.
2. A measure's mean stands with the 95% interval over bootstrap resamples of whole programs. The
   data at hand are counted exactly; the interval says how far other programs drawn by the same
   rules would move the mean.
3. The difference to train is taken in every resample, splits being resampled independently of each
   other. Its interval holds for all measures and splits at once
   (:func:`circuit.statistics.simultaneous_interval`), so a split that follows train's rules leaves
   none of them with 95% probability, however many there are. ``changed`` says that 0 lies outside.
4. Shortcuts are also scored per number of active keys.
5. Distributions, pair matrices, overlaps of pairs and the event graph are counted exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.errors import AnalysisError
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

_MEANS = ("mean", "low", "high", "minimum", "maximum", "delta", "delta_low", "delta_high")
UNITS = {"slice_value": "1", **dict.fromkeys(_MEANS, "unit of the measure"), "count": "1"}
HISTOGRAM_UNITS = {"value": "unit of the quantity", "count": "1", "share": "share"}
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
        rows: split, group, measure, unit, slice (``all`` or ``active_keys``), slice_value (−1 for
            all), mean, low, high, count (programs or reads), minimum, maximum, and against train
            delta, delta_low, delta_high (NaN for train and in slices) and changed (bool).
        histograms: split, of (programs or reads), quantity, unit, value, count, share.
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
    return DatasetTables(
        rows=_rows(demands),
        histograms=_histograms(demands),
        pairs=pairs,
        overlaps=overlap_table(pairs),
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
    rows = pd.concat([_compared(pd.concat(wholes, ignore_index=True), resampled), *slices])
    known = pd.DataFrame(MEASURES.values(), index=list(MEASURES)).loc[rows["measure"]]
    rows["group"], rows["unit"] = known["group"].to_list(), known["unit"].to_list()
    rows["changed"] = (rows["delta_low"] > 0) | (rows["delta_high"] < 0)
    ids = ["split", "group", "measure", "unit", "slice", "slice_value"]
    numbers = [name for name in UNITS if name != "slice_value"]
    return rows[[*ids, *numbers, "changed"]].reset_index(drop=True)


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
        "slice": "all",
        "slice_value": -1,
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
            _means(part, names, n, seed)[0].assign(slice="active_keys", slice_value=keys)
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
            of, _, unit = MEASURES[name]
            table = found.programs if of == "programs" else found.reads
            value, count = np.unique(table[name].to_numpy(dtype=np.int64), return_counts=True)
            about = {"split": split, "of": of, "quantity": name, "unit": unit}
            parts.append(pd.DataFrame({**about, "value": value, "count": count}))
    rows = pd.concat(parts, ignore_index=True)
    rows["share"] = rows["count"] / rows.groupby(["split", "quantity"])["count"].transform("sum")
    return rows
