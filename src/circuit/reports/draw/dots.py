"""Dots: estimates with their intervals, a line of the figure for each thing, controls hollow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from circuit.reports import style
from circuit.reports.draw import frame, looks
from circuit.reports.draw.frame import Panel, Shown
from circuit.reports.draw.looks import Look
from circuit.reports.quantities import ABSENT, format_value

_LINE, _BESIDE = 0.24, 0.11  # inches of a line, and of every further dot on it
_VALUES = 24  # lines of a panel that have their numbers beside them
_BELOW = 0.24  # of a line, from an estimate to its control
_HOLLOW = {"markerfacecolor": "white", "markersize": 4.2}


def draw_dots(shown: Shown) -> None:
    """Draw a :class:`~circuit.reports.views.Dots`."""
    view = shown.view
    shown.one_each(shown.rows, [*view.panels, *view.y, view.series])
    panels = shown.panels()
    lists, left_out = _lists(shown, panels)
    shared = all(lines == lists[0] for lines in lists)
    columns = min(len(panels), 2 if len(panels) != 3 or not shared else 3)
    texts = not view.series and max(map(len, lists)) <= _VALUES
    line = _LINE + _BESIDE * (len(shown.looked) - 1 + bool(view.control))
    tallest = [max(map(len, lists[i : i + columns])) for i in range(0, len(lists), columns)]
    high = [0.85 + line * n for n in tallest]
    titles = [panel.title for panel in panels]
    notes, handles = _notes(shown, left_out), _handles(shown)
    with shown.axes(titles, columns, sum(high), notes, handles, texts, height_ratios=high) as axes:
        for i, (ax, panel, lines) in enumerate(zip(axes, panels, lists, strict=True)):
            _panel(ax, panel, lines, shown, texts)
            frame.value_axis(ax, panel, "x")
            if shared and i % columns:
                ax.set_yticklabels([])
        frame.align(axes, panels, "x")


def _lists(shown: Shown, panels: Sequence[Panel]) -> tuple[list[list[Any]], int]:
    """The lines of every panel, and how many are left out by ``top``.

    Panels of the same things have one list.
    """
    view = shown.view
    frames = [panel.rows.assign(line=_keys(panel.rows, view.y)) for panel in panels]
    if all(set(rows["line"]) == set(frames[0]["line"]) for rows in frames):
        frames = [pd.concat(frames)] * len(panels)
    lists, left_out = [], 0
    for rows in frames:
        size = rows["mean"].abs().groupby(rows["line"], sort=False).max()
        by_size = list(size.sort_values(ascending=False, kind="stable").index)
        kept = by_size[: view.top]
        if view.order == "rows":
            kept = [line for line in dict.fromkeys(rows["line"]) if line in set(kept)]
        lists.append(kept)
        left_out = max(left_out, len(by_size) - len(kept))
    return lists, left_out


def _keys(rows: pd.DataFrame, columns: Sequence[str]) -> list[Any]:
    return list(rows[list(columns)].itertuples(index=False, name=None))


def _panel(ax: Axes, panel: Panel, lines: Sequence[Any], shown: Shown, texts: bool) -> None:
    view, looked, place = shown.view, shown.looked, {line: i for i, line in enumerate(lines)}
    chosen: dict[Any, str] = {}
    if "chosen" not in view.y:
        chosen = looks.roles_of(panel.rows.assign(line=_keys(panel.rows, view.y)), "line")
    palette = looks.palette_of(key for key, *_ in lines)
    shifts = (np.arange(len(looked)) - (len(looked) - 1) / 2) * min(0.2, 0.7 / len(looked))
    shift_of = dict(zip(looked, shifts, strict=True)) if view.series else {}
    beside: dict[str, Any] = {"va": "center", "fontsize": 7.5, "color": style.SOFT}
    beside["xycoords"] = ("axes fraction", "data")
    for row, line in zip(panel.rows.to_dict("records"), _keys(panel.rows, view.y), strict=True):
        if line not in place:
            continue
        value = row[view.series] if view.series else ""
        look = looked.get(value, Look(style.FAINT, ""))
        colour = look.colour
        if not view.series and line in chosen:
            colour = looks.role_colour(chosen[line])
        elif not view.series and len(line) == 1:
            colour = palette.get(line[0], colour)
        y = place[line] + shift_of.get(value, 0.0)
        if not math.isfinite(row["mean"]):
            absent = "not reached" if panel.unit == "step" else ABSENT
            ax.annotate(absent, (0.01, y), **beside)
            continue
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2, zorder=3)
        ax.plot(row["mean"], y, look.marker, color=colour, markersize=4.6, zorder=4)
        if texts:
            unit = "share" if panel.percent else panel.unit
            text = format_value(row["mean"], unit, row["low"], row["high"], with_unit=False)
            ax.annotate(text, (1.01, y), **beside)
    _controls(ax, panel.control, place, shown, shift_of)
    roles = [chosen.get(line, "") for line in lines]
    names = [
        f"{looks.joined(line, view.y)} {style.words(role)}".strip()
        for line, role in zip(lines, roles, strict=True)
    ]
    frame.in_colours(ax.set_yticks(range(len(lines)), names), roles)
    frame.lines_of(ax, len(lines))


def _controls(
    ax: Axes,
    rows: pd.DataFrame,
    place: Mapping[Any, int],
    shown: Shown,
    shifts: Mapping[Any, float],
) -> None:
    """Hollow dots below the estimates of their line; a control that is a range is a grey bar."""
    view, looked = shown.view, shown.looked
    apart = bool(view.series) and rows[view.series].isin(list(looked)).any()
    below = max(shifts.values(), default=0.0) + _BELOW
    for row, line in zip(rows.to_dict("records"), _keys(rows, view.y), strict=True):
        if line not in place:
            continue
        value, ends = row[view.series] if apart else "", [row["low"], row["high"]]
        y = place[line] + (shifts.get(value, 0.0) if apart else below)
        if not math.isfinite(row["mean"]):
            bar = {"linewidth": 5, "alpha": 0.6, "solid_capstyle": "butt", "zorder": 1.5}
            ax.plot(ends, [y, y], color=style.FAINT, **bar)
            continue
        colour = looked[value].colour if apart and value in looked else style.SOFT
        ax.plot(ends, [y, y], color=colour, linewidth=0.9, zorder=2)
        mark = _mark(view, row["against"])
        ax.plot(row["mean"], y, mark, color=colour, zorder=2.5, **_HOLLOW)


def _mark(view: Any, name: str) -> str:
    return looks.MARKS[view.control.index(name) % len(looks.MARKS)]


def _hollow(shown: Shown, name: str) -> bool:
    """Whether a control has estimates, not ranges alone."""
    return bool(shown.control.loc[shown.control["against"] == name, "mean"].notna().any())


def _handles(shown: Shown) -> list[Any]:
    view, found = shown.view, list[Any]()
    if not view.series and len(view.control) < 2:
        return found
    estimates = shown.looked.values() if view.series else [Look(style.SPARE_COLOURS[0], "estimate")]
    found = frame.dots(estimates)
    for name in view.control:
        look = Look(style.SOFT, style.words(name), marker=_mark(view, name))
        hollow = frame.dots([look], **_HOLLOW)
        found += hollow if _hollow(shown, name) else [frame.area(style.FAINT, name)]
    return found


def _notes(shown: Shown, left_out: int) -> list[str]:
    view = shown.view
    found = frame.notes(shown.rows, "Dots", "lines")
    for name in view.control:
        found.append(f"{'Hollow' if _hollow(shown, name) else 'Grey bars'}: {style.words(name)}.")
    if left_out:
        found.append(f"The largest {view.top:,}; {left_out:,} smaller ones left out.")
    grey = shown.rows[view.series].nunique() - len(shown.looked) if view.series else 0
    if grey:
        found.append(f"Grey: {grey:,} more, beyond {looks.MOST} that can be told apart.")
    return found
