"""A window's attribution as its analysis keeps it, gathered from the jobs that looked at it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pandas as pd

from circuit.artifacts import write_rows
from circuit.attribution.tables import UNITS, gather
from circuit.attribution.window import TOP_UNITS, sum_groups, top_groups


class Gathered(NamedTuple):
    """Tables of :class:`circuit.attribution.growth.Growth` over the whole window.

    ``summed_groups`` are summed over the window, and ``top_groups_table`` holds the largest of them
    with the exact rest.
    """

    rows: pd.DataFrame
    values: pd.DataFrame
    groups: pd.DataFrame
    summed_groups: pd.DataFrame
    top_groups_table: pd.DataFrame
    events: pd.DataFrame

    def write(self, out: Mapping[str, str]) -> None:
        """Write every table to the file of its name."""
        units = {**UNITS, "rows": UNITS["components"], "top_groups_table": TOP_UNITS}
        what = {
            "rows": "one part of one scalar's growth in one interval",
            "values": "one scalar before and after one interval",
            "groups": "one part and parameter group in one interval",
            "summed_groups": "one part and parameter group over the window",
            "top_groups_table": "one part of a large parameter group, or of the rest",
            "events": "one scalar on one event at one checkpoint",
        }
        for name, table in self._asdict().items():
            write_rows(out[name], table, units[name], what[name])


def gathered(given: Mapping[str, Iterable[str]], analysis: str, top: int) -> Gathered:
    """One analysis' tables out of the files of its window's jobs, in step order.

    Args:
        given: files by the name of their table.
        top: how many parameter groups are told one by one.
    """
    names = ("components", "values", "groups", "summed_groups", "events")
    rows, values, groups, summed, events = (gather(given[name], analysis) for name in names)
    sums = sum_groups(summed)
    return Gathered(rows, values, groups, sums, top_groups(sums, top), events)
