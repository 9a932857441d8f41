"""Figures of the optimizer's trace: loss, gradient and update, step by step."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes

from circuit.reports.style import (
    COMPONENT_COLOURS,
    INK,
    SOFT,
    need,
    picture,
    side_legend,
    step_axis,
    words,
)

StrPath = str | os.PathLike[str]

BINS = 300
_COMPONENTS = ("current_gradient", "momentum", "weight_decay", "rounding")


class Binned(NamedTuple):
    """Neighbouring steps taken together: their mean step and value, and the range of values."""

    step: Float[np.ndarray, " B"]
    mean: Float[np.ndarray, " B"]
    low: Float[np.ndarray, " B"]
    high: Float[np.ndarray, " B"]
    size: int


def binned(rows: pd.DataFrame, column: str, bins: int = BINS) -> Binned:
    """A column over steps in at most ``bins`` bins of equally many steps; NaN is left out."""
    rows = rows.sort_values("step")
    size = max(1, -(-len(rows) // bins))
    parts = rows[["step", column]].groupby(np.arange(len(rows)) // size)
    table = parts.agg(["mean", "min", "max"])
    value = table[column]
    return Binned(
        table["step", "mean"].to_numpy(),
        value["mean"].to_numpy(),
        value["min"].to_numpy(),
        value["max"].to_numpy(),
        size,
    )


def trace(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw loss, gradient norm with clipping, and learning rate with update norm."""
    columns = ("step", "loss", "token_accuracy", "gradient_norm", "clip_coefficient")
    need(rows, (*columns, "learning_rate", "update_norm"), "the optimizer's trace")
    clipped = float((rows["clip_coefficient"] < 1).mean())
    note = f"{_bins(rows)}; clipped in {clipped:.0%} of the steps."
    with picture(path, "Loss, gradient and update of every step", note, height=6.4) as body:
        first, second, third = body.subplots(3, 1, sharex=True)
        left = _line(first, rows, "loss", "#0072b2", "training loss (nat/token)")
        right = first.twinx()
        accuracy = _line(right, rows, "token_accuracy", "#009e73", "token accuracy")
        right.set_ylim(0, 1.02)
        _axes(first, "loss (nat/token)", right, "share of tokens right")
        _legend(right, left, accuracy)

        gradient = _line(second, rows, "gradient_norm", "#d55e00", "gradient norm before clipping")
        second.set_yscale("log")
        right = second.twinx()
        clip = _line(right, rows, "clip_coefficient", SOFT, "clip coefficient")
        right.set_ylim(0, 1.06)
        _axes(second, "norm (nat/token per\nparameter unit)", right, "clip coefficient (1 = none)")
        _legend(right, gradient, clip)

        update = _line(third, rows, "update_norm", "#332288", "update norm")
        third.set_ylim(bottom=0)
        right = third.twinx()
        rate = _line(right, rows, "learning_rate", "#e69f00", "learning rate")
        right.set_ylim(0, float(rows["learning_rate"].max()) * 1.06 or 1)
        right.ticklabel_format(axis="y", style="plain", useOffset=False)
        _axes(third, "norm (parameter unit)", right, "learning rate η")
        _legend(right, update, rate)
        step_axis(third)


def components(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw the norms of the update and of its components on a log scale."""
    names = [name for name in _COMPONENTS if f"{name}_norm" in rows.columns]
    need(rows, ("step", "update_norm", *(f"{n}_norm" for n in _COMPONENTS)), "component norms")
    zeros = {n: int((rows[f"{n}_norm"] == 0).sum()) for n in names}
    told = "; ".join(f"{words(n)} is 0 in {k:,} steps" for n, k in zeros.items() if k)
    note = f"{_bins(rows)}.\nNorms do not add up; the components themselves sum to the update."
    note += f" Not on a log scale: {told}." if told else ""
    positive = rows.mask(rows == 0)
    positive["step"] = rows["step"]
    with picture(path, "Norm of the update and of its components", note, height=4.0) as body:
        ax = body.add_subplot()
        _line(ax, positive, "update_norm", INK, "update", width=1.8)
        for name in names:
            _line(ax, positive, f"{name}_norm", COMPONENT_COLOURS[name], words(name))
        ax.set_yscale("log")
        ax.set_ylabel("Euclidean norm (parameter unit)")
        step_axis(ax)
        side_legend(ax)


def _bins(rows: pd.DataFrame) -> str:
    """The note's words for what a line and its band are."""
    size = max(1, -(-len(rows) // BINS))
    n = f"n = {len(rows):,} steps"
    return f"{n}; one point per step" if size == 1 else f"Lines: means of {size} steps; " + (
        f"bands: their range; {n}"
    )


def _line(
    ax: Axes, rows: pd.DataFrame, column: str, colour: str, label: str, width: float = 1.2
) -> Axes:
    line = binned(rows, column)
    ax.plot(line.step, line.mean, color=colour, linewidth=width, label=label, zorder=3)
    if line.size > 1:
        ax.fill_between(line.step, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
    return ax


def _axes(left: Axes, left_name: str, right: Axes, right_name: str) -> None:
    left.set_ylabel(left_name)
    right.set_ylabel(right_name)
    right.grid(visible=False)
    right.spines["right"].set_visible(True)


def _legend(ax: Axes, *axes: Axes) -> None:
    """One legend for both vertical axes, above the panel."""
    pairs = [each.get_legend_handles_labels() for each in axes]
    handles = [h for found, _ in pairs for h in found]
    labels = [f"{name} ({side})" for (_, names), side in zip(pairs, ("left", "right"), strict=True)
              for name in names]
    ax.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1.01), ncols=2)
