"""A window's attribution, gathered from the jobs that replayed it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from circuit.config.terms import COMPONENTS
from circuit.statistics import Mean, bootstrap_mean


class WindowSum(NamedTuple):
    """One scalar's window under one path rule, in the scalar's unit.

    ``growth`` is Σ over steps of S(θ') - S(θ); the components and the residual sum to it.
    Residuals of single steps may cancel: ``absolute_residual`` sums their absolute values.
    """

    scalar: str
    path_rule: str
    growth: float
    components: dict[str, float]
    residual: float
    absolute_residual: float
    comparators: dict[str, float]

    @property
    def relative_residual(self) -> float:
        """|residual| / |growth|."""
        return abs(self.residual) / abs(self.growth) if self.growth else float("inf")


def sum_groups(every: pd.DataFrame) -> pd.DataFrame:
    """Group sums of consecutive stretches added up."""
    keys = ["scalar", "component", "group", "grouping"]
    return every.groupby(keys, sort=False, as_index=False)["attribution"].sum()


def window_sums(rows: pd.DataFrame, values: pd.DataFrame) -> list[WindowSum]:
    """Sums over the window for every scalar and path rule."""
    growth = values.groupby("scalar", sort=False)["growth"].sum()
    found = []
    for (scalar, rule), part in rows.groupby(["scalar", "path_rule"], sort=False):
        by = part.groupby("component", sort=False)["attribution"].sum().to_dict()
        residuals = part.loc[part["component"] == "residual", "attribution"]
        found.append(
            WindowSum(
                scalar,
                rule,
                float(growth[scalar]),
                {name: by[name] for name in COMPONENTS},
                by["residual"],
                float(residuals.abs().sum()),
                {k: v for k, v in by.items() if k not in (*COMPONENTS, "residual")},
            )
        )
    return found


def event_growth(events: pd.DataFrame, scalar: str, window: tuple[int, int]) -> Mean:
    """Growth of a scalar over a window with its interval over events."""
    chosen = events[events["scalar"] == scalar].drop_duplicates(["step", "event"])
    table = chosen.pivot(index="event", columns="step", values="value")
    return bootstrap_mean((table[window[1]] - table[window[0]]).to_numpy(dtype=np.float64))
