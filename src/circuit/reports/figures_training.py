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
    log_axis,
    need,
    picture,
    share_axis,
    side_legend,
    step_axis,
    words,
)

StrPath = str | os.PathLike[str]

BINS = 300
_PANELS = (
    ("loss", "Training loss", "nat/token", "#0072b2"),
    ("token_accuracy", "Next-token accuracy", "% of tokens", "#0072b2"),
    ("gradient_norm", "Gradient norm before clipping", "nat/token per parameter unit", "#d55e00"),
    ("clip_coefficient", "Clip coefficient (1 = not clipped)", "factor on the gradient", "#d55e00"),
    ("update_norm", "Update norm", "parameter unit", "#332288"),
    ("learning_rate", "Learning rate", "η (dimensionless)", "#332288"),
)
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
    """Draw loss and accuracy, gradient norm and clipping, update norm and learning rate."""
    need(rows, ("step", *(panel[0] for panel in _PANELS)), "the optimizer's trace")
    clipped = float((rows["clip_coefficient"] < 1).mean())
    note = f"{_bins(rows)}; clipped in {clipped:.0%} of the steps."
    with picture(path, "Loss, gradient and update of every step", note, height=5.9) as body:
        axes = body.subplots(3, 2, sharex=True)
        for ax, (column, title, unit, colour) in zip(axes.flat, _PANELS, strict=True):
            _line(ax, rows, column, colour, title)
            ax.set_title(title)
            ax.set_ylabel(unit)
            if column == "gradient_norm":
                log_axis(ax)
            elif column == "clip_coefficient":
                ax.set_ylim(0, 1.06)
            elif column == "token_accuracy":
                share_axis(ax, unit, whole=False)
            elif column != "loss":
                ax.set_ylim(0, float(rows[column].max()) * 1.08 or 1)
        for ax in axes[-1]:
            step_axis(ax, ticks=5)


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
        log_axis(ax)
        ax.set_ylabel("Euclidean norm (parameter unit)")
        step_axis(ax)
        side_legend(ax)


def _bins(rows: pd.DataFrame) -> str:
    """The note's words for what a line and its band are."""
    size = max(1, -(-len(rows) // BINS))
    n = f"n = {len(rows):,} steps"
    if size == 1:
        return f"{n}; one point per step"
    return f"Lines: means of {size} steps; bands: their range; {n}"


def _line(
    ax: Axes, rows: pd.DataFrame, column: str, colour: str, label: str, width: float = 1.2
) -> None:
    line = binned(rows, column)
    ax.plot(line.step, line.mean, color=colour, linewidth=width, label=label, zorder=3)
    if line.size > 1:
        ax.fill_between(line.step, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
