"""What the kinds that attribute growth over a window leave alike."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from circuit.attribution.tables import UNITS
from circuit.attribution.window import Window
from circuit.measuring import Table


def attribution_tables(
    window: Window, rows: pd.DataFrame, intervals: pd.DataFrame
) -> dict[str, Table]:
    """What every attribution leaves: estimates, and values of single groups and events."""
    raw = {
        "groups": "one part and parameter group in one interval",
        "summed_groups": "one part and parameter group over the window",
        "events": "one scalar on one event at one checkpoint",
    }
    return {
        "rows": Table(rows, "one number about one scalar's window"),
        "intervals": Table(intervals, "one number about one interval", {"stop": "step"}),
        "largest_groups": Table(
            window.largest_groups(), "one part of a large parameter group", {"groups": "1"}
        ),
        **{name: Table(getattr(window, name), what, UNITS[name]) for name, what in raw.items()},
    }


def asked(scalars: Mapping[str, object]) -> str:
    """The scalars in short: all of up to two, else the first and how many others."""
    names = list(scalars)
    return " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} others"
