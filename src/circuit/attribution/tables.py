"""The tables that a replay job leaves, and how the jobs of a window become one table.

Every table holds rows of several analyses, told apart by their column ``analysis``; so a job writes
a fixed set of files whoever asked for it. No torch here: gathering is tabulating.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from circuit.artifacts import read_rows
from circuit.config.terms import TRACE_UNITS, units_of

_UNITS = {
    **TRACE_UNITS,
    "event": "id",
    "stop": "step",
    **dict.fromkeys(
        ("attribution", "sizes", "before", "after", "growth", "value"), "unit of the scalar"
    ),
}
"""Of every column that holds numbers."""
_INTEGERS = ("step", "stop", "row", "rank", "event")
_TRACE = ("optimizer_trace",)
_EVERY_STEP = ("update_attribution", "data_attribution")
_FEATURES = ("feature_causes",)


@dataclass(frozen=True)
class Output:
    """One file of a replay job: observers' tables called ``table``, of analyses of some kinds."""

    name: str
    table: str
    columns: tuple[str, ...]
    description: str
    kinds: tuple[str, ...] = _EVERY_STEP

    @property
    def units(self) -> dict[str, str]:
        """Units of the columns that hold numbers."""
        return units_of(self.columns, _UNITS)

    def collect(
        self, tables: Mapping[str, Mapping[str, pd.DataFrame]], kinds: Mapping[str, str]
    ) -> pd.DataFrame:
        """This file's rows out of every analysis' tables; typed columns even when there are none.

        Args:
            tables, kinds: the observers' tables, and the kinds, by analysis.
        """
        found = [
            part[self.table].assign(analysis=name)
            for name, part in tables.items()
            if self.table in part and kinds[name] in self.kinds
        ]
        columns = ["analysis", *self.columns]
        if found:
            return pd.concat(found, ignore_index=True)[columns]
        types = dict.fromkeys(columns, "str") | dict.fromkeys(self.units, "float64")
        types |= {name: "int64" for name in columns if name in _INTEGERS}
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types.items()})


_PART = ("scalar", "component", "data_group")
_GROUPS = (*_PART, "group", "grouping", "attribution")
OUTPUTS = (
    Output(
        "trace",
        "rows",
        tuple(c for c in TRACE_UNITS if c not in ("row", "rank", "parameter_norm")),
        "one replayed training step",
        _TRACE,
    ),
    Output("batches", "batches", ("step", "row"), "one program of one step's batch", _TRACE),
    Output(
        "top_parameters",
        "top_parameters",
        ("step", "rank", "parameter", "update_norm", "parameter_norm"),
        "one parameter tensor of one step",
        _TRACE,
    ),
    Output(
        "components",
        "rows",
        ("step", *_PART, "path_rule", "attribution"),
        "one part of one scalar's growth in one interval",
    ),
    Output(
        "values",
        "values",
        ("step", "scalar", "before", "after", "growth"),
        "one scalar before and after one interval",
    ),
    Output(
        "groups",
        "groups",
        ("step", *_GROUPS),
        "one part and parameter group of one scalar's growth in one interval",
    ),
    Output(
        "summed_groups",
        "summed_groups",
        _GROUPS,
        "one part and parameter group of one scalar's growth over the stretch",
        (*_EVERY_STEP, *_FEATURES),
    ),
    Output(
        "events",
        "events",
        ("step", "scalar", "event", "value"),
        "one scalar on one event at one checkpoint",
    ),
    Output(
        "sums",
        "sums",
        ("step", "stop", "scalar", "component", "path_rule", "attribution", "sizes"),
        "one part of one scalar's growth over the stretch, or the growth",
        _FEATURES,
    ),
    Output(
        "event_parts",
        "event_parts",
        ("step", "stop", "scalar", "component", "event", "attribution"),
        "one part of one scalar's growth over the stretch on one event, or the growth",
        _FEATURES,
    ),
)
CHORDS = tuple(output for output in OUTPUTS if "update_attribution" in output.kinds)
"""The files of a job that attributes differences of checkpoints."""
UNITS = {output.name: output.units for output in OUTPUTS}


def gather(paths: Iterable[str], analysis: str) -> pd.DataFrame:
    """One analysis' rows out of the files of consecutive stretches, in step order."""
    parts = [read_rows(path) for path in paths]
    every = pd.concat([part[part["analysis"] == analysis] for part in parts], ignore_index=True)
    return every.drop(columns="analysis")
