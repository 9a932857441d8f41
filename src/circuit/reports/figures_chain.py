"""Figures of retrieval: the chain over training, role maps of all heads, singular directions."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_hex

from circuit.measures.heads.chain import LINKS
from circuit.reports.style import (
    DIVERGING,
    ROLE_COLOURS,
    ROLE_LINES,
    SEQUENTIAL,
    SOFT,
    SPARE_COLOURS,
    counts,
    interval_line,
    need,
    picture,
    readable_on,
    side_legend,
    step_axis,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_TITLES = {
    "score": ("Score: support value − mean of value distractors", "score"),
    "mass": ("Attention mass on the support value", "probability"),
    "support value margin": ("OV image of the support value: value margin", "logit"),
    "attended value margin": ("OV image of what is attended: value margin", "logit"),
    "direct logit": ("Direct logit of the write: value margin", "logit"),
}
_MARKED = 0.3  # entries of a role map from which on their number is written


def chain(rows: pd.DataFrame, heads: Mapping[str, str], path: StrPath) -> None:
    """Draw every link's level (left) and its change since the checkpoint before (right).

    Args:
        rows: of the attention geometry.
        heads: name of the choice (``winner``, …) → head, in the order of the legend.
    """
    need(rows, ("step", "head", "role", "measure", "mean", "delta", "count"), "the chain")
    note = (
        "Left: means. Right: change since the checkpoint before. Bands: bootstrap 95% intervals "
        f"over events; {counts(rows['count'], 'events')} per step.\nValue margins are against the "
        "best other value, so a head that knows nothing is below 0."
    )
    title = "The retrieval chain: score, mass, value margin, logit"
    with picture(path, title, note, height=1.0 + 1.55 * len(LINKS)) as body:
        axes = body.subplots(len(LINKS), 2, sharex=True, squeeze=False)
        for (level, change), (link, (role, measure)) in zip(axes, LINKS.items(), strict=True):
            chosen = rows[(rows["role"] == role) & (rows["measure"] == measure)]
            name, unit = _TITLES[link]
            for ax, prefix, what in ((level, "", name), (change, "delta", "Change")):
                zero_line(ax)
                _lines(ax, chosen, heads, prefix)
                ax.set_title(what)
                ax.set_ylabel(unit)
        side_legend(axes[0, 1], "head")
        for ax in axes[-1]:
            step_axis(ax, ticks=5)


def _lines(ax: Axes, rows: pd.DataFrame, heads: Mapping[str, str], prefix: str) -> None:
    for i, (role, head) in enumerate(heads.items()):
        part = rows[rows["head"] == head]
        if prefix:
            names = {prefix: "mean", f"{prefix}_low": "low", f"{prefix}_high": "high"}
            part = part.drop(columns=["mean", "low", "high"]).rename(columns=names)
        colour = ROLE_COLOURS.get(role, SPARE_COLOURS[i])
        line = ROLE_LINES.get(role, "-")
        interval_line(ax, part, f"{head} {words(role)}", colour, linestyle=line)


def maps_by_role(maps: pd.DataFrame, path: StrPath) -> None:
    """Draw each head's map of attention from query roles to key roles at the last checkpoint."""
    need(maps, ("step", "head", "query_role", "key_role", "mean", "count"), "role maps")
    last = int(maps["step"].max())
    part = maps[maps["step"] == last]
    heads = list(dict.fromkeys(part["head"]))
    across = math.ceil(math.sqrt(len(heads)))
    down = math.ceil(len(heads) / across)
    note = (
        "Rows: role of the position that looks; columns: where it looks. Colour: attention mass, "
        f"mean over events ({counts(part['count'], 'events')}); numbers are\npercent, from "
        f"{_MARKED:.0%} on. Roles overlap, so rows need not sum to 1. Last map: attention spread "
        "evenly."
    )
    title = f"Role-conditioned attention of every head at step {last:,}"
    with picture(path, title, note, width=9.0, height=1.9 + 1.45 * down) as body:
        axes = body.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        image = None
        for ax, head in zip(axes.flat, heads, strict=False):
            table = part[part["head"] == head].pivot(
                index="query_role", columns="key_role", values="mean"
            )
            rows, columns = (list(dict.fromkeys(part[c])) for c in ("query_role", "key_role"))
            table = table.loc[rows, columns]
            image = ax.imshow(table, cmap=SEQUENTIAL, norm=Normalize(0, 1), aspect="auto")
            for (y, x), value in np.ndenumerate(table.to_numpy()):
                if value >= _MARKED:
                    ink = readable_on(to_hex(SEQUENTIAL(value)))
                    ax.text(x, y, f"{100 * value:.0f}", ha="center", va="center", size=6, color=ink)
            ax.set_title(head, pad=3)
            ax.set_xticks(range(len(columns)), [words(c) for c in columns], rotation=90, size=7)
            ax.set_yticks(range(len(rows)), [words(r) for r in rows], size=7)
            ax.grid(visible=False)
            ax.tick_params(length=0)
            ax.spines[:].set(visible=True, linewidth=0.5, color=SOFT)
        for ax in axes.flat[len(heads) :]:
            ax.set_axis_off()
        if image is not None:
            bar = body.colorbar(image, ax=axes, pad=0.01, aspect=30, shrink=0.7)
            bar.set_label("attention mass (probability)")
            bar.outline.set_visible(False)


