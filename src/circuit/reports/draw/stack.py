"""Stacks: parts of a whole as areas along training, or as bars, stacked by sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from circuit.reports import style
from circuit.reports.draw import frame, looks
from circuit.reports.draw.frame import Panel, Shown
from circuit.reports.panels import signed_bars
from circuit.reports.quantities import format_value
from circuit.reports.rows import select

POINTS = 150  # of a cumulative curve; a sum is exact at each of them
_DASHES = (0, (4, 2))
_LINE = 0.2  # inches of a bar


def draw_stack(shown: Shown) -> None:
    """Draw a :class:`~circuit.reports.views.Stack`."""
    view = shown.view
    shown.need([view.parts, view.x, *view.y])
    shown.one_each(shown.rows, [*view.panels, view.parts, view.x, *view.y, "step"])
    total = shown.rows.iloc[:0]
    if view.total is not None:
        total = select(shown.table, {**view.where, **view.total}, shown.settings)
    rows = shown.rows.drop(index=total.index, errors="ignore")
    (_areas if view.x else _bars)(replace(shown, picked=_few_parts(rows, view)), total)


def _few_parts(rows: pd.DataFrame, view: Any) -> pd.DataFrame:
    """Rows with the parts that are too small to be told apart called ``N others``."""
    names = list(dict.fromkeys(rows[view.parts]))
    if len(names) <= looks.MOST:
        return rows
    size = rows["mean"].abs().groupby(rows[view.parts]).sum().sort_values(kind="stable")
    kept = {*size.index[-looks.TOLD :], *view.lines}
    rest = f"{len(set(names) - kept)} others"
    return rows.assign(**{view.parts: rows[view.parts].where(rows[view.parts].isin(kept), rest)})


def _colours(rows: pd.DataFrame, view: Any) -> dict[str, Any]:
    names = list(dict.fromkeys(rows[view.parts]))
    rest = [name for name in names if str(name).endswith(" others")]
    return {
        **looks.colours_of([n for n in names if n not in rest]),
        **dict.fromkeys(rest, style.SOFT),
    }


def _areas(shown: Shown, total: pd.DataFrame) -> None:
    view, panels = shown.view, shown.panels()
    rows, colours = shown.rows, _colours(shown.rows, view)
    handles = _handles(colours, view.lines, _whole_name(total, view), areas=True)
    columns = shown.columns(panels)
    lines = -(-len(panels) // columns)
    intervals = rows[view.x].nunique()
    notes = [
        frame.marks_note(rows, "Areas", ""),
        f"Cumulative over {intervals:,} intervals; parts that are positive up, negative down.",
    ]
    if len(total):
        notes.append("Areas above minus areas below, and dashed lines, sum to the black line.")
    height = max(3.0 if lines == 1 else 0.4 + 2.4 * lines, frame.legend_height(handles))
    with shown.picture(notes, height) as body:
        axes = frame.grid(body, len(panels), columns)
        for i, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
            whole = frame.at(total, dict(zip(view.panels, panel.values, strict=True)))
            _area(ax, panel, whole, view, colours)
            ax.set_title(_titled(panel, whole if len(whole) else panel.rows))
            if i + columns < len(axes):
                ax.tick_params(labelbottom=False)
            elif view.x == "step":
                style.step_axis(ax, ticks=5)
            else:
                ax.set_xlabel(style.words(view.x))
        frame.legend(body, axes, columns, handles)


def _area(
    ax: Axes, panel: Panel, whole: pd.DataFrame, view: Any, colours: Mapping[str, Any]
) -> None:
    """Cumulative parts stacked by sign, the whole and the lines over them."""
    table = panel.rows.pivot_table(
        index=view.x, columns=view.parts, values="mean", aggfunc="sum", sort=False
    )
    table = table.sort_index().fillna(0.0).cumsum()
    begins = list(table.index)
    ends = _ends(panel.rows, view.x, begins)
    kept = style.thinned(begins, POINTS)
    # The curve starts at the first state, where nothing has grown yet; what an interval gave is
    # there at its end, be it one step or a hundred.
    steps = np.array([begins[0], *(ends[begin] for begin in kept)])

    def curve(values: pd.Series) -> np.ndarray:
        return np.append(0.0, values.loc[kept].to_numpy(float))

    stacked = [name for name in table.columns if name not in view.lines]
    for sign in (1, -1):
        base = np.zeros(len(steps))
        for name in stacked:
            top = base + sign * np.clip(sign * curve(table[name]), 0, None)
            face = {"color": colours[name], "alpha": 0.75, "linewidth": 0, "zorder": 2}
            ax.fill_between(steps, base, top, **face)
            base = top
    style.zero_line(ax)
    for name in table.columns.intersection(list(view.lines), sort=False):
        dashed = {"linestyle": _DASHES, "linewidth": 1.4, "zorder": 4}
        ax.plot(steps, curve(table[name]), color=colours[name], **dashed)
    if len(whole):
        grown = whole.groupby(view.x)["mean"].sum().reindex(begins, fill_value=0.0).cumsum()
        ax.plot(steps, curve(grown), color=style.INK, linewidth=1.6, zorder=5)
    label = f"cumulative {panel.label}"
    style.share_axis(ax, label, whole=False) if panel.unit == "share" else ax.set_ylabel(label)


def _ends(rows: pd.DataFrame, x: str, begins: Sequence[Any]) -> dict[Any, Any]:
    """Where every interval ends: at ``stop``, or where the next begins."""
    if "stop" in rows:
        return dict(zip(rows[x], rows["stop"].astype(float), strict=True))
    last = begins[-1] - begins[-2] if len(begins) > 1 else 1
    return dict(zip(begins, [*begins[1:], begins[-1] + last], strict=True))


def _bars(shown: Shown, total: pd.DataFrame) -> None:
    view, panels = shown.view, shown.panels()
    colours = _colours(shown.rows, view)
    wholes = [
        frame.at(total, dict(zip(view.panels, panel.values, strict=True))) for panel in panels
    ]
    tables, sums = zip(
        *(_table(p.rows, w, view, list(colours)) for p, w in zip(panels, wholes, strict=True)),
        strict=True,
    )
    handles = _handles(colours, (), _whole_name(total, view), areas=False)
    columns = min(len(panels), 2)
    high = [
        0.9 + _LINE * max(map(len, tables[i : i + columns])) for i in range(0, len(tables), columns)
    ]
    notes = [
        frame.marks_note(shown.rows, "Bars", ""),
        frame.steps_note(shown.rows, along=False),
        "Dots: " + ("the whole." if len(total) else "sums of a bar's parts."),
    ]
    rest = any(str(table.index[-1]).endswith(" others") for table in tables)
    if view.top is not None and rest:
        notes.append(f"The largest {view.top:,} bars, and the sum of all others.")
    with shown.picture(notes, max(sum(high), frame.legend_height(handles))) as body:
        axes = frame.grid(body, len(panels), columns, height_ratios=high)
        for ax, panel, table, dots in zip(axes, panels, tables, sums, strict=True):
            signed_bars(ax, table, colours, dots)
            if panel.unit == "share":  # shares of several wholes have no sum; some lie beyond 1
                ax.set_title(panel.title)
                style.share_axis(ax, panel.label, "x", whole=False)
            else:
                ax.set_title(_titled(panel, panel.rows))
                ax.set_xlabel(panel.label)
        frame.legend(body, axes, columns, handles)


def _table(
    rows: pd.DataFrame, whole: pd.DataFrame, view: Any, parts: Sequence[str]
) -> tuple[pd.DataFrame, pd.Series]:
    """Bars by parts, and the whole of every bar; bars beyond ``top`` are summed in one.

    A bar's parts are summed over what else differs, such as steps. Where there is no whole, it is
    the sum of the parts.
    """
    keys = list(view.y)
    table = rows.pivot_table(
        index=keys, columns=view.parts, values="mean", aggfunc="sum", sort=False
    )
    table = table.reindex(columns=list(parts)).fillna(0.0)
    sums = table.sum(axis=1)
    if len(whole):
        sums = whole.groupby(keys, sort=False)["mean"].sum().reindex(table.index).fillna(sums)
    bars = table.index.to_frame(index=False).itertuples(index=False, name=None)
    table.index = sums.index = [looks.joined(bar, keys) for bar in bars]
    if view.top is None or len(table) <= view.top:
        return table, sums
    order = np.argsort(-sums.abs().to_numpy(), kind="stable")
    kept, rest = order[: view.top], order[view.top :]
    name = f"{len(rest)} others"
    return (
        pd.concat([table.iloc[kept], table.iloc[rest].sum().to_frame(name).T]),
        pd.concat([sums.iloc[kept], pd.Series({name: sums.iloc[rest].sum()})]),
    )


def _whole_name(total: pd.DataFrame, view: Any) -> str:
    """What the whole is called: as a part, or as what is measured; empty without one."""
    if total.empty:
        return ""
    called = str(total[view.parts].iloc[0]) or str(total["measure"].iloc[0])
    return style.words(called)


def _titled(panel: Panel, rows: pd.DataFrame) -> str:
    told = format_value(float(rows["mean"].sum()), panel.unit, signed=True)
    return f"{panel.title}: {told}" if panel.title else told


def _handles(
    colours: Mapping[str, Any], lines: Sequence[str], whole: str, areas: bool
) -> list[Any]:
    found: list[Any] = []
    if whole and areas:
        found.append(Line2D([], [], color=style.INK, linewidth=1.6, label=whole))
    for name, colour in colours.items():
        if name in lines:
            found.append(Line2D([], [], color=colour, linestyle=_DASHES, label=looks.spelled(name)))
        else:
            found.append(Patch(color=colour, label=looks.spelled(name)))
    if not areas:
        dot = {"marker": "o", "markersize": 4, "linestyle": ""}
        found.append(Line2D([], [], color=style.INK, label=whole or "sum of parts", **dot))
    return found
