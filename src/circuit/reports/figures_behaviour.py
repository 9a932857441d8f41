"""Figures of behaviour over training, and per split."""

from __future__ import annotations

import os

import pandas as pd
from matplotlib.axes import Axes

from circuit.errors import AnalysisError
from circuit.reports.quantities import format_value
from circuit.reports.style import (
    FAINT,
    INK,
    SEQUENTIAL,
    SOFT,
    SPARE_COLOURS,
    SPLIT_COLOURS,
    counts,
    interval_line,
    need,
    picture,
    share_axis,
    side_legend,
    step_axis,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_BANDS = "Lines: means. Bands: bootstrap 95% intervals"
_COLUMNS = ("split", "slice", "slice_value", "measure", "mean", "low", "high", "count")
_MARGINS = {"margin": "over all tokens", "value_margin": "over values only"}


def learning_curve(
    rows: pd.DataFrame, birth_step: int | None, threshold: float, path: StrPath
) -> None:
    """Draw answer accuracy per split over training, with the birth step."""
    need(rows, ("step", *_COLUMNS), "the learning curve")
    accuracy = _only(rows, "accuracy", rows["split"] != "probes")
    splits = list(dict.fromkeys(accuracy["split"]))
    born = "" if birth_step is not None else f"\nNo birth: accuracy never stays at {threshold:.0%}."
    note = f"{_BANDS} over programs; {counts(accuracy['count'], 'reads')} per split and step.{born}"
    with picture(path, "Answer accuracy over training", note, height=3.7) as body:
        ax = body.add_subplot()
        for i, split in enumerate(splits):
            interval_line(ax, accuracy[accuracy["split"] == split], split, _split_colour(split, i))
        ax.axhline(threshold, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        ax.annotate(
            f"threshold {threshold:.0%}",
            (0, threshold),
            (3, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=SOFT,
            fontsize=7.5,
        )
        if birth_step is not None:
            ax.axvline(birth_step, color=INK, linewidth=1, zorder=2)
            ax.annotate(
                f"birth: step {birth_step:,}",
                (birth_step, 1.0),
                (-5, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=8,
            )
        share_axis(ax, "answer accuracy (% of reads)")
        step_axis(ax)
        side_legend(ax, "split")


def slices(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw accuracy per value of every slice, for the first split of the rows."""
    need(rows, ("step", *_COLUMNS), "accuracy by slice")
    split = rows["split"].iloc[0]
    chosen = (rows["split"] == split) & (rows["measure"] == "accuracy") & (rows["slice"] != "all")
    sliced = rows[chosen]
    names = list(dict.fromkeys(sliced["slice"]))
    if not names:
        raise AnalysisError(
            f"rows of split {split!r} have no slices",
            where="accuracy by slice",
            expected="rows of measure 'accuracy' with a slice other than 'all'",
            do="summarise the reads with slices",
        )
    lines = (len(names) + 1) // 2
    note = f"{_BANDS} over programs; {counts(sliced['count'], 'reads')} per line and step."
    title = f"Answer accuracy on {split} by slice of the reads"
    with picture(path, title, note, height=0.6 + 2.35 * lines) as body:
        axes = body.subplots(lines, 2, sharex=True, sharey=True, squeeze=False)
        for ax, name in zip(axes.flat, names, strict=False):
            part = sliced[sliced["slice"] == name]
            values = sorted(part["slice_value"].unique())
            for i, value in enumerate(values):
                colour = SEQUENTIAL(0.38 + 0.6 * i / max(len(values) - 1, 1))
                line = part[part["slice_value"] == value]
                interval_line(ax, line, f"{value:g}", colour, marker=None, linewidth=1.3)
            ax.set_title(words(name))
            side_legend(ax, fontsize=7.5, handlelength=1.2, labelspacing=0.3)
            share_axis(ax, "")
        for ax in axes.flat[len(names) :]:
            ax.remove()
        for ax in axes[:, 0]:
            ax.set_ylabel("accuracy (% of reads)")
        for i, ax in enumerate(axes.flat[: len(names)]):
            if i + 2 >= len(names):
                step_axis(ax, ticks=4)
                ax.tick_params(labelbottom=True)


def coarse(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw q, r (attention) and w (margin) on the probe events over training."""
    need(rows, ("step", *_COLUMNS), "the coarse measures")
    probes = rows[(rows["split"] == "probes") & (rows["slice"] == "all")]
    need(probes, ("step", *_COLUMNS), "the coarse measures on the probe events")
    note = f"{_BANDS} over probe events; {counts(probes['count'], 'events')} per step."
    title = "Coarse measures on the probe events over training"
    with picture(path, title, note, height=4.8) as body:
        upper, lower = body.subplots(2, 1, sharex=True)
        meanings = {"q": "q: to the query key", "r": "r: to the support value"}
        for (measure, label), colour in zip(meanings.items(), ("#e69f00", "#332288"), strict=True):
            interval_line(upper, probes[probes["measure"] == measure], label, colour)
        upper.set_ylim(-0.03, 1.03)
        upper.set_ylabel("attention (probability)")
        upper.set_title("Attention of the best head from the prediction position")
        side_legend(upper)
        zero_line(lower)
        value_only = probes[probes["measure"] == "w"]
        interval_line(lower, value_only, "w: true value − best other", "#0072b2")
        lower.set_ylabel("margin (logit)")
        lower.set_title("Value-only answer margin")
        side_legend(lower)
        step_axis(lower)


def splits(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw accuracy and margins per split at one checkpoint.

    Where rows hold several steps, the last one is drawn.
    """
    need(rows, _COLUMNS, "accuracy per split")
    at = ""
    if "step" in rows:
        rows = rows[rows["step"] == rows["step"].max()]
        at = f" at step {int(rows['step'].iloc[0]):,}"
    whole = rows[rows["slice"] == "all"]
    names = list(dict.fromkeys(whole["split"]))
    note = "Points: means. Bars: bootstrap 95% intervals over programs; n is the number of reads."
    title = f"Accuracy and answer margin per split{at}"
    with picture(path, title, note, height=1.35 + 0.42 * len(names)) as body:
        left, right = body.subplots(1, 2, sharey=True)
        accuracy = _only(rows, "accuracy").set_index("split").reindex(names)
        places = range(len(names))
        for y, (split, row) in zip(places, accuracy.iterrows(), strict=True):
            _point(left, row, y, _split_colour(str(split), y), "o", "share", with_text=True)
        share_axis(left, "answer accuracy (% of reads)", axis="x")
        left.set_title("Accuracy")
        marks = {"margin": "o", "value_margin": "D"}
        for measure, mark in marks.items():
            part = _only(rows, measure).set_index("split").reindex(names)
            shift = 0.0 if measure == "margin" else 0.24
            for y, (split, row) in zip(places, part.iterrows(), strict=True):
                colour = _split_colour(str(split), y)
                _point(right, row, y + shift, colour, mark, "logit", filled=measure == "margin")
        for measure, mark in marks.items():
            face = INK if measure == "margin" else "white"
            label = _MARGINS[measure]
            right.plot([], [], mark, color=INK, markerfacecolor=face, markersize=5, label=label)
        zero_line(right, "x")
        right.set_title("Answer margin")
        right.set_xlabel("true value's logit − best wrong logit (logit)")
        side_legend(right, "best wrong taken")
        left.set_yticks(places, names)
        left.set_ylim(len(names) - 0.4, -0.6)
        for y, n in zip(places, accuracy["count"].fillna(0).astype(int), strict=True):
            left.annotate(
                f"n = {n:,}",
                (0, y),
                (-7, -9),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=7.5,
                color=SOFT,
            )
        for ax in (left, right):
            ax.grid(axis="y", visible=False)
            ax.grid(axis="x", visible=True)
            ax.tick_params(axis="y", length=0)


def _point(
    ax: Axes,
    row: pd.Series,
    y: float,
    colour: str,
    mark: str,
    unit: str,
    filled: bool = True,
    with_text: bool = False,
) -> None:
    """One mean with its interval, and its value in words if asked."""
    if pd.isna(row["mean"]):
        return
    ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2.2, zorder=2)
    face = colour if filled else "white"
    ax.plot(row["mean"], y, mark, color=colour, markerfacecolor=face, markersize=4.5, zorder=3)
    if with_text:
        text = format_value(row["mean"], unit, row["low"], row["high"])
        right = row["mean"] < 0.75
        ax.annotate(
            text,
            (row["high"] if right else row["low"], y),
            (6 if right else -6, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=8,
        )


def _only(rows: pd.DataFrame, measure: str, also: pd.Series | bool = True) -> pd.DataFrame:
    """Rows over all reads of one measure."""
    return rows[(rows["slice"] == "all") & (rows["measure"] == measure) & also]


def _split_colour(split: str, i: int) -> str:
    return SPLIT_COLOURS.get(split, SPARE_COLOURS[i % len(SPARE_COLOURS)])
