"""Which pairs of keys and values are answered, and how earlier events bear on a read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from circuit.reports import style

_STREAM = {
    "stale_write": ("W K a", style.ATTENTION_ROLE_COLOURS["stale_value"]),
    "stale_answer": ("R K a", style.SPARE_COLOURS[1]),
    "other_key_write": ("W J b", style.ATTENTION_ROLE_COLOURS["key_distractors"]),
    "other_key_answer": ("R J b", style.SPARE_COLOURS[4]),
    "support": ("W K c", style.ATTENTION_ROLE_COLOURS["support_value"]),
    "same_answer": ("R K c", style.ATTENTION_ROLE_COLOURS["prior_answers"]),
}
"""Events before a read of K, in an order in which each has its relation to it; their colours."""

_BARS = 0.45


def _colour(split: str, number: int) -> str:
    """Colour of a split; one outside the benchmark's six gets a spare colour by its number."""
    return style.SPLIT_COLOURS.get(split, style.spare_colour(number))


def pair_matrix(pairs: pd.DataFrame, overlaps: pd.DataFrame, path: str) -> None:
    """Draw which (key, value) pairs each split answers, and how far splits share them."""
    splits = list(dict.fromkeys(pairs["split"]))
    reads = pairs.groupby("split")["answers"].sum()
    heldout = int(pairs[pairs["split"] == splits[0]]["heldout"].sum())
    note = (
        "Left: answers of each (key, value) pair per 1,000 reads of the split "
        f"({style.counts(reads, 'reads')} per split); white: none.\nRight: share of the row's "
        f"answered pairs that the column answers too. {heldout:,} pairs are held out."
    )
    pairs = pairs.assign(rate=pairs["answers"] / pairs["split"].map(reads) * 1000)
    present = pairs["rate"][pairs["rate"] > 0]
    norm = LogNorm(present.min(), present.max())
    title = "Which pairs the splits answer"
    with style.picture(path, title, note, height=1.2 + 0.62 * len(splits)) as body:
        left, right = body.subfigures(1, 2, width_ratios=[1.75, 1])
        axes = left.subplots(len(splits), 1, sharex=True, squeeze=False)[:, 0]
        for i, (ax, split) in enumerate(zip(axes, splits, strict=True)):
            part = pairs[pairs["split"] == split]
            table = part.pivot(index="key", columns="value", values="rate").to_numpy()
            shown = np.ma.masked_equal(table, 0)
            image = ax.imshow(shown, cmap=style.SEQUENTIAL, norm=norm, aspect="auto")
            ax.set_title(split, color=_colour(split, i), fontsize=8.5, pad=3)
            ax.grid(visible=False)
            ax.set_ylabel("key")
            ax.set_yticks([0, len(table) - 1])
            ax.spines[:].set_visible(True)
        axes[-1].set_xlabel("value")
        bar = style.colour_bar(image, list(axes), "answers per 1,000 reads (log scale)", aspect=30)
        bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        answered = overlaps[overlaps["of"] == "answers"]
        table = answered.pivot(index="split", columns="other", values="share_of_pairs")
        ax, table = right.add_subplot(), table.loc[splits, splits].to_numpy()
        ax.imshow(table, cmap=style.SEQUENTIAL, vmin=0, vmax=1, aspect="equal")
        for (y, x), share in np.ndenumerate(table):
            colour = style.readable_on(style.SEQUENTIAL(share))
            ax.text(x, y, f"{share:.0%}", ha="center", va="center", fontsize=6.5, color=colour)
        ax.set_yticks(range(len(splits)), splits)
        ax.set_xticks(range(len(splits)), splits, rotation=60, ha="right", rotation_mode="anchor")
        ax.grid(visible=False)
        ax.tick_params(length=0, labelsize=7)
        ax.set_title("Shared pairs", fontsize=8.5)


