"""Groups of states seen closely: distances of their means as matrices, states in a plane."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from circuit.reports.style import (
    INK,
    SEQUENTIAL,
    SPARE_COLOURS,
    counts,
    every_nth,
    picture,
    side_legend,
    words,
)

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_MATRIX_TICKS = 8


def _cells(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """(role, group) that no token names by itself; all of them if there is none."""
    pairs = rows[["role", "group", "known_by"]].drop_duplicates()
    untold = pairs[pairs["known_by"] == "context"]
    shown = untold if len(untold) else pairs
    return [(str(role), str(group)) for role, group in shown[["role", "group"]].to_numpy()]


def group_distances(pairwise: pd.DataFrame, path: str) -> None:
    """Draw distances of group means as matrices: first and last checkpoint."""
    cells, steps = _cells(pairwise), sorted(pairwise["step"].unique())
    note = (
        "Distance of two group means over the root mean square distance of states to their group's "
        "mean.\nBrackets: mean over pairs, and with shuffled labels, which is what chance in means "
        "of few states gives."
    )
    with picture(
        path,
        f"Distances between groups at step {steps[0]:,} and at step {steps[-1]:,}",
        note,
        width=7.2,
        height=0.8 + 3.15 * len(cells),
    ) as body:
        panels = body.subplots(len(cells), len(steps), squeeze=False)
        for row, (role, group) in zip(panels, cells, strict=True):
            here = pairwise[(pairwise["role"] == role) & (pairwise["group"] == group)]
            norm = Normalize(0, float(here["distance"].max()))
            for ax, step in zip(row, steps, strict=True):
                part = here[here["step"] == step]
                image = _matrix(ax, part, norm)
                ax.set_title(
                    f"{words(group)} at {words(role)}, step {step:,}\n{part['site'].iloc[0]} "
                    f"[{part['distance'].mean():.2f}, {part['shuffled'].mean():.2f}]",
                    fontsize=8,
                )
            bar = body.colorbar(image, ax=list(row), pad=0.015, aspect=18, shrink=0.85)
            bar.set_label("distance (within spread)")
            bar.outline.set_visible(False)


def axes(projections: pd.DataFrame, path: str) -> None:
    """Draw states in the plane of their group means: first and last checkpoint."""
    cells, steps = _cells(projections), sorted(projections["step"].unique())
    note = (
        "Plane: top two directions of scatter between the largest groups (at most 8), found in "
        "even programs; shown: states of odd programs,\n"
        f"{counts(_panel_sizes(projections), 'states')} each. Every panel has axes and scale of "
        "its own."
    )
    with picture(
        path,
        f"States by group at step {steps[0]:,} and at step {steps[-1]:,}",
        note,
        height=0.8 + 3.1 * len(cells),
    ) as body:
        panels = body.subplots(len(cells), len(steps), squeeze=False)
        for row, (role, group) in zip(panels, cells, strict=True):
            for ax, step in zip(row, steps, strict=True):
                part = projections[
                    (projections["role"] == role)
                    & (projections["group"] == group)
                    & (projections["step"] == step)
                ]
                _points(ax, part)
                title = f"{words(group)} at {words(role)}, step {step:,}\n{part['site'].iloc[0]}"
                ax.set_title(title, fontsize=8)
            side_legend(row[-1], words(group))


def _matrix(ax: Axes, part: pd.DataFrame, norm: Normalize) -> matplotlib.image.AxesImage:
    names = sorted({*part["a"], *part["b"]})
    place = {name: i for i, name in enumerate(names)}
    a, b = part["a"].map(place), part["b"].map(place)
    table = np.zeros((len(names), len(names)))
    table[a, b] = table[b, a] = part["distance"]
    image = ax.imshow(table, cmap=SEQUENTIAL, norm=norm)
    ticks = every_nth(len(names), _MATRIX_TICKS)
    ax.set_xticks(ticks, [names[i] for i in ticks], fontsize=7)
    ax.set_yticks(ticks, [names[i] for i in ticks], fontsize=7)
    ax.tick_params(length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return image


def _points(ax: Axes, part: pd.DataFrame) -> None:
    for i, (name, group) in enumerate(part.groupby("member")):
        style = {"color": (*SPARE_COLOURS, INK)[i % 8], "marker": _MARKERS[i % 8]}
        ax.scatter(group["x"], group["y"], s=12, alpha=0.6, linewidth=0, label=str(name), **style)
    ax.set_xlabel("axis 1 (state unit)")
    ax.set_ylabel("axis 2 (state unit)")
    ax.grid(visible=False)


def _panel_sizes(projections: pd.DataFrame) -> pd.Series:
    return projections.groupby(["step", "role", "group"]).size()
