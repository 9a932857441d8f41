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

_SCALAR = "unit of the scalar"


@dataclass(frozen=True)
class Output:
    """One file of a replay job: which observers' table it holds, its columns and their units.

    ``kinds`` are the kinds of analysis whose rows it holds.
    """

    name: str
    kinds: tuple[str, ...]
    table: str
    columns: Mapping[str, str]
    units: Mapping[str, str]
    description: str

    def collect(
        self, tables: Mapping[str, Mapping[str, pd.DataFrame]], kinds: Mapping[str, str]
    ) -> pd.DataFrame:
        """This file's rows out of every analysis' tables; typed columns even when there are none.

        Args:
            tables: the observers' tables by analysis.
            kinds: the analyses' kinds.
        """
        found = [
            part[self.table].assign(analysis=name)
            for name, part in tables.items()
            if self.table in part and kinds[name] in self.kinds
        ]
        if found:
            return pd.concat(found, ignore_index=True)[["analysis", *self.columns]]
        empty = {"analysis": "str", **self.columns}
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in empty.items()})


def _trace(name: str, table: str, columns: Iterable[str], description: str) -> Output:
    integers = {"step", "row", "rank"}
    types = {
        c: "int64" if c in integers else "str" if c == "parameter" else "float64" for c in columns
    }
    return Output(
        name, ("optimizer_trace",), table, types, units_of(types, TRACE_UNITS), description
    )


def _attribution(
    name: str, table: str, columns: Mapping[str, str], units: Mapping[str, str], description: str
) -> Output:
    kinds = ("update_attribution", "data_attribution")
    return Output(name, kinds, table, columns, units, description)


_PART = {"scalar": "str", "component": "str", "data_group": "str"}
_GROUPS = {**_PART, "group": "str", "grouping": "str"}
OUTPUTS = (
    _trace(
        "trace",
        "rows",
        [c for c in TRACE_UNITS if c not in ("row", "rank", "parameter_norm")],
        "one replayed training step",
    ),
    _trace("batches", "batches", ["step", "row"], "one program of one step's batch"),
    _trace(
        "top_parameters",
        "top_parameters",
        ["step", "rank", "parameter", "update_norm", "parameter_norm"],
        "one parameter tensor of one step",
    ),
    _attribution(
        "components",
        "rows",
        {
            "step": "int64",
            **_PART,
            "path_rule": "str",
            "attribution": "float64",
        },
        {"step": "step", "attribution": _SCALAR},
        "one part of one scalar's growth in one interval",
    ),
    _attribution(
        "values",
        "values",
        {
            "step": "int64",
            "scalar": "str",
            "before": "float64",
            "after": "float64",
            "growth": "float64",
        },
        {"step": "step", "before": _SCALAR, "after": _SCALAR, "growth": _SCALAR},
        "one scalar before and after one interval",
    ),
    _attribution(
        "groups",
        "groups",
        {"step": "int64", **_GROUPS, "attribution": "float64"},
        {"step": "step", "attribution": _SCALAR},
        "one part and parameter group of one scalar's growth in one interval",
    ),
    _attribution(
        "summed_groups",
        "summed_groups",
        {**_GROUPS, "attribution": "float64"},
        {"attribution": _SCALAR},
        "one part and parameter group of one scalar's growth over the stretch",
    ),
    _attribution(
        "events",
        "events",
        {"step": "int64", "scalar": "str", "event": "int64", "value": "float64"},
        {"step": "step", "event": "id", "value": _SCALAR},
        "one scalar on one event at one checkpoint",
    ),
)
CHORDS = tuple(output for output in OUTPUTS if "update_attribution" in output.kinds)
"""The files of a job that attributes differences of checkpoints."""
UNITS = {output.name: dict(output.units) for output in OUTPUTS}


def gather(paths: Iterable[str], analysis: str) -> pd.DataFrame:
    """One analysis' rows out of the files of consecutive stretches, in step order."""
    parts = [read_rows(path) for path in paths]
    every = pd.concat([part[part["analysis"] == analysis] for part in parts], ignore_index=True)
    return every.drop(columns="analysis")
