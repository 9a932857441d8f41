"""Figures of paths to the logit: over training, through one module more, stage by stage."""

from __future__ import annotations

import os
import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import SubFigure

from circuit.reports.style import (
    DIVERGING,
    FAINT,
    GRID,
    INK,
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
    thinned,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

LINES = 6  # paths in colour; the others are grey
SOURCES = 14  # rows of the map of second-order paths
CHECKPOINTS = 6  # lines of the stages' readout
_COLUMNS = ("step", "target", "mean", "low", "high", "count")
_SHOWN = {"correct_logit": "correct logit", "value_margin": "margin over the best other value"}
_MEASURED = {"direct": "#0072b2", "effect": "#d55e00"}


def trajectories(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw every direct path to the correct logit and to the value margin over training."""
    need(rows, (*_COLUMNS, "path", "half"), "direct paths over training")
    every = rows[rows["half"] == "all"]
    parts = every[every["path"] != "whole"]
    margin = parts[parts["target"] == "value_margin"]
    size = margin["mean"].abs().groupby(margin["path"], sort=False).max()
    shown = list(size.sort_values(ascending=False, kind="stable").index[:LINES])
    note = (
        f"Colour: the {len(shown)} paths that are ever largest; grey: all others; black: sum of "
        "all, the model's own value.\nFinal LayerNorm scale frozen per event. Lines: means. Bands: "
        f"bootstrap 95% intervals over events; {counts(every['count'], 'events')} per step."
    )
    with picture(path, "Direct paths to the logit over training", note, height=5.6) as body:
        axes = body.subplots(2, 1, sharex=True)
        for ax, (target, title) in zip(axes, _SHOWN.items(), strict=True):
            zero_line(ax)
            of = every[every["target"] == target]
            for name, line in of.groupby("path", sort=False):
                if name not in (*shown, "whole"):
                    ax.plot(line["step"], line["mean"], color=FAINT, linewidth=0.8, zorder=1.5)
            whole = of[of["path"] == "whole"]
            interval_line(ax, whole, "sum of all paths", INK, linewidth=1.2, linestyle=(0, (4, 2)))
            for name, colour in zip(shown, SPARE_COLOURS, strict=False):
                interval_line(ax, of[of["path"] == name], _words(name), colour)
            ax.set_ylabel("contribution (logit)")
            ax.set_title(f"To the {title}")
        side_legend(axes[0], "direct path of")
        step_axis(axes[1])


def second_order(rows: pd.DataFrame, step: int, path: StrPath) -> None:
    """Draw paths through one module more as a map, and what every chain adds, at one step.

    Args:
        rows: the second-order table.
    """
    columns = (*_COLUMNS, "half", "kind", "path", "source", "through", "positions")
    need(rows, columns, "second-order paths")
    chosen = (rows["half"] == "all") & (rows["target"] == "value_margin") & (rows["step"] == step)
    part = rows[chosen]
    chains = part[part["kind"] == "chain"]
    paths = part[(part["kind"] == "path") & part["positions"].isin(["all", "prediction"])]
    table = paths.pivot(index="source", columns="through", values="mean")
    modules = sorted(table.columns, key=_place)
    size = table.abs().max(axis=1).sort_values(ascending=False, kind="stable")
    kept = set(size.index[:SOURCES])
    sources = sorted(kept, key=_place)
    table = table.loc[sources, modules]
    left_out = len(size) - len(sources)
    note = (
        "To the margin over the best other value. Patterns and LayerNorm scales frozen; MLPs split "
        "by integrated gradients.\n"
        f"Left: means; grey: no such path; {left_out} smaller sources not drawn. Right: chains, "
        "which sum to the whole margin; bars: bootstrap 95% intervals over events, "
        f"{counts(part['count'], 'events')}."
    )
    title = f"Paths through one module more, at step {step:,}"
    height = 1.7 + 0.24 * max(len(sources), len(chains))
    with picture(path, title, note, width=10, height=height) as body:
        left, right = body.subplots(1, 2, width_ratios=[len(modules) + 1.5, 5.2])
        _map(body, left, table)
        _bars(right, chains)


def stages(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw the value margin read off the residual stream at every stage, for some checkpoints."""
    need(rows, (*_COLUMNS, "half", "stage", "order", "scale"), "the readout of stages")
    part = rows[(rows["half"] == "all") & (rows["target"] == "value_margin")]
    steps = thinned(part["step"].tolist(), CHECKPOINTS)
    note = (
        f"Margin of the right value over the model's best other value, {len(steps)} of "
        f"{part['step'].nunique()} checkpoints, light to dark. Lines: means.\n"
        f"Bands: bootstrap 95% intervals over events; {counts(part['count'], 'events')} per point."
    )
    titles = {
        "own": "Logit lens: each stage's own LayerNorm scale",
        "frozen": "Running sum of paths: final scale",
    }
    title = "The answer, stage by stage of the residual stream"
    with picture(path, title, note, width=8.6, height=3.9) as body:
        axes = body.subplots(1, 2, sharey=True)
        for ax, (scale, title) in zip(axes, titles.items(), strict=True):
            zero_line(ax)
            of = part[part["scale"] == scale]
            for i, step in enumerate(steps):
                colour = SEQUENTIAL(0.25 + 0.75 * (i + 1) / len(steps))
                line = of[of["step"] == step]
                interval_line(ax, line, f"{step:,}", colour, x="order", marker="o")
            names = of.drop_duplicates("order").sort_values("order")["stage"]
            short = [name.replace("layer_", "L").replace("_post_", " ") for name in names]
            ax.set_xticks(range(len(short)), short, rotation=30, ha="right")
            ax.set_title(title)
        axes[0].set_ylabel("value margin (logit)")
        side_legend(axes[1], "step")


def direct_and_ablated(rows: pd.DataFrame, step: int, path: StrPath) -> None:
    """Draw direct attribution beside the measured ablation effect, component by component."""
    need(rows, (*_COLUMNS, "component", "chosen", "measure"), "direct attribution and ablation")
    part = rows[(rows["step"] == step) & (rows["target"] == "value_margin")]
    components = part[part["measure"] == "direct"]
    names = list(components["component"])
    note = (
        "Margin over the best other value; components ordered by direct attribution on the other "
        "half of the events, bold: the top ones.\nBars: means over events, with bootstrap 95% "
        f"intervals; {counts(part['count'], 'events')}. An effect beyond the direct part came "
        "through later components."
    )
    title = f"Direct attribution and measured ablation effect, at step {step:,}"
    with picture(path, title, note, height=1.7 + 0.34 * len(names)) as body:
        ax = body.add_subplot()
        labels = {"direct": "direct attribution", "effect": "ablation effect"}
        for offset, (measure, colour) in zip((-0.18, 0.18), _MEASURED.items(), strict=True):
            of = part[part["measure"] == measure].set_index("component").loc[names]
            places = np.arange(len(names)) + offset
            ax.barh(places, of["mean"], 0.32, color=colour, label=labels[measure], alpha=0.85)
            ax.hlines(places, of["low"], of["high"], color=INK, linewidth=0.9, zorder=4)
        ticks = ax.set_yticks(range(len(names)), names)
        for tick, chosen in zip(ticks, components["chosen"], strict=True):
            tick.label1.set_fontweight("bold" if chosen == "top" else "normal")
        ax.invert_yaxis()
        ax.grid(visible=False, axis="y")
        ax.grid(visible=True, axis="x")
        zero_line(ax, "x")
        ax.set_xlabel("contribution to the value margin (logit)")
        _agreements(ax, part, names)
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1.01), ncols=2)


