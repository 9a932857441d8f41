"""Figures of the data: what changes from split to split, and what stands beside the answer."""

from __future__ import annotations

import os
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from circuit.reports.quantities import format_value
from circuit.reports.style import (
    FAINT,
    INK,
    SOFT,
    SPARE_COLOURS,
    SPLIT_COLOURS,
    counts,
    need,
    picture,
    share_axis,
    words,
)

StrPath = str | os.PathLike[str]

AXES = {
    "active_keys": "active keys",
    "overwrites": "overwrites",
    "reads": "reads",
    "writes_since_support": "query lag",
    "answer_pair_in_train": "answers with train's pairs",
}
"""What the rules of generation set, one measure for each; everything else follows."""

FOLLOWING = {
    "stale_distractors": "stale distractors",
    "other_key_distractors": "other-key distractors",
}
HISTOGRAMS = {
    **FOLLOWING,
    "prior_answers": "prior answers",
    "stale_answers": "stale prior answers",
}
_UNITS = {"share": "% of reads"}


def split_colour(split: str, number: int) -> str:
    """Colour of a split; one outside the benchmark's six gets a spare colour by its number."""
    return SPLIT_COLOURS.get(split, SPARE_COLOURS[number % len(SPARE_COLOURS)])


def split_axes(rows: pd.DataFrame, shortcut: str, path: StrPath) -> None:
    """Draw the mean of every axis in every split, against train.

    Args:
        rows: means over whole splits and in slices; the latter are not drawn.
        shortcut: the shortcut whose accuracy is the last panel.
    """
    columns = ("split", "measure", "slice", "unit", "mean", "low", "high", "count", "changed")
    need(rows, (*columns, "minimum", "maximum"), "the axes of the splits")
    whole = rows[rows["slice"] == "all"]
    shown = {**AXES, **FOLLOWING, shortcut: fill(f"shortcut: {words(shortcut)}", 20)}
    splits = list(dict.fromkeys(whole["split"]))
    programs = whole[whole["measure"] == "active_keys"]["count"]
    note = (
        f"Points: means over programs or reads ({counts(programs, 'programs')} per split). Bars: "
        "bootstrap 95% intervals over programs.\nThin lines: smallest to largest value. Filled: "
        "differs from train, all comparisons taken together. Dashed: train."
    )
    title = "What each split changes against train"
    with picture(path, title, note, height=1.5 + 2 * (0.55 + 0.2 * len(splits))) as body:
        axes = body.subplots(2, -(-len(shown) // 2), sharey=True)
        for ax, (measure, name) in zip(axes.flat, shown.items(), strict=True):
            part = whole[whole["measure"] == measure].set_index("split").reindex(splits)
            _panel(ax, part)
            ax.set_title(name, fontsize=8.5)
        axes[0, 0].set_yticks(range(len(splits)), splits)
        axes[0, 0].set_ylim(len(splits) - 0.5, -0.5)


def distractors(histograms: pd.DataFrame, path: StrPath) -> None:
    """Draw how many distractors a read has, one row per split and one column per kind."""
    columns = ("split", "quantity", "value", "count", "share", "unit")
    need(histograms, columns, "the distractors")
    part = histograms[histograms["quantity"].isin(HISTOGRAMS)]
    need(part, columns, "the distractors")
    splits = list(dict.fromkeys(part["split"]))
    reads = part[part["quantity"] == "prior_answers"].groupby("split")["count"].sum()
    note = (
        f"Share of a split's reads ({counts(reads, 'reads')} per split) by how many such events "
        f"stand before the read.\nColumns share their scales. Grey steps: {splits[0]}."
    )
    title = "What stands beside the answer: distractors of a read"
    with picture(path, title, note, height=1.3 + 0.62 * len(splits)) as body:
        axes = body.subplots(
            len(splits), len(HISTOGRAMS), sharex="col", sharey="col", squeeze=False
        )
        for column, (quantity, name) in zip(axes.T, HISTOGRAMS.items(), strict=True):
            of = part[part["quantity"] == quantity]
            last = int(of["value"].max())
            first = _shares(of, splits[0], last)
            for i, (ax, split) in enumerate(zip(column, splits, strict=True)):
                shares = _shares(of, split, last)
                ax.bar(range(last + 1), shares, width=0.8, color=split_colour(split, i))
                if i:
                    ax.stairs(first, np.arange(last + 2) - 0.5, color=SOFT, linewidth=0.9)
                ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
                share_axis(ax, "", whole=False)
                ax.yaxis.set_major_locator(MaxNLocator(2))
                ax.tick_params(labelsize=7)
            column[0].set_title(name, fontsize=8.5)
            column[-1].set_xlabel(f"{of['unit'].iloc[0]} before the read")
        for ax, split in zip(axes[:, 0], splits, strict=True):
            ax.set_ylabel(split, rotation=0, ha="right", va="center", fontsize=8)


def _shares(histogram: pd.DataFrame, split: str, last: int) -> np.ndarray:
    """Shares of the values 0, 1, …, last."""
    part = histogram[histogram["split"] == split].set_index("value")["share"]
    shares: np.ndarray = part.reindex(range(last + 1), fill_value=0.0).to_numpy()
    return shares


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    """One measure: every split's mean, its interval and its range."""
    unit = str(part["unit"].iloc[0])
    share = unit == "share"
    for y, (split, row) in enumerate(part.iterrows()):
        colour = split_colour(str(split), y)
        if not share:
            ax.plot([row["minimum"], row["maximum"]], [y, y], color=FAINT, linewidth=0.8, zorder=1)
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.4, zorder=2)
        face = colour if row["changed"] else "white"
        ax.plot(row["mean"], y, "o", color=colour, markerfacecolor=face, markersize=4.5, zorder=3)
        if row["changed"]:
            ends = row["low"], row["high"]
            ax.annotate(
                format_value(row["mean"], unit, *ends, signed=False, with_unit=False),
                (row["mean"], y),
                (0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=INK,
            )
    if "train" in part.index:
        ax.axvline(part.loc["train", "mean"], color=SOFT, linewidth=0.8, linestyle=(0, (4, 3)))
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    ax.tick_params(axis="y", length=0)
    ax.margins(x=0.18)
    if share:
        share_axis(ax, _UNITS[unit], axis="x")
        ax.set_xlim(-0.18, 1.18)
        ax.set_xticks([0, 0.5, 1])
    else:
        ax.set_xlabel(unit)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
