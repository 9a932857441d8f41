"""Stacks: parts of a whole as areas along training, or as bars, stacked by sign."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from circuit.estimates import require_sum
from circuit.reports import style
from circuit.reports.draw import frame, looks
from circuit.reports.draw.frame import Panel, Shown
from circuit.reports.draw.looks import Look
from circuit.reports.quantities import format_value

POINTS = 150  # of a cumulative curve; a sum is exact at each of them
UNSTACKED = "residual"
"""The part that areas show as a dashed line."""
_DASHES = (0, (4, 2))
_LINE = 0.2  # inches of a bar


def draw_stack(shown: Shown) -> None:
    """Draw a :class:`~circuit.reports.views.Stack`."""
    view = shown.view
    shown.one_each(shown.rows, [*view.panels, view.parts, view.x, *view.y, "step"])
    total = shown.rows[:0] if view.total is None else shown.select({**view.where, **view.total})
    rows = shown.rows.drop(index=total.index, errors="ignore")
    if rows[view.parts].nunique() > looks.MOST:
        rows = _few(rows, view.parts, looks.TOLD)
    shown = replace(shown, rows=rows)
    names = list(dict.fromkeys(rows[view.parts]))
    rest = [name for name in names if str(name).endswith(" others")]
    colours = looks.colours_of([name for name in names if name not in rest])
    (_areas if view.x else _bars)(shown, total, {**colours, **dict.fromkeys(rest, style.SOFT)})


def _few(rows: pd.DataFrame, column: str, most: int) -> pd.DataFrame:
    """Rows with the values that are too small to be told apart called ``N others``, at the end."""
    size = rows["mean"].abs().groupby(rows[column], sort=False).sum()
    large = size.sort_values(ascending=False, kind="stable").index[:most]
    kept = rows[column].isin({*large, UNSTACKED})
    rest = rows[~kept]
    return pd.concat([rows[kept], rest.assign(**{column: f"{rest[column].nunique()} others"})])


def _areas(shown: Shown, total: pd.DataFrame, colours: Mapping[Any, Any]) -> None:
    view, panels = shown.view, shown.panels()
    handles = [
        Line2D([], [], color=colour, linestyle=_DASHES, label=looks.spelled(name))
        if name == UNSTACKED
        else Patch(color=colour, label=looks.spelled(name))
        for name, colour in colours.items()
    ]
    columns = frame.columns_for([panel.values for panel in panels])
    lines = -(-len(panels) // columns)
    notes = [
        *frame.notes(shown.rows, "Areas", "", along=True)[:1],
        f"Cumulative over {shown.rows[view.x].nunique():,} intervals; parts that are positive up, "
        "negative down.",
    ]
    if len(total):
        line = {"color": style.INK, "linewidth": 1.6, "label": _whole_name(total, view)}
        handles.insert(0, Line2D([], [], **line))
        notes.append("Areas above minus areas below, and dashed lines, sum to the black line.")
    wholes = [frame.at(total, panel.keys) for panel in panels]
    titles = [_titled(p, w if len(w) else p.rows) for p, w in zip(panels, wholes, strict=True)]
    height = 3.0 if lines == 1 else 0.4 + 2.4 * lines
    with shown.axes(titles, columns, height, notes, handles) as axes:
        for i, (ax, panel, whole) in enumerate(zip(axes, panels, wholes, strict=True)):
            _area(ax, panel, whole, view, colours)
            if i + columns < len(axes):
                ax.tick_params(labelbottom=False)
            elif view.x == "step":
                style.step_axis(ax, ticks=5)
            else:
                ax.set_xlabel(style.words(view.x))


def _area(
    ax: Axes, panel: Panel, whole: pd.DataFrame, view: Any, colours: Mapping[Any, Any]
) -> None:
    """Cumulative parts stacked by sign, the whole and the line over them."""
    each = _table(panel.rows, view.x, view.parts).sort_index()
    table = each.cumsum()
    begins = list(table.index)
    last = begins[-1] - begins[-2] if len(begins) > 1 else 1
    ends = dict(zip(begins, [*begins[1:], begins[-1] + last], strict=True))
    if "stop" in panel.rows:
        ends = dict(zip(panel.rows[view.x], panel.rows["stop"].astype(float), strict=True))
    kept = style.thinned(begins, POINTS)
    # The curve starts at the first state, where nothing has grown yet; what an interval gave is
    # there at its end, be it one step or a hundred.
    steps = np.array([begins[0], *(ends[begin] for begin in kept)])

    def curve(values: pd.Series) -> np.ndarray:
        return np.append(0.0, values.loc[kept].to_numpy(float))

    parts = {name: curve(table[name]) for name in table if name != UNSTACKED}
    for name, base, size in _stacked(parts):
        face = {"color": colours[name], "alpha": 0.75, "linewidth": 0, "zorder": 2}
        ax.fill_between(steps, base, base + size, **face)
    style.zero_line(ax)
    if UNSTACKED in table:
        dashed = {"linestyle": _DASHES, "linewidth": 1.4, "zorder": 4}
        ax.plot(steps, curve(table[UNSTACKED]), color=colours[UNSTACKED], **dashed)
    if len(whole):
        grown = whole.groupby(view.x)["mean"].sum().reindex(begins, fill_value=0.0)
        require_sum(each.to_numpy(), grown.to_numpy(), f"figure {view.name}, {panel.title}")
        ax.plot(steps, curve(grown.cumsum()), color=style.INK, linewidth=1.6, zorder=5)
    _name(ax, panel, "y", "cumulative ")


def _bars(shown: Shown, total: pd.DataFrame, colours: Mapping[Any, Any]) -> None:
    """Horizontal bars, stacked by sign, with each bar's total as a dot."""
    view = shown.view
    rows, whole = (
        part.assign(bar=[looks.joined(bar, view.y) for bar in part[list(view.y)].to_numpy()])
        for part in (shown.rows, total)
    )
    notes = frame.notes(rows, "Bars", "")
    notes.append("Dots: " + ("the whole." if len(total) else "sums of a bar's parts."))
    if view.top is not None and rows["bar"].nunique() > view.top:
        rows = _few(rows, "bar", view.top)
        notes.append(f"The largest {view.top:,} bars, and the sum of all others.")
    panels = replace(shown, rows=rows).panels()
    handles: list[Any] = [Patch(color=c, label=looks.spelled(name)) for name, c in colours.items()]
    called = _whole_name(total, view) or "sum of parts"
    handles += frame.dots([Look(style.INK, called)], markersize=4)
    columns = min(len(panels), 2)
    tall = [panel.rows["bar"].nunique() for panel in panels]
    high = [0.9 + _LINE * max(tall[i : i + columns]) for i in range(0, len(tall), columns)]
    # Several wholes, each measured by itself, have no sum; nor have shares of them.
    apart = "measure" in (view.total or {})
    titles = [p.title if apart or p.unit == "share" else _titled(p, p.rows) for p in panels]
    with shown.axes(titles, columns, sum(high), notes, handles, height_ratios=high) as axes:
        for ax, panel in zip(axes, panels, strict=True):
            table, part = _table(panel.rows, "bar", view.parts), frame.at(whole, panel.keys)
            sums = table.sum(axis=1)
            if len(part):
                sums = part.groupby("bar")["mean"].sum().reindex(table.index).fillna(sums)
                require_sum(table.to_numpy(), sums.to_numpy(), f"figure {view.name}, {panel.title}")
            places = np.arange(len(table))
            held = {name: table[name].to_numpy() for name in colours if name in table}
            for name, base, size in _stacked(held):
                ax.barh(places, size, left=base, height=0.7, color=colours[name], zorder=2)
            ax.plot(sums, places, "o", color=style.INK, markersize=3.4, zorder=4)
            style.zero_line(ax, "x")
            ax.set_yticks(places, list(table.index), fontsize=7.5)
            ax.use_sticky_edges = False  # else bars would touch the frame, and their dots be cut
            ax.margins(x=0.05)
            frame.lines_of(ax, len(table))
            _name(ax, panel, "x")


