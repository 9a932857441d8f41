"""Scatter: two estimates of the same things against each other, with both intervals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from circuit.errors import AnalysisError
from circuit.reports import style
from circuit.reports.draw import frame, looks
from circuit.reports.draw.frame import Panel, Shown
from circuit.reports.draw.looks import Look

_NAMED = 12  # things of a panel that are named
_INTERVALS = 80  # points of a panel that have their intervals


def draw_scatter(shown: Shown) -> None:
    """Draw a :class:`~circuit.reports.views.Scatter`."""
    view = shown.view
    by = list(dict.fromkeys(key for key in (*view.panels, *view.each, view.series) if key))
    sides = [shown.select({**view.where, **side}) for side in (view.x, view.y)]
    for side in sides:
        shown.one_each(side, by)
    both = sides[0].merge(sides[1], on=by, suffixes=("_x", "_y"), sort=False)
    if both.empty:
        raise AnalysisError(
            "no thing has both estimates",
            expected=f"rows of both that agree in {', '.join(by)}",
            do="mend each, or the conditions of x and y",
        )
    told = replace(shown, rows=pd.concat(sides))
    groups = list(both.groupby(list(view.panels), sort=False)) if view.panels else [((), both)]
    columns = frame.columns_for([values for values, _ in groups])
    handles = frame.dots(told.looked.values()) if view.series else []
    few = all(len(part) <= _INTERVALS for _, part in groups)
    notes = frame.notes(told.rows, "Points", "lines" if few else "")
    missing = max(map(len, sides)) - len(both)
    if missing > 0:
        notes.append(f"{missing:,} more have only one of both estimates.")
    same = sides[0]["unit"].iloc[0] == sides[1]["unit"].iloc[0]
    notes.append("Dashed: both alike." if same else "")
    height = 3.9 if len(groups) == 1 else 0.3 + 3.0 * -(-len(groups) // columns)
    titles = [looks.joined(values, view.panels) if values else "" for values, _ in groups]
    with told.axes(titles, columns, height, notes, handles) as axes:
        for ax, (_, part) in zip(axes, groups, strict=True):
            _points(ax, part, told, few, same)
            for axis in ("x", "y"):
                side = part.rename(columns=lambda name, end=f"_{axis}": name.removesuffix(end))
                frame.value_axis(ax, Panel(side, side[:0]), axis)
            ax.grid(visible=True, axis="both")


def _points(ax: Axes, part: pd.DataFrame, shown: Shown, few: bool, same: bool) -> None:
    view = shown.view
    if same:
        numbers = part[["mean_x", "mean_y"]].to_numpy(float)
        ends = [np.nanmin(numbers), np.nanmax(numbers)]
        ax.plot(ends, ends, color=style.FAINT, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    points: dict[str, Any] = {"s": 20, "alpha": 0.9} if few else {"s": 8, "alpha": 0.35}
    for value, group in part.groupby(view.series, sort=False) if view.series else [("", part)]:
        look = shown.looked.get(value, Look(style.FAINT, ""))
        mark = {"linewidth": 0, "marker": look.marker, "zorder": 3, **points}
        ax.scatter(group["mean_x"], group["mean_y"], color=look.colour, **mark)
        if few:
            line = {"color": look.colour, "linewidth": 0.9, "alpha": 0.6, "zorder": 2}
            ax.hlines(group["mean_y"], group["low_x"], group["high_x"], **line)
            ax.vlines(group["mean_x"], group["low_y"], group["high_y"], **line)
    # A thing with several points, such as shares of one group of data, is named at one of them.
    named = [name for name in view.each if part[name].nunique() > 1 and name != view.series]
    known = part.dropna(subset=["mean_x", "mean_y"])
    things = known.drop_duplicates(named) if named else known[:0]
    middle = sum(ax.get_xlim()) / 2
    for _, row in things.iterrows() if len(things) <= _NAMED else ():
        side, aside = ("right", -5) if row["mean_x"] > middle else ("left", 5)
        told = {"ha": side, "textcoords": "offset points", "fontsize": 7, "color": style.SOFT}
        text = looks.joined(row[named], named)
        ax.annotate(text, (row["mean_x"], row["mean_y"]), (aside, 4), **told)
