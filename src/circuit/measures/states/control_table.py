"""Tables whose every number stands beside its controls.

Many numbers of one checkpoint share one bootstrap: programs are resampled together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.statistics import band, bootstrap_means

_MEASURED = "unit of the measure"
CONTROLS = ("shuffled", "random")
UNITS = {
    "step": "step",
    **dict.fromkeys(("mean", "low", "high"), _MEASURED),
    "count": "1",
    **{f"{c}{end}": _MEASURED for c in CONTROLS for end in ("", "_low", "_high")},
}
"""Units of the columns of :func:`table`."""


class Cell(NamedTuple):
    """m measures of one thing.

    Attributes:
        labels: what identifies the thing: column → value.
        units: of the measures, by name, in order.
        columns: [P, m] per program; means over programs are the measures.
        shuffled, random: [K, m] of draws, None where the control makes no sense.
        counts: states (or tokens) behind each measure.
    """

    labels: Mapping[str, str]
    units: Mapping[str, str]
    columns: Float[np.ndarray, "P m"]
    shuffled: Float[np.ndarray, "K m"] | None
    random: Float[np.ndarray, "K m"] | None
    counts: Sequence[int]


def table(cells: Sequence[Cell], step: int) -> pd.DataFrame:
    """Rows of step, the cells' labels, measure, mean, low, high, count and both controls.

    A control is the mean of its draws with their 2.5% and 97.5% quantiles. No measure is negative
    and no share above 1, and so are no ends of intervals.
    """
    columns = np.concatenate([cell.columns for cell in cells], axis=1)
    shares = np.array([unit == "share" for cell in cells for unit in cell.units.values()])
    mean, low, high = bootstrap_means(columns)
    ceiling = np.where(shares, 1.0, np.inf)
    names = [
        {"step": step, **cell.labels, "measure": measure}
        for cell in cells
        for measure in cell.units
    ]
    found = pd.DataFrame(names).assign(
        mean=mean,
        low=np.clip(low, 0, ceiling),
        high=np.clip(high, 0, ceiling),
        count=[count for cell in cells for count in cell.counts],
    )
    for control in CONTROLS:
        bands = np.concatenate([_band(getattr(cell, control), len(cell.units)) for cell in cells])
        found[[control, f"{control}_low", f"{control}_high"]] = bands
    return found


def _band(draws: Float[np.ndarray, "K m"] | None, measures: int) -> Float[np.ndarray, "m 3"]:
    if draws is None:
        return np.full((measures, 3), np.nan)
    return band(draws).T
