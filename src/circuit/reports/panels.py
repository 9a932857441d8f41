"""Bars that are stacked by sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from circuit.reports.style import INK, zero_line


def signed_bars(
    ax: Axes, table: pd.DataFrame, colours: Mapping[str, Any], whole: pd.Series | None = None
) -> None:
    """Horizontal bars, one per row, stacked by sign, with each bar's total as a dot.

    Args:
        table: parts of a bar in columns, all of which have a colour.
        whole: where the dots stand; at the sums of the parts if it is not given.
    """
    places = np.arange(len(table))
    for sign in (1, -1):
        base = np.zeros(len(table))
        for name in table.columns:
            width = sign * np.clip(sign * table[name].to_numpy(), 0, None)
            ax.barh(places, width, left=base, height=0.7, color=colours[name], zorder=2)
            base = base + width
    dots = table.sum(axis=1) if whole is None else whole
    ax.plot(dots, places, "o", color=INK, markersize=3.4, zorder=4)
    zero_line(ax, "x")
    ax.set_yticks(places, [str(name) for name in table.index], fontsize=7.5)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.use_sticky_edges = False  # else bars would touch the frame, and their dots be cut
    ax.margins(x=0.05)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    ax.tick_params(axis="y", length=0)
