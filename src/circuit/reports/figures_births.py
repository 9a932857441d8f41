"""Figure of births: every curve's evidence on one axis of steps, with the merged windows."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from circuit.reports.style import (
    INK,
    SOFT,
    SPARE_COLOURS,
    need,
    picture,
    side_legend,
    step_axis,
    words,
)

StrPath = str | os.PathLike[str]

_COLUMNS = ("evidence", "method", "found", "step", "low", "high", "start", "stop", "note")
_LEVEL, _CHANGE, _JUMP = SPARE_COLOURS[0], SPARE_COLOURS[1], SPARE_COLOURS[2]
_MAIN, _OTHER = "#f6e3b4", "#eceef1"


def timeline(
    rows: pd.DataFrame, windows: dict[str, dict[str, Any]], steps: list[int], path: StrPath
) -> None:
    """Draw one row per curve: births with their intervals, and the largest jump.

    Args:
        rows: evidence by method.
        windows: by name, as in ``windows.json``.
        steps: the run's checkpoints.
    """
    need(rows, _COLUMNS, "births over training")
    names = list(dict.fromkeys(rows["evidence"]))
    note = (
        "Thin lines: 95% intervals. Pale bar: from where the change began to where it was over. "
        f"n = {len(steps)} checkpoints (ticks below).\n"
        + (
            "Shaded: births that overlap, merged into windows; the main one in yellow."
            if windows["main"]["found"]
            else "Nothing was born, so there is no window."
        )
    )
    with picture(path, "What was born when", note, height=1.75 + 0.42 * len(names)) as body:
        ax = body.add_subplot()
        _shade(ax, windows)
        for y, name in enumerate(names):
            _evidence(ax, rows[rows["evidence"] == name], y, steps)
        ax.plot(steps, [len(names) - 0.45] * len(steps), "|", color=SOFT, markersize=5)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.3, -0.75)
        ax.set_xlim(steps[0] - 0.01 * steps[-1], 1.01 * steps[-1])
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        for colour, mark, label in (
            (_LEVEL, "o", "at its level to stay"),
            (_CHANGE, "D", "middle of the change"),
            (_JUMP, "v", "largest jump or drop"),
        ):
            ax.plot([], [], mark, color=colour, markersize=5, label=label)
        side_legend(ax)
        step_axis(ax)


def _shade(ax: Axes, windows: dict[str, dict[str, Any]]) -> None:
    main = windows["main"]
    for name, window in windows.items():
        if name.startswith("window_"):
            ends = window["start"], window["stop"]
            is_main = ends == (main["start"], main["stop"])
            ax.axvspan(*ends, color=_MAIN if is_main else _OTHER, linewidth=0, zorder=0)
            label = words(name)
            ax.annotate(
                f"main ({label})" if is_main else label,
                (sum(ends) / 2, 1),
                (0, 2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                fontsize=7.5,
                color=INK if is_main else SOFT,
            )


def _evidence(ax: Axes, rows: pd.DataFrame, y: int, steps: list[int]) -> None:
    """One curve: level above the middle of its row, change point on it, jump below."""
    by = {row["method"]: row for _, row in rows.iterrows()}
    birth = by.get("threshold", by.get("stabilisation"))
    change = by.get("change_point")
    jump = by.get("largest_jump", by.get("largest_drop"))
    if change is not None and change["found"]:
        ax.plot(
            [change["start"], change["stop"]], [y, y], color=_CHANGE, alpha=0.22, linewidth=7,
            solid_capstyle="butt", zorder=2,
        )  # fmt: skip
        _point(ax, change, y, _CHANGE, "D", steps[-1])
    if birth is not None and birth["found"]:
        _point(ax, birth, y - 0.2, _LEVEL, "o", steps[-1])
    elif birth is not None:
        text = f"no birth: {birth['note']}"
        ax.text(steps[0], y, text, fontsize=7.5, color=SOFT, va="center", zorder=4)
    if jump is not None and jump["found"]:
        _point(ax, jump, y + 0.2, _JUMP, "v", steps[-1])


def _point(ax: Axes, row: pd.Series, y: float, colour: str, mark: str, last: int) -> None:
    """A step with its interval; one that is open at its end runs on to the last checkpoint."""
    is_open = pd.isna(row["high"])
    ends = [row["low"], last if is_open else row["high"]]
    ax.plot(ends, [y, y], color=colour, linewidth=1.2, linestyle=":" if is_open else "-", zorder=3)
    ax.plot(row["step"], y, mark, color=colour, markersize=4.5, zorder=4)
