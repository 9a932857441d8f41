"""The figure of one traced program: where heads look, and how the margin comes together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from circuit.estimates import require_sum
from circuit.reports.bespoke.attention import token_map
from circuit.reports.style import INK, SOFT, colour_bar, picture, role_legend, words, zero_line

_UP, _DOWN, _WHOLE = "#0072b2", "#d55e00", INK
_TITLES = {"prediction": "From the prediction", "support_value": "From the support value"}
_LEGEND = 0.4  # inches
_SMALL = 0.03  # of the largest write: what is smaller is drawn together


def story(
    facts: Mapping[str, Any], attention: pd.DataFrame, paths: pd.DataFrame, path: str
) -> None:
    """Draw every head's attention at both positions, and the margin as a sum of direct paths."""
    tokens, roles = facts["tokens"], facts["roles"]
    maps = {
        role: part.pivot(index="head", columns="key_position", values="attention")
        for role, part in attention.groupby("query_role", sort=False)
    }
    shown = [role for role in _TITLES if role in maps]
    rows = [0.9 + 0.19 * len(maps[role]) for role in shown]
    title = f"One read, step by step: {facts['key']} → {facts['answer']} at step {facts['step']:,}"
    note = (
        f"n = 1 event (read {facts['read_index']} of program {facts['sample_id']}), so no "
        "intervals. Rows of a map sum to 1; tokens in the colour of their role.\nBelow: direct "
        f"paths to the margin over {facts['rival']}, in the model's order; they sum to the margin."
    )
    height = 1.0 + sum(rows) + _LEGEND + 2.6
    with picture(path, title, note, width=10, height=height) as body:
        grid = body.add_gridspec(len(shown) + 2, 1, height_ratios=[*rows, _LEGEND, 2.4])
        axes = [body.add_subplot(grid[i]) for i in range(len(shown))]
        for ax, role in zip(axes, shown, strict=True):
            # Positions after the query are not there.
            table = maps[role].reindex(columns=range(len(tokens)))
            heads = list(table.index)
            image = token_map(ax, table.to_numpy(), heads, tokens, roles, len(heads))
            ax.set_yticks(np.arange(0.5, len(heads) - 1), minor=True)
            ax.grid(visible=True, axis="y", which="minor", color="white", linewidth=0.8)
            ax.set_title(f"{_TITLES[role]}, position {facts['positions'][role]}")
        colour_bar(image, axes, "attention (probability)", pad=0.01, aspect=16)
        role_legend(body.add_subplot(grid[-2]), roles, 9, loc="center left")
        _waterfall(body.add_subplot(grid[-1]), _writes(paths), facts["value_margin"])


def _writes(paths: pd.DataFrame) -> pd.Series:
    """Direct paths in the model's order, those too small to see as one."""
    direct = paths[paths["modules"] == 0].sort_values("order", kind="stable")
    values = direct.set_index("source")["value_margin"]
    small = values.abs() < _SMALL * values.abs().max()
    rest = {f"{small.sum()} smaller": values[small].sum()} if small.any() else {}
    return pd.concat([values[~small], pd.Series(rest, dtype=float)])


def _waterfall(ax: Axes, writes: pd.Series, margin: float) -> None:
    """Every direct path from where the ones before it left the margin, then the margin."""
    places, ends = np.arange(len(writes) + 1), writes.cumsum().to_numpy()
    require_sum(writes.to_numpy(), np.asarray(margin), "direct paths to the value margin")
    values = np.append(writes, margin)
    starts = np.concatenate([[0.0], ends[:-1], [0.0]])
    colours = [*(_UP if value > 0 else _DOWN for value in writes), _WHOLE]
    ax.bar(places, values, 0.7, bottom=starts, color=colours)
    ax.hlines(ends, places[:-1], places[1:], color=SOFT, linewidth=0.6)
    for place, value, top in zip(places, values, np.maximum(starts, starts + values), strict=True):
        text = f"{value:+.2f}".replace("-", "−")
        ax.annotate(text, (place, top), (0, 2), textcoords="offset points", ha="center", size=6.5)
    names = [*map(words, writes.index), "margin"]
    ax.set_xticks(places, names, rotation=35, ha="right")
    low, high = min(0.0, ends.min()), max(0.0, ends.max())
    room = 0.12 * (high - low or 1.0)  # for the numbers above the bars
    ax.set_ylim(low - room, high + room)
    zero_line(ax)
    ax.set_ylabel("value margin (logit)")
    ax.set_title("The margin, write by write")