def directions(rows: pd.DataFrame, head: str, path: StrPath) -> None:
    """Draw what both sides of each singular direction of one head have of places and tokens."""
    need(rows, ("step", "head", "matrix", "direction", "side", "level", "item"), "directions")
    last = int(rows["step"].max())
    part = rows[(rows["step"] == last) & (rows["head"] == head)]
    sides = list(part.groupby(["matrix", "direction", "side"], sort=False))
    widths = {level: int(part[part["level"] == level]["rank"].max()) for level in _LEVELS}
    note = (
        "Projections of states on each side, signed; a direction's two sides share one sign. "
        "Colour: relative to the largest of its row and level.\nPlaces: mean of a kind of position "
        "less that of all. Tokens: positions of one place, by the token so many places before."
    )
    title = f"Top singular directions of {head} at step {last:,}"
    with picture(path, title, note, width=9.0, height=1.35 + 0.4 * len(sides)) as body:
        axes = body.subplots(1, 2, width_ratios=list(widths.values()), sharey=True)
        for ax, (level, title_of) in zip(axes, _LEVELS.items(), strict=True):
            for y, (_, items) in enumerate(sides):
                _cells(ax, y, items[items["level"] == level].sort_values("rank"), level)
            ax.set_xlim(-0.5, widths[level] + 0.4)  # room for the share
            ax.set_ylim(len(sides) - 0.5, -0.5)
            ax.set_title(title_of)
            ax.set_xticks([])
            ax.grid(visible=False)
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        names = [
            f"{matrix} {number} {side}  σ {items['singular_value'].iloc[0]:.2f}"
            for (matrix, number, side), items in sides
        ]
        axes[0].set_yticks(range(len(sides)), names)


_LEVELS = {
    "place": "Places (share of variance)",
    "token": "Tokens at one place (share of what is left, and how far back)",
}


def _cells(ax: Axes, y: int, items: pd.DataFrame, level: str) -> None:
    """One row of cells: an item and its projection in each."""
    colours = matplotlib.colormaps[DIVERGING]
    scale = Normalize(-1, 1)
    largest = float(items["projection"].abs().max()) or 1.0
    for x, row in enumerate(items.itertuples()):
        colour = to_hex(colours(scale(0.75 * row.projection / largest)))
        ax.add_patch(
            matplotlib.patches.Rectangle(
                (x - 0.5, y - 0.44), 0.96, 0.88, facecolor=colour, edgecolor="none"
            )
        )
        ax.text(
            x,
            y,
            f"{row.item}\n{row.projection:+.2f}".replace("-", "−"),
            ha="center",
            va="center",
            size=6.5,
            linespacing=1.05,
            color=readable_on(colour),
        )
    explained = items["explained"].iloc[0]
    text = "" if math.isnan(explained) else f"{explained:.0%}"
    if level == "token" and text:
        back = int(items["offset"].iloc[0])
        text += "\nitself" if back == 0 else f"\n{back} back"
    ax.text(len(items) - 0.4, y, text, ha="left", va="center", size=6.5, color=SOFT)
