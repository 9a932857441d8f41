"""Groups of states seen closely: distances of their means as matrices, states in a plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from circuit.reports import style

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_MATRIX_TICKS = 8


def group_distances(pairwise: pd.DataFrame, path: str) -> None:
    """Draw distances of group means as matrices: first and last checkpoint."""
    note = (
        "Distance of two group means over the root mean square distance of states to their group's "
        "mean.\nBrackets: mean over pairs, and with shuffled labels, which is what chance in means "
        "of few states gives."
    )

    def row(axes: list[Axes], parts: list[pd.DataFrame]) -> None:
        norm = Normalize(0, max(float(part["distance"].max()) for part in parts))
        for ax, part in zip(axes, parts, strict=True):
            names = sorted({*part["a"], *part["b"]})
            pairs = part.set_index(["a", "b"])["distance"].unstack()
            half = pairs.reindex(index=names, columns=names).fillna(0.0).to_numpy()
            image = ax.imshow(half + half.T, cmap=style.SEQUENTIAL, norm=norm)
            ticks = style.every_nth(len(names), _MATRIX_TICKS)
            ax.set_xticks(ticks, [names[i] for i in ticks], fontsize=7)
            ax.set_yticks(ticks, [names[i] for i in ticks], fontsize=7)
            style.bare(ax)
            beside = f" [{part['distance'].mean():.2f}, {part['shuffled'].mean():.2f}]"
            ax.set_title(ax.get_title("left") + beside, fontsize=8)
        style.colour_bar(image, axes, "distance (within spread)", aspect=18, shrink=0.85)

    _draw(pairwise, path, "Distances between groups", note, 3.15, row, width=7.2)


def axes(projections: pd.DataFrame, path: str) -> None:
    """Draw states in the plane of their group means: first and last checkpoint."""
    sizes = projections.groupby(["step", "role", "group"]).size()
    note = (
        "Plane: top two directions of scatter between the largest groups (at most 8), found in "
        "even programs; shown: states of odd programs,\n"
        f"{style.counts(sizes, 'states')} each. Every panel has axes and scale of its own."
    )

    def row(axes: list[Axes], parts: list[pd.DataFrame]) -> None:
        for ax, part in zip(axes, parts, strict=True):
            for i, (name, group) in enumerate(part.groupby("member")):
                look = {"color": style.SPARE_COLOURS[i % 8], "marker": _MARKERS[i % 8]}
                dots = {"s": 12, "alpha": 0.6, "linewidth": 0, **look}
                ax.scatter(group["x"], group["y"], label=str(name), **dots)
            ax.set(xlabel="axis 1 (state unit)", ylabel="axis 2 (state unit)")
            ax.grid(visible=False)
        style.side_legend(axes[-1], style.words(parts[0]["group"].iloc[0]))

    _draw(projections, path, "States by group", note, 3.1, row)


def _draw(
    states: pd.DataFrame,
    path: str,
    title: str,
    note: str,
    high: float,
    row: Callable[[list[Axes], list[pd.DataFrame]], None],
    **size: Any,
) -> None:
    """A row for every grouping that no token tells, else for all; a panel for every checkpoint."""
    untold = states[states["known_by"] == "context"]
    shown = untold if len(untold) else states
    cells, steps = (
        list(shown.groupby(["role", "group"], sort=False)),
        sorted(states["step"].unique()),
    )
    title = f"{title} at step {steps[0]:,} and at step {steps[-1]:,}"
    with style.picture(path, title, note, height=0.8 + high * len(cells), **size) as body:
        panels = body.subplots(len(cells), len(steps), squeeze=False)
        for axes, ((role, group), here) in zip(panels, cells, strict=True):
            parts = [here[here["step"] == step] for step in steps]
            for ax, step, part in zip(axes, steps, parts, strict=True):
                site = part["site"].iloc[0]
                name = f"{style.words(group)} at {style.words(role)}, step {step:,}\n{site}"
                ax.set_title(name, fontsize=8)
            row(list(axes), parts)
