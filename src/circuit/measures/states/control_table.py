"""Estimates of which every one stands beside its controls.

Many numbers of one checkpoint share one bootstrap: programs are resampled together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.estimates import estimates
from circuit.statistics import band, bootstrap_means

SHUFFLED, RANDOM = "shuffled labels", "random directions"


class Cell(NamedTuple):
    """m measures of one thing.

    Attributes:
        labels: what identifies the thing: column → value.
        units: of the measures, by name, in order.
        columns: [P, m] per program; means over programs are the measures.
        shuffled, random: [K, m] of draws, None where the control makes no sense.
        counts: states (or tokens) behind each measure.
        noun: what is counted.
    """

    labels: Mapping[str, str]
    units: Mapping[str, str]
    columns: Float[np.ndarray, "P m"]
    shuffled: Float[np.ndarray, "K m"] | None
    random: Float[np.ndarray, "K m"] | None
    counts: Sequence[int]
    noun: str = "states"


def table(cells: Sequence[Cell], step: int) -> pd.DataFrame:
    """Estimates of the cells' measures, and below them those of either control.

    A control is the mean of its draws with their 2.5% and 97.5% quantiles. No measure is negative
    and no share above 1, and so are no ends of intervals.
    """
    columns = np.concatenate([cell.columns for cell in cells], axis=1)
    units = [unit for cell in cells for unit in cell.units.values()]
    mean, low, high = bootstrap_means(columns)
    ceiling = np.where([unit == "share" for unit in units], 1.0, np.inf)
    names = pd.DataFrame(
        [{**cell.labels, "measure": measure} for cell in cells for measure in cell.units]
    ).assign(unit=units)
    parts = [
        names.assign(
            against="",
            mean=mean,
            low=np.clip(low, 0, ceiling),
            high=np.clip(high, 0, ceiling),
            count=[count for cell in cells for count in cell.counts],
            noun=[cell.noun for cell in cells for _ in cell.units],
        )
    ]
    for field, against in (("shuffled", SHUFFLED), ("random", RANDOM)):
        drawn = [(cell, getattr(cell, field)) for cell in cells]
        known = np.array([draws is not None for cell, draws in drawn for _ in cell.units])
        if not known.any():
            continue
        bands = np.concatenate([band(draws) for _, draws in drawn if draws is not None], axis=1)
        counts = [len(draws) for cell, draws in drawn if draws is not None for _ in cell.units]
        ends = dict(zip(("mean", "low", "high"), bands, strict=True))
        parts.append(names[known].assign(against=against, count=counts, noun="draws", **ends))
    return estimates(pd.concat(parts), step=step)
