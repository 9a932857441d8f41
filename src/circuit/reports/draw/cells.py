"""Cells: a map with numbers where they fit, the control's in brackets, and a colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex

from circuit.reports import style
from circuit.reports.draw import frame, looks
from circuit.reports.draw.frame import Panel, Shown

_LINE, _TALL_LINE, _TALLEST = 0.27, 0.38, 9.0  # inches of a line, with a control, and of all
_TEXT = 7.0
_BAR = 1.0  # inches that a colour bar takes
_MOST_STEPS = 12


def draw_cells(shown: Shown) -> None:
    """Draw a :class:`~circuit.reports.views.Cells`."""
    view = shown.view
    shown.one_each(shown.rows, [*view.panels, view.x, view.y])
    shown.one_each(shown.control, [*view.panels, "against", view.x, view.y])
    panels = shown.panels()
    xs, ys = (_values(shown.rows, name) for name in (view.x, view.y))
    texts, roles = [looks.spelled(x) for x in xs], looks.roles_of(shown.rows, view.y)
    names = [f"{looks.spelled(y)} {style.words(roles.get(y, ''))}".strip() for y in ys]
    room = frame.WIDTH - max(style.text_width(name, 8) for name in names) - 0.35 - _BAR
    columns = min(frame.columns_for([p.values for p in panels]), 2)
    if room / columns / len(xs) < 0.12:
        columns = 1
    wide = room / columns / len(xs)
    longest = max(style.text_width(text, 8) for text in texts)
    upright = view.x == "step" or longest < 0.9 * wide
    line = min(_TALL_LINE if view.control else _LINE, _TALLEST / len(ys))
    high = line * len(ys) + (0.55 if upright else 0.3 + 0.65 * longest)
    height = -(-len(panels) // columns) * (high + (0.3 if view.panels else 0.05))
    notes = frame.notes(shown.rows, "Colours", "", along="step" in (view.x, view.y))
    if view.control:
        notes.append(f"In brackets: {', '.join(map(style.words, view.control))}.")
    if any(len(panel.rows) < len(xs) * len(ys) for panel in panels):
        notes.append("Grey: there is no such number.")
    thin = style.every_nth(len(ys), max(1, int(line * len(ys) / 0.15)))
    with shown.axes([panel.title for panel in panels], columns, height, notes) as axes:
        for unit in dict.fromkeys(panel.unit for panel in panels):
            same = [(ax, p) for ax, p in zip(axes, panels, strict=True) if p.unit == unit]
            scale = _scale([panel for _, panel in same])
            for ax, panel in same:
                control = panel.control
                parts = [control[control["against"] == name] for name in view.control]
                # Lines (y) by columns (x), missing where there is no row.
                maps = [
                    part.pivot_table(index=view.y, columns=view.x, values="mean")
                    .reindex(index=ys, columns=xs)
                    .to_numpy(float)
                    for part in (panel.rows, *parts)
                ]
                _map(ax, panel, maps, scale, wide, line)
            bar = style.colour_bar(scale, [ax for ax, _ in same], same[0][1].label, aspect=22)
            if same[0][1].percent:
                style.in_percent(bar.ax.yaxis)
        for i, ax in enumerate(axes):
            _ticks(ax, view.x, xs, texts, upright, i + columns >= len(axes))
            ticks = ax.set_yticks(thin, [names[k] if i % columns == 0 else "" for k in thin])
            frame.in_colours(ticks, [roles.get(ys[k], "") for k in thin])


def _values(rows: pd.DataFrame, column: str) -> list[Any]:
    """Values in the order of the rows; numbers by size."""
    values = list(dict.fromkeys(rows[column]))
    return sorted(values, key=float) if all(map(looks.is_number, values)) else values


def _scale(panels: Sequence[Panel]) -> ScalarMappable:
    """Colours that diverge from zero for signed numbers, else from white."""
    means = pd.concat([panel.rows["mean"] for panel in panels]).to_numpy(float)
    finite = means[np.isfinite(means)]
    size = float(np.abs(finite).max(initial=0.0)) or 1.0
    if any(panel.signed for panel in panels):
        return ScalarMappable(Normalize(-size, size), colormaps[style.DIVERGING])
    whole = panels[0].percent and 0.5 < size <= 1
    return ScalarMappable(Normalize(0, 1.0 if whole else size), style.SEQUENTIAL)


def _map(
    ax: Axes,
    panel: Panel,
    maps: Sequence[np.ndarray],
    scale: ScalarMappable,
    wide: float,
    high: float,
) -> None:
    """A map and its controls', in cells so wide and high."""
    table, *controls = maps
    ax.set_facecolor(style.GRID)
    ax.imshow(table, cmap=scale.cmap, norm=scale.norm, aspect="auto")
    texts = {
        place: [_number(value, panel, scale)]
        + [f"({_number(float(control[place]), panel, scale)})" for control in controls]
        for place, value in np.ndenumerate(table)
        if np.isfinite(value)
    }
    parts = [part for text in texts.values() for part in text]
    widest = max((style.text_width(part, _TEXT) for part in parts), default=0)
    if widest < 0.94 * wide and 0.13 * len(maps) < high:
        for (i, j), text in texts.items():
            ink = style.readable_on(to_hex(scale.cmap(scale.norm(table[i, j]))))
            place = {"ha": "center", "va": "center", "linespacing": 1.05}
            ax.text(j, i, "\n".join(text), fontsize=_TEXT, color=ink, **place)
    style.bare(ax)
    for axis, count in zip((ax.yaxis, ax.xaxis), table.shape, strict=True):
        if axis is ax.yaxis or count <= 40:
            axis.set_ticks(np.arange(0.5, count - 1), minor=True)
            axis.grid(which="minor", color="white", linewidth=0.8)


def _number(value: float, panel: Panel, scale: ScalarMappable) -> str:
    """A number as it stands in a cell: two digits of the largest one's."""
    if not np.isfinite(value):
        return "–"
    times, sign = (100, "%") if panel.percent else (1, "")
    digits = int(np.floor(np.log10(times * scale.norm.vmax)))
    decimals = 0 if panel.unit == "step" else min(max(0, 1 - digits), 4)
    text = f"{round(times * value, decimals) + 0.0:,.{decimals}f}".replace("-", "−")
    return f"{text}{sign}"


def _ticks(
    ax: Axes, x: str, xs: Sequence[Any], texts: Sequence[str], upright: bool, lowest: bool
) -> None:
    kept = style.every_nth(len(xs), _MOST_STEPS if x == "step" else 45)
    if x == "step" and lowest:
        ax.set_xlabel("training step of the checkpoint")
    elif all(map(looks.is_number, xs)) and lowest:
        ax.set_xlabel(style.words(x))
    turned = {} if upright else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(kept, [texts[k] for k in kept], **turned)
    ax.tick_params(axis="x", labelbottom=lowest)
