"""Tables of the report on write scalars: criteria, parts of growth, correlations, births."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from circuit.measures.births.evidence import UNITS as BIRTH_UNITS
from circuit.measures.writes.fitness import VERDICT_UNITS, Bounds
from circuit.measures.writes.names import CRITERIA, PARTS, SCALARS, setting
from circuit.reports.document import Table

_KEYS = ["head", "scalar"]


def criteria_table(told: pd.DataFrame, bounds: Bounds, competitor: str) -> Table:
    """Every scalar of the heads by every criterion, with the scalar's configuration."""
    title = (
        "Criteria on the events that did not choose: born; follows (lowest correlation's interval "
        f"above {bounds.follows:g}); specific (shuffled growth's interval holds 0, or is at most "
        f"{bounds.shuffled:.0%} of growth); smooth (no rival changes); sees attention; sees size; "
        f"at support (elsewhere at most {bounds.elsewhere:.0%} of growth)"
    )
    numbers = ("growth", "shuffled", "weakest", "weakest_low", "switches", "count")
    table = told[[*_KEYS, "chosen", "fit", *CRITERIA, *numbers]].assign(
        configuration=[
            setting(scalar, head, competitor)
            for head, scalar in told[_KEYS].itertuples(index=False)
        ]
    )
    return Table(title, table, VERDICT_UNITS)


def growths_table(parts: pd.DataFrame, heads: Sequence[str], steps: tuple[int, int]) -> Table:
    """The parts of growth of the heads' scalars, side by side."""
    rows = parts[parts["head"].isin(heads)]
    order = pd.MultiIndex.from_product([heads, SCALARS], names=_KEYS)
    table = rows.pivot(index=_KEYS, columns="part", values="mean").loc[order, list(PARTS)]
    counts = rows.groupby(_KEYS)["count"].min()
    return Table(
        f"Parts of growth from step {steps[0]:,} to {steps[1]:,}, on all events (intervals in "
        "parts.parquet)",
        table.assign(count=counts).reset_index().rename_axis(columns=None),
        {**dict.fromkeys(PARTS, "logit"), "count": "1"},
    )


def correlations_table(of_head: pd.DataFrame, head: str) -> Table:
    """The winner's correlations with the outcomes, side by side."""
    keys = ["scalar", "over", "count"]
    table = of_head.pivot(index=keys, columns="outcome", values="correlation")
    order = of_head.drop_duplicates(keys).sort_values("scalar", key=_place, kind="stable")[keys]
    table = table.loc[pd.MultiIndex.from_frame(order)]
    return Table(
        f"Correlations of what {head} writes with outcomes, on all events (intervals in "
        "correlations.parquet)",
        table.reset_index().rename_axis(columns=None),
        {**dict.fromkeys(table.columns, "1"), "count": "1"},
    )


def _place(scalars: pd.Series) -> pd.Series:
    """Where each scalar stands among all."""
    return scalars.map({scalar: place for place, scalar in enumerate(SCALARS)})


def births_table(births: pd.DataFrame) -> Table:
    """When the scalars of the heads, and the outcomes, were half-way."""
    columns = ["head", "scalar", "found", "step", "low", "high", "value", "unit", "count", "note"]
    rows = births[births["method"] == "threshold"]
    units = {
        name: "unit of the measure" if u == "column unit" else u for name, u in BIRTH_UNITS.items()
    }
    return Table("Births: first checkpoint from which a curve stays half-way", rows[columns], units)
