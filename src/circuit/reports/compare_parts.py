"""Rows of a comparison of two ends, part by part: what reports and figures pick from them."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

BRINGS, TAKES = "target_into_source", "source_into_target"
SUM = "sum of groups"
TOLD_FIRST = ("head", "head_projection", "module", "layer")
MARGIN = "answer_margin"
MOST = 8  # groups of a grouping in the report; all are in the rows
TABLE_UNITS = dict.fromkeys(
    (
        "brings",
        "low (brings)",
        "high (brings)",
        "brought by control",
        "takes away",
        "low",
        "high",
        "taken by control",
        "excess",
    ),
    "share",
)


def told_grouping(rows: pd.DataFrame) -> str:
    """The grouping that the answer and the figure speak of."""
    return next(name for name in TOLD_FIRST if name in set(rows["grouping"]))


def part_name(part: pd.Series) -> str:
    """A part as people name it."""
    return part["group"] or f"the state at {part['role']}, {part['stage']}"


def of_kind(
    rows: pd.DataFrame,
    kind: str | list[str],
    direction: str | list[str],
    donor: str,
    half: str = "all",
    measure: str = MARGIN,
) -> pd.DataFrame:
    """Rows of one kind of part."""
    kinds = [kind] if isinstance(kind, str) else kind
    directions = [direction] if isinstance(direction, str) else direction
    return rows[
        rows["kind"].isin(kinds)
        & rows["direction"].isin(directions)
        & (rows["donor"] == donor)
        & (rows["half"] == half)
        & (rows["measure"] == measure)
    ]


def groups(
    rows: pd.DataFrame, direction: str, donor: str, grouping: str, half: str, group: str = ""
) -> pd.DataFrame:
    """Groups of one grouping: a given one, or all but their sum."""
    found = of_kind(rows, "weight", direction, donor, half)
    found = found[found["grouping"] == grouping]
    return found[found["group"] == group] if group else found[found["group"] != SUM]


def best(rows: pd.DataFrame) -> pd.Series:
    """The row with the largest share, or effect where there is no change to share out."""
    return rows.loc[rows["fraction"].fillna(rows["effect"]).idxmax()]


def weight_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The groups that take away most, by grouping, and each grouping's sum."""
    tables = []
    for grouping in (name for name in TOLD_FIRST if name in set(rows["grouping"])):
        table = _both(rows, "weight", ["grouping", "group"])
        table = table[table["grouping"] == grouping]
        single = table[table["group"] != SUM].sort_values("excess", ascending=False)
        tables += [single.head(MOST), table[table["group"] == SUM]]
    return pd.concat(tables, ignore_index=True)


def activation_table(rows: pd.DataFrame) -> pd.DataFrame:
    """What states at every stage and role bring and take away, with controls."""
    return _both(rows, "activation", ["stage", "role"])


def _both(rows: pd.DataFrame, kind: str, keys: Iterable[str]) -> pd.DataFrame:
    """One line per part: what it brings and takes away, with controls."""
    keys = list(keys)

    def found(direction: str, donor: str) -> pd.DataFrame:
        return of_kind(rows, kind, direction, donor).set_index(keys)

    brings, takes = found(BRINGS, "matched"), found(TAKES, "matched")
    table = pd.DataFrame(
        {
            "brings": brings["fraction"],
            "low (brings)": brings["low"],
            "high (brings)": brings["high"],
            "brought by control": found(BRINGS, "control")["fraction"],
            "takes away": takes["fraction"],
            "low": takes["low"],
            "high": takes["high"],
            "taken by control": found(TAKES, "control")["fraction"],
        }
    )
    if kind == "weight":
        table["excess"] = found(TAKES, "excess")["fraction"]
    return table.reset_index()
