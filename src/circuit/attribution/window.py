"""A window's attribution, gathered from the jobs that replayed it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from circuit.config.terms import COMPARATORS, REBINDINGS, REST
from circuit.statistics import Mean, bootstrap_mean

TOP_UNITS = {"attribution": "unit of the scalar", "groups": "1"}


class WindowSum(NamedTuple):
    """One scalar's window under one path rule, in the scalar's unit.

    ``growth`` is S at the window's last state minus S at its first; ``components`` (over all data
    groups), ``terms`` (what binding anew booked) and ``residual`` sum to it. ``movement`` is the
    sum of the sizes of all intervals' changes, which growth may fall far short of. Residuals of
    single intervals may cancel: ``absolute_residual`` sums their sizes.
    """

    scalar: str
    path_rule: str
    growth: float
    movement: float
    components: dict[str, float]
    terms: dict[str, float]
    residual: float
    absolute_residual: float
    comparators: dict[str, float]

    @property
    def relative_residual(self) -> float:
        """|residual| / movement, which the configured bound is for."""
        if not self.movement:
            return 0.0 if self.residual == 0 else float("inf")
        return abs(self.residual) / self.movement


def sum_groups(every: pd.DataFrame) -> pd.DataFrame:
    """Group sums of consecutive stretches added up."""
    keys = ["scalar", "component", "data_group", "group", "grouping"]
    return every.groupby(keys, sort=False, as_index=False)["attribution"].sum()


def top_groups(summed: pd.DataFrame, k: int) -> pd.DataFrame:
    """The ``k`` groups of every scalar and grouping that contribute most, and all others together.

    A group's contribution is the sum over its rows, that is over the parts of the update. Groups
    come in falling order of its size. Last is the group ``rest``, to which a list's own ``rest``
    always belongs, so the rows of a scalar and grouping still sum to the whole.

    Args:
        summed: rows of scalar, component, group, grouping, attribution, and data_group where the
            update is split over data; summands of the update only.

    Returns:
        The same columns, and ``groups``: how many groups a row stands for.
    """
    every = summed.groupby(["scalar", "grouping"], sort=False)
    return pd.concat([_top(part, k) for _, part in every], ignore_index=True)


def _top(part: pd.DataFrame, k: int) -> pd.DataFrame:
    """The top groups of one scalar and grouping, and their rest."""
    sizes = part.groupby("group", sort=False)["attribution"].sum().abs().drop(REST, errors="ignore")
    top = sizes.sort_values(ascending=False, kind="stable").index[:k]
    told = part.assign(group=part["group"].where(part["group"].isin(top), REST))
    keys = [name for name in part.columns if name != "attribution"]
    sums = told.groupby(keys, sort=False, as_index=False)["attribution"].sum()
    place = {name: number for number, name in enumerate((*top, REST))}
    sums = sums.sort_values("group", key=lambda names: names.map(place), kind="stable")
    others = part["group"].nunique() - len(top)
    groups = np.where(sums["group"] == REST, others, 1)
    return sums.assign(groups=groups)[[*part.columns, "groups"]]


def window_sums(rows: pd.DataFrame, values: pd.DataFrame) -> list[WindowSum]:
    """Sums over the window for every scalar and path rule."""
    changes = values.groupby("scalar", sort=False)["growth"]
    growth, movement = changes.sum(), changes.agg(lambda change: change.abs().sum())
    found = []
    for (scalar, rule), part in rows.groupby(["scalar", "path_rule"], sort=False):
        sums = part.groupby("component", sort=False)["attribution"].sum().to_dict()
        sizes = part.loc[part["component"] == "residual", "attribution"].abs()
        apart = ("residual", *REBINDINGS, *COMPARATORS)
        found.append(
            WindowSum(
                scalar=scalar,
                path_rule=rule,
                growth=float(growth[scalar]),
                movement=float(movement[scalar]),
                components={k: v for k, v in sums.items() if k not in apart},
                terms={k: v for k, v in sums.items() if k in REBINDINGS},
                residual=sums["residual"],
                absolute_residual=float(sizes.sum()),
                comparators={k: v for k, v in sums.items() if k in COMPARATORS},
            )
        )
    return found


def event_growth(events: pd.DataFrame, scalar: str, window: tuple[int, int]) -> Mean:
    """Growth of a scalar over a window with its interval over events."""
    chosen = events[events["scalar"] == scalar].drop_duplicates(["step", "event"])
    table = chosen.pivot(index="event", columns="step", values="value")
    return bootstrap_mean((table[window[1]] - table[window[0]]).to_numpy(dtype=np.float64))
