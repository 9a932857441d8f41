"""Pictures of attention: real patterns over training, and what singular directions tell apart."""

from __future__ import annotations

import math
import os

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import SubFigure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from circuit.reports.style import (
    ATTENTION_ROLE_COLOURS,
    DIVERGING,
    GRID,
    SEQUENTIAL,
    SOFT,
    every_nth,
    picture,
    readable_on,
    role_colour,
    role_legend,
    thinned,
)

StrPath = str | os.PathLike[str]

CHECKPOINTS = 20  # rows of a strip; more are thinned, and the figure says so
_OUTLINE = "#d55e00"
_LEVELS = {
    "place": "Places (share of variance)",
    "token": "Tokens at one place (share of the rest, how far back)",
}


def patterns(patterns: pd.DataFrame, path: StrPath) -> None:
    """Draw, for each event, the attention on every position (columns) at every checkpoint (rows).

    Under each strip stand the program's tokens in the colour of their role; the support value is
    outlined, and the bars at the right are the attention it gets.
    """
    events = list(dict.fromkeys(patterns["event"]))
    steps = sorted(patterns["step"].unique())
    shown = thinned(steps, CHECKPOINTS)
    kept = "" if len(shown) == len(steps) else f", {len(shown)} of {len(steps)} checkpoints"
    note = (
        "One strip per read event; columns: positions up to the prediction; rows: checkpoints, "
        f"untrained at the top{kept}.\nEvery row sums to 1. Outlined: the support value, "
        "where the right answer stands. Bars: attention on it."
    )
    strip = 0.72 + 0.075 * len(shown)
    title = f"Attention from the prediction position in {len(events)} real programs"
    height = 0.62 + len(events) * (strip + 0.12) + 0.55
    with picture(path, title, note, height=height) as body:
        grid = body.add_gridspec(
            len(events) + 1,
            2,
            width_ratios=[12, 1.15],
            height_ratios=[*[strip] * len(events), 0.2],
        )
        image = None
        for i, event in enumerate(events):
            part = patterns[(patterns["event"] == event) & patterns["step"].isin(shown)]
            ax, bars = body.add_subplot(grid[i, 0]), body.add_subplot(grid[i, 1])
            image = _strip(ax, bars, part, shown, last=i == len(events) - 1)
        foot = body.add_subplot(grid[len(events), :])
        _key(body, foot, image, patterns)


def _strip(ax: Axes, bars: Axes, part: pd.DataFrame, steps: list[int], last: bool) -> AxesImage:
    """One event: the map of attention, the tokens under it and the bars beside it."""
    table = part.pivot(index="step", columns="position", values="attention").loc[steps]
    labels = part[part["step"] == steps[0]].sort_values("position")
    image = ax.imshow(table.to_numpy(), cmap=SEQUENTIAL, norm=Normalize(0, 1), aspect="auto")
    support = labels["role"].to_numpy() == "support_value"
    for place in np.flatnonzero(support):
        frame = Rectangle(
            (place - 0.5, -0.5),
            1,
            len(steps),
            fill=False,
            edgecolor=_OUTLINE,
            linewidth=1.4,
            zorder=4,
        )
        frame.set_clip_on(False)
        ax.add_patch(frame)
    for edge in np.flatnonzero(labels["token"].isin(["W", "R"]))[1:]:
        ax.axvline(edge - 0.5, color=GRID, linewidth=0.6, zorder=3)  # where a write or read begins
    size = min(7.0, 7.0 * 46 / max(len(labels), 46))
    for x, (token, role) in enumerate(zip(labels["token"], labels["role"], strict=True)):
        ax.annotate(
            token,
            (x, 0),
            (0, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            rotation=90,
            rotation_mode="anchor",
            ha="right",
            va="center",
            fontsize=size,
            color=role_colour(role),
            fontweight="bold" if role in ("support_value", "query_key") else "normal",
            annotation_clip=False,
        )
    _name(ax, labels)
    places = every_nth(len(steps), 5)
    ax.set_yticks(places, [f"{steps[i]:,}" for i in places])
    ax.set_ylabel("step")
    ax.set_xticks([])
    mass = table.to_numpy()[:, support].sum(1)
    bars.barh(range(len(steps)), mass, height=0.72, color=ATTENTION_ROLE_COLOURS["support_value"])
    bars.set_ylim(len(steps) - 0.5, -0.5)
    bars.set_xlim(0, 1)
    bars.set_yticks([])
    bars.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    bars.tick_params(labelsize=7, length=2)
    bars.set_title("on answer", fontsize=7.5, fontweight="normal", color=SOFT, pad=4)
    if last:
        bars.set_xlabel("probability", fontsize=7.5)
    for each in (ax, bars):
        each.grid(visible=False)
        each.tick_params(axis="y", length=0)
    ax.spines[:].set(visible=True, linewidth=0.5, color=SOFT)
    return image


def _name(ax: Axes, labels: pd.DataFrame) -> None:
    """Title of a strip: the read, its answer and where it comes from."""
    at = dict(zip(labels["role"], labels["token"], strict=True))
    asked = at.get("query_key", labels["token"].iloc[-1])
    answer = at.get("support_value", "?")
    ax.set_title(f"R {asked} → {answer}", pad=4)
    ax.annotate(
        f"event {labels['event'].iloc[0]}, program {labels['sample_id'].iloc[0]}",
        (1, 1),
        (0, 5),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        fontsize=7.5,
        color=SOFT,
    )


def _key(body: SubFigure, foot: Axes, image: AxesImage | None, patterns: pd.DataFrame) -> None:
    """The colours of tokens, and the scale of attention."""
    role_legend(foot, patterns["role"], 4, loc="upper left", bbox_to_anchor=(0.0, 1.2))
    if image is not None:
        scale = foot.inset_axes((0.74, 0.1, 0.26, 0.55))
        bar = body.colorbar(image, cax=scale, orientation="horizontal")
        bar.set_label("attention (probability)", fontsize=8)
        bar.set_ticks([0, 0.25, 0.5, 0.75, 1])
        bar.outline.set(linewidth=0.5, edgecolor=SOFT)


def directions(rows: pd.DataFrame, head: str, path: StrPath) -> None:
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


def _cells(ax: Axes, y: int, items: pd.DataFrame, level: str) -> None:
    """One row of cells: an item and its projection in each."""
    colours, scale = colormaps[DIVERGING], Normalize(-1, 1)
    largest = float(items["projection"].abs().max()) or 1.0
    for x, row in enumerate(items.itertuples()):
        colour = to_hex(colours(scale(0.75 * row.projection / largest)))
        ax.add_patch(Rectangle((x - 0.5, y - 0.44), 0.96, 0.88, facecolor=colour, linewidth=0))
        text = f"{row.item}\n{row.projection:+.2f}".replace("-", "−")
        middle = {"ha": "center", "va": "center", "size": 6.5, "linespacing": 1.05}
        ax.text(x, y, text, color=readable_on(colour), **middle)
    explained = items["explained"].iloc[0]
    text = "" if math.isnan(explained) else f"{explained:.0%}"
    if level == "token" and text:
        back = int(items["offset"].iloc[0])
        text += "\nitself" if back == 0 else f"\n{back} back"
    ax.text(len(items) - 0.4, y, text, ha="left", va="center", size=6.5, color=SOFT)