def _table(rows: pd.DataFrame, index: str, parts: str) -> pd.DataFrame:
    """Sums by parts, over what else differs, such as steps."""
    table = rows.pivot_table(index=index, columns=parts, values="mean", aggfunc="sum", sort=False)
    return table.fillna(0.0)


def _stacked(parts: Mapping[Any, np.ndarray]) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Name, base and size of each part: what is positive goes up from zero, the rest down."""
    for sign in (1, -1):
        base: Any = 0.0
        for name, values in parts.items():
            size = sign * np.clip(sign * values, 0, None)
            yield name, base + np.zeros(len(values)), size
            base = base + size


def _whole_name(total: pd.DataFrame, view: Any) -> str:
    """What the whole is called: as a part, or as what is measured; empty without one."""
    if total.empty:
        return ""
    return style.words(str(total[view.parts].iloc[0]) or str(total["measure"].iloc[0]))


def _titled(panel: Panel, rows: pd.DataFrame) -> str:
    told = format_value(float(rows["mean"].sum()), panel.unit, signed=True)
    return f"{panel.title}: {told}" if panel.title else told


def _name(ax: Axes, panel: Panel, axis: str, what: str = "") -> None:
    """Name the axis of values; sums of shares are no longer within 0 and 1."""
    if panel.unit == "share":
        style.share_axis(ax, what + panel.label, axis, whole=False)
    else:
        ax.set(**{f"{axis}label": what + panel.label})
