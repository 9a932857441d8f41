"""Dots: estimates with their intervals, a line of the figure for each thing, controls hollow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from circuit.reports import style
from circuit.reports.draw import frame, looks
from circuit.reports.draw.frame import Panel, Shown
from circuit.reports.draw.looks import Look
from circuit.reports.quantities import ABSENT, format_value

_LINE, _BESIDE = 0.24, 0.11  # inches of a line, and of every further dot on it
_VALUES = 24  # lines of a panel that have their numbers beside them
NOT_REACHED = "not reached"


def draw_dots(shown: Shown) -> None:
    """Draw a :class:`~circuit.reports.views.Dots`."""
    view, panels = shown.view, shown.panels()
    shown.need([*view.y, view.series])
    shown.one_each(shown.rows, [*view.panels, *view.y, view.series])
    looked = looks.looks(shown.rows, view.series)
    lists, left_out = _lists(shown, panels)
    beside = len(looked) if view.series else 1
    shared = all(lines == lists[0] for lines in lists)
    columns = min(len(panels), 2 if len(panels) != 3 or not shared else 3)
    texts = not view.series and max(map(len, lists)) <= _VALUES
    high = _LINE + _BESIDE * (beside - 1 + bool(view.control))
    handles = _handles(shown, looked)
    down = -(-len(panels) // columns)
    tallest = [max(map(len, lists[i * columns : (i + 1) * columns])) for i in range(down)]
    height = max(sum(0.85 + high * n for n in tallest), frame.legend_height(handles))
    options: dict[str, Any] = {"height_ratios": [0.85 + high * n for n in tallest]}
    with shown.picture(_notes(shown, left_out, looked), height) as body:
        axes = frame.grid(body, len(panels), columns, **options)
        for ax, panel, lines in zip(axes, panels, lists, strict=True):
            _panel(ax, panel, lines, shown, looked, texts)
            frame.value_axis(ax, panel, "x")
            ax.set_title(panel.title)
            if shared and axes.index(ax) % columns:
                ax.set_yticklabels([])
        frame.align(axes, panels, "x")
        named = style.words(view.series) if view.series not in ("", "measure", "against") else ""
        frame.legend(body, axes, columns, handles, named, below=texts)


def _lists(shown: Shown, panels: Sequence[Panel]) -> tuple[list[list[Any]], int]:
    """The lines of every panel, and how many are left out by ``top``.

    Panels of the same things have one list.
    """
    view = shown.view
    keys = [_keys(panel.rows, view.y) for panel in panels]
    frames = [panel.rows.assign(line=key) for panel, key in zip(panels, keys, strict=True)]
    if all(set(key) == set(keys[0]) for key in keys):
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


def _panel(
    ax: Axes,
    panel: Panel,
    lines: Sequence[Any],
    shown: Shown,
    looked: Mapping[Any, Look],
    texts: bool,
) -> None:
    view, place = shown.view, {line: i for i, line in enumerate(lines)}
    chosen, palette = _chosen(panel.rows, view.y), looks.palette_of(key for key, *_ in lines)
    shifts = (np.arange(len(looked)) - (len(looked) - 1) / 2) * min(0.2, 0.7 / len(looked))
    shift_of = dict(zip(looked, shifts, strict=True)) if view.series else {}
    for row, line in zip(panel.rows.to_dict("records"), _keys(panel.rows, view.y), strict=True):
        if line not in place:
            continue
        value = row[view.series] if view.series else ""
        look = looked.get(value)
        colour: Any = look.colour if look else style.FAINT
        if not view.series and line in chosen:
            colour = looks.role_look(chosen[line])[0]
        elif not view.series and len(line) == 1:
            colour = palette.get(line[0], colour)
        y = place[line] + shift_of.get(value, 0.0)
        if not math.isfinite(row["mean"]):
            absent = NOT_REACHED if panel.unit == "step" else ABSENT
            told = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 7.5}
            ax.annotate(absent, (0.01, y), color=style.SOFT, **told)
            continue
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2, zorder=3)
        ax.plot(
            row["mean"], y, look.marker if look else "o", color=colour, markersize=4.6, zorder=4
        )
        if texts:
            unit = "share" if panel.percent else panel.unit
            text = format_value(row["mean"], unit, row["low"], row["high"], with_unit=False)
            told = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 7.5}
            ax.annotate(text, (1.01, y), color=style.SOFT, **told)
    _controls(ax, panel, place, shown, looked, shift_of)
    names = [
        f"{looks.joined(line, view.y)} {style.words(chosen.get(line, ''))}".strip()
        for line in lines
    ]
    for tick, line in zip(ax.set_yticks(range(len(lines)), names), lines, strict=True):
        if line in chosen:
            tick.label1.set(color=looks.role_look(chosen[line])[0], fontweight="bold")
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    ax.tick_params(axis="y", length=0)


def _controls(
    ax: Axes,
    panel: Panel,
    place: Mapping[Any, int],
    shown: Shown,
    looked: Mapping[Any, Look],
    shift_of: Mapping[Any, float],
) -> None:
    """Hollow dots below the estimates of their line; a control that is a range is a grey bar."""
    view = shown.view
    apart = bool(view.series) and panel.control[view.series].isin(list(looked)).any()
    for row, line in zip(
        panel.control.to_dict("records"), _keys(panel.control, view.y), strict=True
    ):
        if line not in place:
            continue
        turn = view.control.index(row["against"])
        value = row[view.series] if apart else ""
        below = max(shift_of.values(), default=0.0) + looks.HOLLOW_SHIFT
        y = place[line] + (shift_of.get(value, 0.0) if apart else below)
        if not math.isfinite(row["mean"]):
            bar = {"linewidth": 5, "alpha": 0.6, "solid_capstyle": "butt", "zorder": 1.5}
            ax.plot([row["low"], row["high"]], [y, y], color=style.FAINT, **bar)
            continue
        colour = looked[value].colour if apart and value in looked else style.SOFT
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=0.9, zorder=2)
        hollow = {"markerfacecolor": "white", "markersize": 4.2, "zorder": 2.5}
        ax.plot(row["mean"], y, looks.MARKS[turn % len(looks.MARKS)], color=colour, **hollow)


def _chosen(rows: pd.DataFrame, columns: Sequence[str]) -> dict[Any, str]:
    """Lines whose key ``chosen`` gives them a role."""
    if "chosen" not in rows or "chosen" in columns:
        return {}
    return looks.roles_of(rows.assign(line=_keys(rows, columns)), "line")


def _handles(shown: Shown, looked: Mapping[Any, Look]) -> list[Any]:
    found: list[Any] = []
    if shown.view.series:
        for look in looked.values():
            dot = {"marker": look.marker, "linestyle": "", "markersize": 4.6}
            found.append(Line2D([], [], color=look.colour, label=look.label, **dot))
    elif len(shown.view.control) < 2:
        return []
    else:
        dot = {"marker": "o", "linestyle": "", "markersize": 4.6}
        found.append(Line2D([], [], color=style.SPARE_COLOURS[0], label="estimate", **dot))
    for turn, name in enumerate(shown.view.control):
        if shown.control.loc[shown.control["against"] == name, "mean"].notna().any():
            hollow = {"marker": looks.MARKS[turn % len(looks.MARKS)], "markerfacecolor": "white"}
            label = {"label": style.words(name), "linestyle": "", "markersize": 4.2}
            found.append(Line2D([], [], color=style.SOFT, **hollow, **label))
        else:
            found.append(Patch(color=style.FAINT, alpha=0.6, linewidth=0, label=style.words(name)))
    return found


def _notes(shown: Shown, left_out: int, looked: Mapping[Any, Look]) -> list[str]:
    view = shown.view
    found = [
        frame.marks_note(shown.rows, "Dots", "lines"),
        frame.steps_note(shown.rows, along=False),
    ]
    for name in view.control:
        rows = shown.control[shown.control["against"] == name]
        kind = "Hollow" if rows["mean"].notna().any() else "Grey bars"
        found.append(f"{kind}: {style.words(name)}.")
    if left_out:
        found.append(f"The largest {view.top:,}; {left_out:,} smaller ones left out.")
    if view.series and shown.rows[view.series].nunique() > len(looked):
        grey = shown.rows[view.series].nunique() - len(looked)
        found.append(f"Grey: {grey:,} more, beyond {looks.MOST} that can be told apart.")
    return found
