"""Figures of the weights' singular values over training, beside untrained matrices."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from circuit.reports.style import (
    INK,
    SEQUENTIAL,
    SOFT,
    SPARE_COLOURS,
    log_axis,
    need,
    picture,
    side_legend,
    step_axis,
    thinned,
)

StrPath = str | os.PathLike[str]

_ROWS = ("step", "component", "matrix", "measure", "value", "baseline_low", "baseline_high")
_BAND = "#d9dce1"
_DASHES = ("-", (0, (4, 1.2)), (0, (1, 1.2)), (0, (5, 1, 1, 1)))
_TRACKS = {"compression": ("v", 0), "growth": ("^", 1), "stabilisation": ("s", 2)}
_MARK_COLOURS = {name: SPARE_COLOURS[i] for name, (_, i) in _TRACKS.items()}


def effective_rank(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw the effective rank of every matrix, one panel per kind, the lowest one named."""
    need(rows, _ROWS, "effective rank")
    ranks = rows[rows["measure"] == "effective_rank"]
    kinds = list(dict.fromkeys(ranks["matrix"]))
    lines = -(-len(kinds) // 4)
    note = (
        f"One line per matrix, colour and dashes by layer. {_band_note(ranks)}\n"
        "Bold: the lowest one at the last checkpoint, named above."
    )
    with picture(
        path, "Effective rank (Σσ)² / Σσ² of every matrix", note, height=0.8 + 2.2 * lines
    ) as body:
        panels = body.subplots(lines, 4, sharex=True, squeeze=False)
        for ax, kind in zip(panels.flat, kinds, strict=False):
            part = ranks[ranks["matrix"] == kind]
            least = part.loc[part[part["step"] == part["step"].max()]["value"].idxmin()]
            _lines(ax, part, bold=least["component"])
            ax.set_title(f"{kind}: {least['component']} {least['value']:.1f}")
            ax.set_ylim(bottom=0)
        for ax in panels.flat[len(kinds) :]:
            ax.remove()
        for ax in panels[:, 0]:
            ax.set_ylabel("effective rank")
        for ax in panels[-1]:
            step_axis(ax, ticks=3)
        _layer_legend(panels[0, -1], ranks)


def rotation(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw how far the top directions lie from the previous and from the final checkpoint's."""
    need(rows, _ROWS, "rotation of singular directions")
    kinds = [k for k in ("W_QK", "W_OV", "W_in", "W_out") if k in set(rows["matrix"])]
    note = (
        "Mean principal angle of the top singular directions, mean of both sides. One line per "
        f"matrix, colour and dashes by layer.\n{_band_note(rows)} 0: the same directions."
    )
    with picture(path, "Rotation of the top singular directions", note, height=5.0) as body:
        panels = body.subplots(2, len(kinds), sharex=True, sharey=True, squeeze=False)
        for line, which in zip(panels, ("previous", "final"), strict=True):
            sides = [f"rotation_{which}_{side}" for side in ("left", "right")]
            for ax, kind in zip(line, kinds, strict=True):
                part = rows[(rows["matrix"] == kind) & rows["measure"].isin(sides)]
                _lines(
                    ax, part.groupby(["component", "step"], as_index=False).mean(numeric_only=True)
                )
                ax.set_title(f"{kind}, to the {which}")
            line[0].set_ylabel("angle (degree)")
            line[0].set_ylim(0, 92)
        for ax in panels[-1]:
            step_axis(ax, ticks=3)
        _layer_legend(panels[0, -1], rows)


def spectrum(rows: pd.DataFrame, spectra: pd.DataFrame, path: StrPath) -> None:
    """Draw singular values at several checkpoints, of the most compressed W_QK and W_OV."""
    need(rows, _ROWS, "the most compressed matrices")
    need(spectra, ("step", "component", "matrix", "index", "value"), "singular values")
    steps = thinned(spectra["step"].tolist(), 6)
    note = (
        "One line per checkpoint; the component is the one with the lowest effective rank at the "
        f"last one. {_band_note(rows)}"
    )
    with picture(path, "Singular values over training", note, height=3.7) as body:
        panels = body.subplots(1, 2, sharey=True)
        for ax, kind in zip(panels, ("W_QK", "W_OV"), strict=True):
            end = rows[(rows["matrix"] == kind) & (rows["measure"] == "effective_rank")]
            end = end[end["step"] == end["step"].max()]
            component = end.loc[end["value"].idxmin(), "component"]
            part = spectra[(spectra["matrix"] == kind) & (spectra["component"] == component)]
            band = part[part["step"] == steps[0]]
            ax.fill_between(
                band["index"], band["baseline_low"], band["baseline_high"], color=_BAND, linewidth=0
            )
            for i, step in enumerate(steps):
                line = part[part["step"] == step].sort_values("index")
                colour = SEQUENTIAL(0.3 + 0.7 * i / max(len(steps) - 1, 1))
                ax.plot(line["index"], line["value"], color=colour, label=f"{step:,}")
            ax.set_title(f"{kind} of {component}")
            ax.set_xlabel("number of the singular value")
            ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
            log_axis(ax)
        panels[0].set_ylabel("singular value (parameter unit²)")
        side_legend(panels[1], "training step")


def births(
    patterns: pd.DataFrame, windows: Mapping[str, Mapping[str, Any]], last: int, path: StrPath
) -> None:
    """Draw when matrices grew, were compressed and settled, with behaviour's windows.

    Args:
        windows: of behaviour's births, by name.
        last: the run's last step.
    """
    kinds = ("W_Q", "W_K", "W_V", "W_O", "W_QK", "W_OV", "W_in", "W_out")
    count = int(patterns["pattern"].isin(_TRACKS).sum())
    shaded = [w for name, w in windows.items() if name.startswith("window_")]
    note = (
        f"Area of a mark: number of matrices at that checkpoint; n = {count} births in weights.\n"
        + ("Shaded: windows of behaviour's births. " if shaded else "Behaviour had no birth. ")
        + "Bars at the bottom: matrices that move together, more than by chance."
    )
    title = "When matrices grew, were compressed and settled"
    with picture(path, title, note, height=1.6 + 0.36 * len(kinds)) as body:
        ax = body.add_subplot()
        for window in shaded:
            ax.axvspan(
                window["start"], window["stop"], facecolor="#f6e3b4", edgecolor="white", zorder=0
            )
        for pattern, (mark, track) in _TRACKS.items():
            chosen = patterns[patterns["pattern"] == pattern]
            sizes = chosen.groupby(["matrix", "step"]).size()
            for (kind, step), n in sizes.items():
                y = kinds.index(kind) + 0.26 * (track - 1)
                ax.plot(
                    step,
                    y,
                    mark,
                    color=_MARK_COLOURS[pattern],
                    markersize=3.4 * np.sqrt(n),
                    alpha=0.8,
                )
            ax.plot([], [], mark, color=_MARK_COLOURS[pattern], markersize=5, label=pattern)
        for _, row in patterns[patterns["pattern"] == "co_movement"].iterrows():
            ends = [row["start"], row["stop"]]
            ax.plot(ends, [len(kinds)] * 2, color=INK, linewidth=4, solid_capstyle="butt")
            text = f"{row['matrices']} together"
            ax.annotate(text, (row["stop"], len(kinds)), (5, 0), textcoords="offset points",
                        va="center", fontsize=7.5, color=SOFT)  # fmt: skip
        ax.set_yticks(range(len(kinds)), kinds)
        ax.set_ylim(len(kinds) + 0.5, -0.7)
        ax.set_xlim(-0.01 * last, 1.01 * last)
        ax.tick_params(axis="y", length=0)
        side_legend(ax, "pattern")
        step_axis(ax)


def _lines(ax: Axes, rows: pd.DataFrame, bold: str | None = None) -> None:
    """One line per component over the band of untrained matrices."""
    low, high = rows["baseline_low"].iloc[0], rows["baseline_high"].iloc[0]
    ax.axhspan(low, high, color=_BAND, linewidth=0, zorder=0)
    for component, part in rows.groupby("component"):
        line, strong = part.sort_values("step"), component == bold
        ax.plot(
            line["step"],
            line["value"],
            **_look(_layer(str(component))),
            linewidth=2.0 if strong else 0.9,
            zorder=3 if strong else 2,
        )


def _layer(component: str) -> int:
    return int(component[1:].replace("MLP", "H").partition("H")[0])


def _look(layer: int) -> dict[str, Any]:
    """A layer's colour and dashes."""
    return {
        "color": SPARE_COLOURS[layer % len(SPARE_COLOURS)],
        "linestyle": _DASHES[layer % len(_DASHES)],
    }


def _layer_legend(ax: Axes, rows: pd.DataFrame) -> None:
    for layer in sorted({_layer(component) for component in rows["component"].unique()}):
        ax.plot([], [], **_look(layer), label=str(layer))
    side_legend(ax, "layer")


def _band_note(rows: pd.DataFrame) -> str:
    low, high = rows["baseline_count"].min(), rows["baseline_count"].max()
    count = f"{low:,}" if low == high else f"{low:,}–{high:,}"
    return f"Grey: 95% of untrained matrices (n = {count} random)."