def _words(name: str) -> str:
    """A writer's name for people; parameters keep theirs."""
    return name if "." in name else words(name)


def _place(name: str) -> tuple[int, int, int, str]:
    """Where in the model a source writes: embeddings, then by layer, attention before the MLP."""
    match = re.search(r"L(\d+)(?:H(\d+)|(.+))$", name)
    if match is None:
        return (-1, 0, 0, {"token_embedding": "", "position_embedding": " "}.get(name, name))
    last = {".b_O": 1, "MLP": 2, ".b_out": 3}.get(match[3] or "", 0)
    return (int(match[1]), last, int(match[2] or 0), name)


def _map(body: SubFigure, ax: Axes, table: pd.DataFrame) -> None:
    """Sources (rows) by the module they go through (columns), with the larger numbers written."""
    values = table.to_numpy(dtype=float)
    limit = float(np.nanmax(np.abs(values))) or 1.0
    image = ax.imshow(values, cmap=DIVERGING, norm=Normalize(-limit, limit), aspect="auto")
    ax.set_facecolor(GRID)
    ax.set_yticks(range(len(table)), [_words(name) for name in table.index])
    ax.set_xticks(range(table.shape[1]), table.columns, rotation=40, ha="right")
    ax.set_title("source (rows) → module (columns) → logit")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        if abs(value) >= 0.04 * limit:  # never for a path that does not exist
            colour = to_hex(image.cmap(image.norm(value)))
            text = f"{value:+.2f}".replace("-", "−")
            ax.text(
                column, row, text, ha="center", va="center", size=6.5, color=readable_on(colour)
            )
    bar = body.colorbar(image, ax=ax, pad=0.02, aspect=22)
    bar.set_label("contribution (logit)")
    bar.outline.set_visible(False)


def _bars(ax: Axes, chains: pd.DataFrame) -> None:
    """What every chain adds, with its interval."""
    places = np.arange(len(chains))
    colours = ["#0072b2" if value > 0 else "#d55e00" for value in chains["mean"]]
    ax.barh(places, chains["mean"], 0.62, color=colours, alpha=0.85)
    ax.hlines(places, chains["low"], chains["high"], color=INK, linewidth=0.9, zorder=4)
    ax.set_yticks(places, chains["path"])
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.grid(visible=True, axis="x")
    zero_line(ax, "x")
    ax.set_title("Chains")
    ax.set_xlabel("contribution (logit)")


def _agreements(ax: Axes, part: pd.DataFrame, names: list[str]) -> None:
    """Write beside every component how far both measures agree over events."""
    at = part.set_index(["component", "measure"])["mean"]
    place = {"xycoords": ("axes fraction", "data"), "va": "center", "size": 7.5, "color": SOFT}
    for row, name in enumerate(names):
        text = f"same sign {at[name, 'sign_agreement']:.0%}"
        if (name, "correlation") in at.index:
            text += f", r = {at[name, 'correlation']:+.2f}".replace("-", "−")
        ax.annotate(text, (1.01, row), **place)
