"""Pictures of attention: real patterns over training, and what singular directions tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_hex
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from circuit.reports import style

_CHECKPOINTS = 20  # rows of a strip; more are thinned, and the figure says so
_OUTLINE = "#d55e00"
_LEVELS = {
    "place": "Places (share of variance)",
    "token": "Tokens at one place (share of the rest, how far back)",
}


def patterns(patterns: pd.DataFrame, path: str) -> None:
    """Draw, for each event, the attention on every position (columns) at every checkpoint (rows).

    Under each strip stand the program's tokens in the colour of their role; the support value is
    outlined, and the bars at the right are the attention it gets.
    """
    events = list(dict.fromkeys(patterns["event"]))
    steps = sorted(patterns["step"].unique())
    shown = style.thinned(steps, _CHECKPOINTS)
    kept = "" if len(shown) == len(steps) else f", {len(shown)} of {len(steps)} checkpoints"
    note = (
        "One strip per read event; columns: positions up to the prediction; rows: checkpoints, "
        f"untrained at the top{kept}.\nEvery row sums to 1. Outlined: the support value, "
        "where the right answer stands. Bars: attention on it."
    )
    strip = 0.72 + 0.075 * len(shown)
    title = f"Attention from the prediction position in {len(events)} real programs"
    height = 0.62 + len(events) * (strip + 0.12) + 0.55
    with style.picture(path, title, note, height=height) as body:
        high = [*[strip] * len(events), 0.4]
        grid = body.add_gridspec(len(events) + 1, 2, width_ratios=[12, 1.15], height_ratios=high)
        for i, event in enumerate(events):
            part = patterns[(patterns["event"] == event) & patterns["step"].isin(shown)]
            table = part.pivot(index="step", columns="position", values="attention")
            labels = part[part["step"] == shown[0]].sort_values("position")
            ax, bars = body.add_subplot(grid[i, 0]), body.add_subplot(grid[i, 1])
            image = token_map(ax, table.to_numpy(), shown, labels["token"], labels["role"], 5)
            _support(ax, bars, table.to_numpy(), labels["role"].to_numpy() == "support_value")
            begins = np.flatnonzero(labels["token"].isin(["W", "R"]))[1:]
            line = {"color": style.GRID, "linewidth": 0.6, "zorder": 3}
            ax.vlines(begins - 0.5, -0.5, len(shown) - 0.5, **line)
            at = dict(zip(labels["role"], labels["token"], strict=True))
            ax.set_title(
                f"R {at.get('query_key', '?')} → {at.get('support_value', '?')}: event {event}, "
                f"program {labels['sample_id'].iloc[0]}",
            )
            ax.set_ylabel("step")
        bars.set_xlabel("probability", fontsize=7.5)
        foot = body.add_subplot(grid[-1, :])
        style.role_legend(foot, patterns["role"], 4, loc="upper left")
        scale = foot.inset_axes((0.74, 0.1, 0.26, 0.3))
        place = {"cax": scale, "orientation": "horizontal"}
        style.colour_bar(image, [foot], "attention (probability)", **place)


def token_map(
    ax: Axes,
    attention: np.ndarray,
    rows: Sequence[object],
    tokens: Sequence[str],
    roles: Sequence[str],
    most: int,
) -> AxesImage:
    """Attention on a program's tokens, which have the colours of their roles; grey: no number.

    Args:
        most: so many of the rows are named.
    """
    style.bare(ax)
    ax.set_facecolor(style.GRID)
    image = ax.imshow(attention, cmap=style.SEQUENTIAL, norm=Normalize(0, 1), aspect="auto")
    told = style.every_nth(len(rows), most)
    ax.set_yticks(told, [f"{rows[i]:,}" if most < len(rows) else rows[i] for i in told])
    labels = [token.replace("<", "‹").replace(">", "›") for token in tokens]
    size = min(7.0, 330 / len(labels))
    ticks = ax.set_xticks(range(len(labels)), labels, rotation=90, size=size)
    for tick, role in zip(ticks, roles, strict=True):
        weight = "bold" if role in ("support_value", "query_key") else "normal"
        tick.label1.set(color=style.role_colour(role), fontweight=weight)
    return image


def _support(ax: Axes, bars: Axes, attention: np.ndarray, support: np.ndarray) -> None:
    """Outline the support value, and draw the attention on it beside the map."""
    count = len(attention)
    for place in np.flatnonzero(support):
        line = {"fill": False, "edgecolor": _OUTLINE, "linewidth": 1.4, "zorder": 4}
        ax.add_patch(Rectangle((place - 0.5, -0.5), 1, count, clip_on=False, **line))
    colour = style.ATTENTION_ROLE_COLOURS["support_value"]
    bars.barh(range(count), attention[:, support].sum(1), height=0.72, color=colour)
    bars.set(xlim=(0, 1), ylim=(count - 0.5, -0.5), yticks=[])
    bars.set_xticks([0, 0.5, 1], ["0", "½", "1"], fontsize=7)
    bars.set_title("on answer", fontsize=7.5, fontweight="normal", color=style.SOFT, pad=4)
    bars.grid(visible=False)


def directions(rows: pd.DataFrame, head: str, path: str) -> None:
    """Draw what both sides of each singular direction of one head have of places and tokens."""
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
    with style.picture(path, title, note, width=9.0, height=1.35 + 0.4 * len(sides)) as body:
        axes = body.subplots(1, 2, width_ratios=list(widths.values()), sharey=True)
        for ax, (level, title_of) in zip(axes, _LEVELS.items(), strict=True):
            for y, (_, items) in enumerate(sides):
                _cells(ax, y, items[items["level"] == level].sort_values("rank"), level)
            ax.set_xlim(-0.5, widths[level] + 0.4)  # room for the share
            ax.set_ylim(len(sides) - 0.5, -0.5)
            ax.set_title(title_of)
            ax.set_xticks([])
            style.bare(ax)
        names = [
            f"{matrix} {number} {side}  σ {items['singular_value'].iloc[0]:.2f}"
            for (matrix, number, side), items in sides
        ]
        axes[0].set_yticks(range(len(sides)), names)


def _cells(ax: Axes, y: int, items: pd.DataFrame, level: str) -> None:
    """One row of cells: an item and its projection in each."""
    colours, scale = colormaps[style.DIVERGING], Normalize(-1, 1)
    largest = float(items["projection"].abs().max()) or 1.0
    for x, row in enumerate(items.itertuples()):
        colour = to_hex(colours(scale(0.75 * row.projection / largest)))
        ax.add_patch(Rectangle((x - 0.5, y - 0.44), 0.96, 0.88, facecolor=colour, linewidth=0))
        text = f"{row.item}\n{row.projection:+.2f}".replace("-", "−")
        middle = {"ha": "center", "va": "center", "size": 6.5, "linespacing": 1.05}
        ax.text(x, y, text, color=style.readable_on(colour), **middle)
    explained = items["explained"].iloc[0]
    text = "" if math.isnan(explained) else f"{explained:.0%}"
    if level == "token" and text:
        back = int(items["offset"].iloc[0])
        text += "\nitself" if back == 0 else f"\n{back} back"
    ax.text(len(items) - 0.4, y, text, ha="left", va="center", size=6.5, color=style.SOFT)
