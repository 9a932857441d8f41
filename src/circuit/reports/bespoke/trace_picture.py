"""The figure of one traced program: where heads look, and how the margin comes together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from circuit.reports.style import (
    GRID,
    INK,
    SEQUENTIAL,
    SOFT,
    picture,
    role_colour,
    role_legend,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_UP, _DOWN, _WHOLE = "#0072b2", "#d55e00", INK
_TITLES = {"prediction": "From the prediction", "support_value": "From the support value"}
_LEGEND = 0.4  # inches
SMALL = 0.03  # of the largest write: what is smaller is drawn together


def story(
    facts: Mapping[str, Any], attention: pd.DataFrame, paths: pd.DataFrame, path: StrPath
) -> None:
    """Draw every head's attention at both positions, and the margin as a sum of direct paths.

    Args:
        facts, attention, paths: those of the trace.
    """
    heads = {
        role: list(dict.fromkeys(attention[attention["query_role"] == role]["head"]))
        for role in _TITLES
    }
    shown = [role for role in _TITLES if heads[role]]
    rows = [0.9 + 0.19 * len(heads[role]) for role in shown]
    writes = _writes(paths)
    title = f"One read, step by step: {facts['key']} → {facts['answer']} at step {facts['step']:,}"
    note = (
        f"n = 1 event (read {facts['read_index']} of program {facts['sample_id']}), so no "
        "intervals. Rows of a map sum to 1; tokens in the colour of their role.\nBelow: direct "
        f"paths to the margin over {facts['rival']}, in the model's order; they sum to the margin."
    )
    height = 1.0 + sum(rows) + _LEGEND + 2.6
    with picture(path, title, note, width=10, height=height) as body:
        grid = body.add_gridspec(len(shown) + 2, 1, height_ratios=[*rows, _LEGEND, 2.4])
        axes, image = [], None
        for i, role in enumerate(shown):
            ax = body.add_subplot(grid[i])
            part = attention[attention["query_role"] == role]
            image = _map(ax, part, heads[role], facts["tokens"], facts["roles"])
            ax.set_title(f"{_TITLES[role]}, position {facts['positions'][role]}")
            axes.append(ax)
        bar = body.colorbar(image, ax=axes, pad=0.01, aspect=16)
        bar.set_label("attention (probability)")
        bar.outline.set_visible(False)
        role_legend(body.add_subplot(grid[-2]), facts["roles"], 9, loc="center left")
        _waterfall(body.add_subplot(grid[-1]), writes)


def _map(
    ax: Axes, part: pd.DataFrame, heads: list[str], tokens: list[str], roles: list[str]
) -> AxesImage:
    """Heads (rows) by positions (columns); positions after the query are not there."""
    table = part.pivot(index="head", columns="key_position", values="attention").loc[heads]
    values = np.full((len(heads), len(tokens)), np.nan)
    values[:, table.columns] = table.to_numpy()
    image = ax.imshow(values, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    ax.set_facecolor(GRID)
    ax.set_yticks(range(len(heads)), heads)
    size = min(7.0, 330 / len(tokens))
    labels = [token.replace("<", "‹").replace(">", "›") for token in tokens]
    ticks = ax.set_xticks(range(len(tokens)), labels, rotation=90, size=size)
    for tick, role in zip(ticks, roles, strict=True):
        tick.label1.set_color(role_colour(role))
        tick.label1.set_fontweight("bold" if role in ("support_value", "query_key") else "normal")
    ax.set_yticks(np.arange(0.5, len(heads) - 1), minor=True)
    ax.grid(visible=False, which="major")
    ax.grid(axis="y", which="minor", color="white", linewidth=0.8)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    return image


def _writes(paths: pd.DataFrame) -> pd.DataFrame:
    """Direct paths in the model's order, those too small to see as one."""
    direct = paths[paths["modules"] == 0].sort_values("order", kind="stable")
    small = direct["value_margin"].abs() < SMALL * direct["value_margin"].abs().max()
    kept = direct[~small][["source", "value_margin"]]
    if not small.any():
        return kept
    rest = {
        "source": f"{small.sum()} smaller",
        "value_margin": direct[small]["value_margin"].sum(),
    }
    return pd.concat([kept, pd.DataFrame([rest])], ignore_index=True)


def _waterfall(ax: Axes, writes: pd.DataFrame) -> None:
    """Every direct path from where the ones before it left the margin, then the margin."""
    values = writes["value_margin"].to_numpy(dtype=float)
    starts = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    ax.bar(places, values, 0.7, bottom=starts[:-1], color=[_UP if v > 0 else _DOWN for v in values])
    ax.bar(len(values), starts[-1], 0.7, color=_WHOLE)
    ax.hlines(starts[1:], places, places + 1, color=SOFT, linewidth=0.6)
    for place, (value, start) in enumerate(
        zip([*values, starts[-1]], [*starts[:-1], 0.0], strict=True)
    ):
        top = max(start, start + value)
        text = f"{value:+.2f}".replace("-", "−")
        ax.annotate(text, (place, top), (0, 2), textcoords="offset points", ha="center", size=6.5)
    names = [name if "." in name else words(name) for name in writes["source"]]
    ax.set_xticks(range(len(names) + 1), [*names, "margin"], rotation=35, ha="right")
    ax.set_ylim(_wider(starts))
    zero_line(ax)
    ax.set_ylabel("value margin (logit)")
    ax.set_title("The margin, write by write")


def _wider(ends: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Limits with room for the numbers above the bars."""
    low, high = float(ends.min()), float(ends.max())
    room = 0.12 * (high - low or 1.0)
    return low - room, high + room
