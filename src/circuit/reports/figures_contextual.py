"""Figures of contextual geometry: groups of states over training, and what heads see of them."""

from __future__ import annotations

import os

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from circuit.reports.style import (
    FAINT,
    INK,
    ROLE_COLOURS,
    ROLE_LINES,
    SEQUENTIAL,
    SPARE_COLOURS,
    counts,
    every_nth,
    interval_line,
    need,
    picture,
    share_axis,
    side_legend,
    stage_looks,
    step_axis,
    words,
)

StrPath = str | os.PathLike[str]

TOKEN_GROUPS = (
    ("prediction", "query_key"),
    ("support_key", "query_key"),
    ("support_value", "answer"),
)
"""(role, group) whose groups the token at the role names by itself."""
MATCHED = {
    "qk_query": "query_key",
    "qk_key": "query_key",
    "ov_input": "answer",
    "ov_output": "answer",
}
"""The groups that each side of a lookup head's maps should see."""
_BAND = ("mean", "low", "high", "count")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_MATRIX_TICKS = 8


def contextual_cells(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """(role, group) of the table that no token names by itself; all of them if there is none."""
    cells = [(str(r), str(g)) for r, g in rows[["role", "group"]].drop_duplicates().to_numpy()]
    return [cell for cell in cells if cell not in TOKEN_GROUPS] or cells


def separability(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw the probe's accuracy at every stage over training, one panel per role and group."""
    need(rows, ("step", "site", "role", "group", "space", "measure", *_BAND), "separability")
    part = rows[(rows["space"] == "full") & (rows["measure"] == "probe_accuracy")]
    cells = list(dict.fromkeys(zip(part["role"], part["group"], strict=True)))
    cells.sort(key=lambda cell: cell in TOKEN_GROUPS)
    note = (
        "Nearest group mean in the metric of scatter within groups: fitted on even programs, "
        f"scored on odd ones; {counts(part['count'], 'states')}.\nBands: bootstrap 95% intervals "
        "over programs. Grey: 95% of shuffled labels, over all stages. “Token”: the token itself "
        "names the group."
    )
    down = -(-len(cells) // 2)
    with picture(
        path, "Which groups a linear probe tells apart, by stage", note, height=0.9 + 2.35 * down
    ) as body:
        panels = body.subplots(down, 2, sharex=True, sharey=True, squeeze=False)
        for ax, cell in zip(panels.flat, cells, strict=False):
            here = part[(part["role"] == cell[0]) & (part["group"] == cell[1])]
            _stages(ax, here)
            what = ", token" if cell in TOKEN_GROUPS else ""
            ax.set_title(f"{words(cell[1])} at {words(cell[0])}{what}")
        for ax in panels.flat[len(cells) :]:
            ax.set_axis_off()
        for ax in panels[-1]:
            step_axis(ax, ticks=5)
        for ax in panels[:, 0]:
            ax.set_ylabel("probe accuracy (%)")
        side_legend(panels[0, -1], "after", fontsize=7.5)


def alignment_curves(alignment: pd.DataFrame, path: StrPath) -> None:
    """Draw how much of the groups' variance the heads' singular subspaces hold over training."""
    need(
        alignment,
        ("step", "head", "chosen", "side", "role", "compared", "measure", *_BAND, "random_low"),
        "alignment",
    )
    part = alignment[
        (alignment["measure"] == "variance_share")
        & (alignment["compared"] == "group_means:" + alignment["side"].map(MATCHED))
    ]
    panels = list(dict.fromkeys(zip(part["side"], part["role"], strict=True)))
    note = (
        "Lines: means; bands: bootstrap 95% intervals over programs; "
        f"{counts(part['count'], 'states')}. Dotted: 97.5% quantile of the same head with shuffled"
        "\nlabels. Grey: 95% of random subspaces of the same rank. A head sees the groups where it "
        "lies above both."
    )
    down = max(1, -(-len(panels) // 2))
    with picture(
        path,
        "Share of between-group variance in the heads' singular subspaces",
        note,
        height=0.9 + 2.35 * down,
    ) as body:
        axes = body.subplots(down, 2, sharex=True, sharey=True, squeeze=False)
        for ax, (side, role) in zip(axes.flat, panels, strict=False):
            here = part[(part["side"] == side) & (part["role"] == role)]
            _heads(ax, here)
            ax.set_title(f"{side_words(side)}: {words(MATCHED[side])} at {words(role)}")
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()
        for ax in axes[-1]:
            step_axis(ax, ticks=5)
        for ax in axes[:, 0]:
            ax.set_ylabel("share of variance (%)")
        side_legend(axes[0, -1], "head")


def group_distances(pairwise: pd.DataFrame, path: StrPath) -> None:
    """Draw distances of group means as matrices: first and last checkpoint."""
    need(
        pairwise,
        ("step", "site", "role", "group", "a", "b", "distance", "shuffled"),
        "group distances",
    )
    cells, steps = contextual_cells(pairwise), sorted(pairwise["step"].unique())
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


def axes(projections: pd.DataFrame, path: StrPath) -> None:
    """Draw states in the plane of their group means: first and last checkpoint."""
    need(
        projections,
        ("step", "site", "role", "group", "member", "x", "y"),
        "states in the plane of their groups",
    )
    cells, steps = contextual_cells(projections), sorted(projections["step"].unique())
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


def _stages(ax: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys(rows["site"]))
    low, high = (rows.groupby("step")[f"shuffled_{end}"] for end in ("low", "high"))
    ax.fill_between(low.min().index, low.min(), high.max(), color=FAINT, alpha=0.5, linewidth=0)
    for name, look in stage_looks(names).items():
        interval_line(ax, rows[rows["site"] == name], words(name), marker=None, **look)
    share_axis(ax, "")


def _heads(ax: Axes, rows: pd.DataFrame) -> None:
    """A line for each head with its shuffled control, and the band of random subspaces.

    Where heads read different sites, the band is the widest.
    """
    for chosen, colour in ROLE_COLOURS.items():
        line = rows[rows["chosen"] == chosen].sort_values("step")
        label = f"{line['head'].iloc[0]} {words(chosen)}"
        interval_line(ax, line, label, colour, linestyle=ROLE_LINES[chosen])
        ax.plot(line["step"], line["shuffled_high"], color=colour, linestyle=":", linewidth=1)
    bands = rows.groupby("step")
    low, high = bands["random_low"].min(), bands["random_high"].max()
    ax.fill_between(low.index, low, high, color=FAINT, alpha=0.5, linewidth=0, label="random")
    share_axis(ax, "")


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


def side_words(side: str) -> str:
    """``qk_query`` → ``QK query``."""
    kind, _, name = side.partition("_")
    return f"{kind.upper()} {name}"
