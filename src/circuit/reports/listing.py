"""Rows of a table of estimates as a table of a report."""

from __future__ import annotations

import pandas as pd
from pandas.api.types import is_numeric_dtype

from circuit.estimates import FIXED, ROW_UNIT, keys_of
from circuit.reports.document import Table
from circuit.reports.rows import ends
from circuit.reports.saying import Context
from circuit.reports.views import Listing


def listing(view: Listing, context: Context) -> Table | None:
    """The rows of a listing as a table of the report, None where there are none."""
    rows = context.rows(view.table, view.where)
    if rows.empty:
        return None
    title = context.say(view.title, ends(rows))
    if view.sort:
        rows = rows.reindex(rows["mean"].abs().sort_values(ascending=False, kind="stable").index)
    keys = list(view.keys) or [
        key
        for key in (*keys_of(rows), "step", "measure")
        if rows[key].nunique() > 1 and key != view.across
    ]
    frame, units = _spread(rows, keys, view) if view.across else _long(rows, keys, view, context)
    units |= {key: "1" for key in keys if is_numeric_dtype(frame[key]) and key != "step"}
    if view.top is not None and len(frame) > view.top:
        title = f"{title} (the first {view.top} of {len(frame):,})"
        frame = frame.head(view.top)
    return Table(title, frame.reset_index(drop=True), {"step": "step", **units})


def _spread(
    rows: pd.DataFrame, keys: list[str], view: Listing
) -> tuple[pd.DataFrame, dict[str, str]]:
    """A line for each combination of keys, a column of means for each value of one more."""
    table = rows.pivot_table(
        index=keys, columns=view.across, values="mean", sort=False, aggfunc="first"
    )
    units = rows.groupby(view.across)["unit"].agg(
        lambda each: each.iloc[0] if each.nunique() == 1 else ROW_UNIT
    )
    # A pivot sorts lines by each key on its own; rows have an order of their own.
    frame = rows[keys].drop_duplicates().merge(table.reset_index(), on=keys)
    frame.columns = [str(column) for column in frame.columns]
    return frame, {str(column): str(unit) for column, unit in units.items()}


def _long(
    rows: pd.DataFrame, keys: list[str], view: Listing, context: Context
) -> tuple[pd.DataFrame, dict[str, str]]:
    """A line for each row: its keys, mean, interval, count and controls."""
    one = rows["unit"].nunique() == 1
    unit = str(rows["unit"].iloc[0]) if one else ROW_UNIT
    held = [name for name in ("mean", "low", "high") if rows[name].notna().any()]
    held += ["count"] if rows["count"].any() else []
    frame = rows[[*keys, *held, *([] if one else ["unit"])]]
    units = {**dict.fromkeys(("mean", "low", "high"), unit), "count": "1"}
    same = [name for name in rows.columns if name not in FIXED or name in ("step", "measure")]
    for control in view.control:
        beside = context.rows(view.table, {**view.where, "against": control})
        means = beside.drop_duplicates(same).set_index(same)["mean"].rename(control)
        joined = rows[same].merge(means.reset_index(), on=same, how="left")
        frame = frame.assign(**{control: joined[control].to_numpy()})
        units[control] = unit
    return frame, units
