"""Scatter: two estimates of the same things against each other, with both intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from circuit.errors import AnalysisError
from circuit.reports import style
from circuit.reports.draw import frame, looks
from circuit.reports.draw.frame import Panel, Shown
from circuit.reports.draw.looks import Look
from circuit.reports.rows import select

POINTS = 600  # of a panel; more are thinned evenly, and the note says so
_NAMED = 24  # points of a panel that are named, where their names have room
_INTERVALS = 80  # points of a panel that have their intervals


def draw_scatter(shown: Shown) -> None:
    """Draw a :class:`~circuit.reports.views.Scatter`."""
    view = shown.view
    shown.need([*view.each, view.series, *view.panels])
    by = list(dict.fromkeys(key for key in (*view.panels, *view.each, view.series) if key))
    sides = []
    for conditions in (view.x, view.y):
        found = select(shown.table, {**view.where, **conditions}, shown.settings)
        shown.one_each(found, by)
        sides.append(found)
    both = sides[0].merge(sides[1], on=by, suffixes=("_x", "_y"), sort=False)
    if both.empty:
        raise AnalysisError(
            "no thing has both estimates",
            expected=f"rows of both that agree in {', '.join(by)}",
            do="mend each, or the conditions of x and y",
        )
    told = replace(shown, picked=pd.concat(sides))
    looked = looks.looks(told.rows, view.series)
    groups = list(both.groupby(list(view.panels), sort=False)) if view.panels else [((), both)]
    columns = frame.columns_for(len(groups))
    handles = _handles(looked) if view.series else []
    lines = -(-len(groups) // columns)
    alone = 3.9 if len(groups) == 1 else 0.3 + 3.0 * lines
    missing = max(map(len, sides)) - len(both)
    most = max(len(part) for _, part in groups)
    lines_are = "lines" if most <= _INTERVALS else ""
    notes = [
        frame.marks_note(told.rows, "Points", lines_are),
        frame.steps_note(told.rows, along=False),
    ]
    if most > POINTS:
        notes.append(f"{POINTS:,} of {most:,} points of a panel are drawn.")
    if missing > 0:
        notes.append(f"{missing:,} more have only one of both estimates.")
    same = sides[0]["unit"].iloc[0] == sides[1]["unit"].iloc[0]
    notes.append("Dashed: both alike." if same else "")
    with told.picture(notes, max(alone, frame.legend_height(handles))) as body:
        axes = frame.grid(body, len(groups), columns)
        for ax, (values, part) in zip(axes, groups, strict=True):
            across, up = (_side(part, name, values, view.panels) for name in ("x", "y"))
            _points(ax, part, view, looked, same)
            frame.value_axis(ax, across, "x")
            frame.value_axis(ax, up, "y")
            ax.grid(visible=True, axis="both")
            ax.set_title(across.title)
            _name(ax, part, view)
        named = style.words(view.series) if view.series not in ("", "measure", "against") else ""
        frame.legend(body, axes, columns, handles, named)


def _side(part: pd.DataFrame, name: str, values: tuple[Any, ...], columns: Sequence[str]) -> Panel:
    """One of both estimates as the rows of a panel."""
    fixed = ("measure", "against", "unit", "mean", "low", "high", "count", "noun")
    rows = pd.DataFrame(
        {key: part[f"{key}_{name}" if f"{key}_{name}" in part else key] for key in fixed}
    )
    title = looks.joined(values, columns) if columns else ""
    return Panel(values, title, rows, rows.iloc[:0])


def _points(
    ax: Axes, part: pd.DataFrame, view: Any, looked: Mapping[Any, Look], same: bool
) -> None:
    kept = part.iloc[style.thinned(range(len(part)), POINTS)]
    if same:
        numbers = kept[["mean_x", "mean_y"]].to_numpy(float)
        ends = [np.nanmin(numbers), np.nanmax(numbers)]
        ax.plot(ends, ends, color=style.FAINT, linewidth=1, linestyle=(0, (4, 2)), zorder=1)
    groups = list(kept.groupby(view.series, sort=False)) if view.series else [("", kept)]
    alpha = 0.9 if len(kept) <= _INTERVALS else 0.35
    for value, group in groups:
        look = looked.get(value, Look(style.FAINT, ""))
        size = 20 if len(kept) <= _INTERVALS else 8
        points = {"s": size, "alpha": alpha, "linewidth": 0, "marker": look.marker, "zorder": 3}
        ax.scatter(group["mean_x"], group["mean_y"], color=look.colour, **points)
        if len(kept) <= _INTERVALS:
            line = {"color": look.colour, "linewidth": 0.9, "alpha": 0.6, "zorder": 2}
            ax.hlines(group["mean_y"], group["low_x"], group["high_x"], **line)
            ax.vlines(group["mean_x"], group["low_y"], group["high_y"], **line)


def _name(ax: Axes, part: pd.DataFrame, view: Any) -> None:
    """Names of points, right of them or where there is room; one without room has none."""
    columns = [name for name in view.each if part[name].nunique() > 1 and name != view.series]
    known = part[part[["mean_x", "mean_y"]].notna().all(axis=1)]
    if len(known) > _NAMED or not columns:
        return
    box = ax.get_figure().get_figure(root=True).get_size_inches()
    width, height = 0.4 * box[0], 0.5 * box[1]  # inches of the axes, not less than there are
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    spots = [
        ((x - left) / (right - left) * width, (y - low) / (high - low) * height)
        for x, y in zip(known["mean_x"], known["mean_y"], strict=True)
    ]
    taken = [(x - 0.04, y - 0.04, x + 0.04, y + 0.04) for x, y in spots]
    for (x, y), (_, row) in zip(spots, known.iterrows(), strict=True):
        text = looks.joined([row[name] for name in columns], columns)
        long = style.text_width(text, 7)
        for dx, dy in ((0.07, 0.07), (0.07, -0.07), (-0.07 - long, 0.07), (-0.07 - long, -0.07)):
            mine = (x + dx, y + dy - 0.06, x + dx + long, y + dy + 0.06)
            inside = mine[0] >= 0 and mine[2] <= width
            if inside and not any(_overlap(mine, other) for other in taken):
                taken.append(mine)
                ax.annotate(
                    text, (row["mean_x"], row["mean_y"]), (72 * dx, 72 * dy),
                    textcoords="offset points", fontsize=7, color=style.SOFT, va="center",
                )  # fmt: skip
                break


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _handles(looked: Mapping[Any, Look]) -> list[Any]:
    dot = {"linestyle": "", "markersize": 4.6}
    return [
        Line2D([], [], color=look.colour, marker=look.marker, label=look.label, **dot)
        for look in looked.values()
    ]