def event_graph(graph: pd.DataFrame, rows: pd.DataFrame, path: str) -> None:
    """Draw the relations of earlier events to a read, and the distances that they span."""
    edges = rows[(rows["group"] == "graph") & (rows["against"] == "")]
    splits, relations = (list(dict.fromkeys(graph[key])) for key in ("split", "relation"))
    first = splits[0]
    programs = graph.groupby("split")["programs"].first()
    note = (
        f"Above: kinds of events before a read of key K, in a schematic order; their number and "
        f"the width of their arcs are of {first}.\nBelow: share of a relation's edges by distance, "
        f"from value token to key token; {style.counts(programs, 'programs')} per split."
    )
    with style.picture(path, "The read/write event graph", note, height=6.6) as body:
        top, bottom = body.subfigures(2, 1, height_ratios=[1, 1.45])
        _stream(top.add_subplot(), edges[edges["split"] == first].set_index("measure")["mean"])
        axes = bottom.subplots(2, -(-len(relations) // 2), sharex=True).ravel()
        for ax, relation in zip(axes, relations, strict=False):
            part = graph[graph["relation"] == relation]
            handles = [
                _distances(ax, i, split, part[part["split"] == split])
                for i, split in enumerate(splits)
            ]
            ax.set_title(style.words(relation), fontsize=8.5)
            style.share_axis(ax, "", whole=False)
            ax.yaxis.set_major_locator(MaxNLocator(3))
        for ax in axes[len(relations) :]:
            ax.axis("off")
        axes[-1].legend(handles=handles, loc="center left")
        for ax in axes[len(axes) // 2 - 1 : len(relations)]:
            ax.set_xlabel("distance (tokens)")
            ax.tick_params(labelbottom=True)


def _distances(ax: Axes, i: int, split: str, line: pd.DataFrame) -> Any:
    """The first split as bars, the others as lines over them."""
    look = {"color": _colour(split, i), "label": split}
    if i == 0:
        return ax.bar(line["tokens"], line["share"], width=2.4, alpha=_BARS, **look)
    return ax.plot(line["tokens"], line["share"], ".-", linewidth=1, **look)[0]


def _stream(ax: Axes, mean: pd.Series) -> None:
    """Events in a line, with an arc from each to the read, as wide as there are many."""
    target = len(_STREAM)
    for x, (relation, (text, colour)) in enumerate(_STREAM.items()):
        # Outer arcs arrive further right, so that none cross.
        arrives = target + 0.07 * (target / 2 - x - 0.5)
        rise = 1.5 * (target - x) / target
        _arc(ax, x, arrives, 0.2, rise, colour, mean[relation] / mean.max())
        _event(ax, x, text, f"{style.words(relation)}\n{mean[relation]:.3g} per program", colour)
    renewed = list(_STREAM).index("support")
    _arc(ax, 0, renewed, -0.2, -0.5, style.SOFT, mean["overwrite"] / mean.max())
    label = f"overwrite: {mean['overwrite']:.3g} per program"
    ax.text(renewed / 2, -0.63, label, ha="center", fontsize=7.5, color=style.SOFT)
    _event(ax, target, "R K ?", "the read", style.INK)
    ax.set(xlim=(-0.6, target + 0.6), ylim=(-1.6, 1.85))
    ax.axis("off")


def _event(ax: Axes, x: float, text: str, under: str, colour: str) -> None:
    box = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "none"}
    told = {"va": "center", "fontsize": 8.5, "color": style.readable_on(colour)}
    ax.text(x, 0, text, bbox=box, zorder=4, ha="center", **told)
    ax.text(x, -1.0, under, ha="center", va="top", fontsize=7.5)


def _arc(
    ax: Axes, start: float, stop: float, base: float, rise: float, colour: str, weight: float
) -> None:
    """Half an ellipse from one event to a later one, as wide as its weight (0..1), with a head."""
    angle = np.linspace(np.pi, 0, 60)
    x = (start + stop) / 2 + (stop - start) / 2 * np.cos(angle)
    line = {"linewidth": 0.6 + 3.6 * weight, "zorder": 3, "solid_capstyle": "butt"}
    ax.plot(x, base + rise * np.sin(angle), color=colour, **line)
    ax.plot(stop, base, "v" if rise > 0 else "^", color=colour, markersize=4.5, zorder=5)
