"""Figures of functional writes: what they do, from where, in which directions, for which value."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D

from circuit.reports.style import (
    FAINT,
    INK,
    ROLE_COLOURS,
    SOFT,
    SPARE_COLOURS,
    counts,
    interval_line,
    need,
    picture,
    role_colour,
    step_axis,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_ROW = ("step", "write", "mean", "low", "high", "count", "unit")
_LINES: dict[tuple[str, str], dict[str, Any]] = {
    ("ablation", "whole"): {
        "color": SOFT,
        "linestyle": (0, (1, 1)),
        "label": "ablation: the answer's own loss",
    },
    ("write", "whole"): {"color": INK, "linestyle": "-", "label": "effect of the write"},
    ("write", "skip"): {"color": SPARE_COLOURS[0], "linestyle": "-", "label": "through the skip"},
    ("write", "mlp"): {"color": SPARE_COLOURS[1], "linestyle": "-", "label": "through the MLP"},
    ("gradient of another event", "whole"): {
        "color": SPARE_COLOURS[3],
        "linestyle": (0, (5, 1.5)),
        "label": "read for another event",
    },
    ("bottom head", "whole"): {
        "color": ROLE_COLOURS["bottom"],
        "linestyle": (0, (1.5, 1.5)),
        "label": "bottom head instead",
    },
}
"""Lines by control and part, the last one on top."""


def write_effect(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw every write's effect over training with its parts and controls.

    Args:
        rows: of :class:`circuit.measures.writes.functional.Effects`.
    """
    need(rows, (*_ROW, "source", "target", "of", "part"), "effects of writes")
    names = list(dict.fromkeys(rows["write"]))
    note = (
        "What the target state has through the write, times the gradient of the answer in the "
        "reference checkpoint. Bands: bootstrap 95% intervals;\n"
        f"{counts(rows['count'], 'events')} per step. The two parts sum to the effect; a target "
        "right after attention has no MLP part."
    )
    title = "What writes do to later states, over training"
    with picture(path, title, note, height=1.5 + 2.15 * _lines_of(names)) as body:
        for ax, name in zip(_grid(body, len(names)), names, strict=True):
            part = rows[rows["write"] == name]
            own = part[part["of"] == "write"].iloc[0]
            split = part[part["of"] == "write"].groupby("part")["mean"].any().all()
            zero_line(ax)
            for (of, kind), look in _LINES.items():
                line = part[(part["of"] == of) & (part["part"] == kind)]
                if len(line) and (split or kind == "whole"):
                    style = {key: value for key, value in look.items() if key == "linestyle"}
                    interval_line(ax, line, look["label"], look["color"], **style)
            ax.set_title(f"{words(name)}: {own['source']} →\n{words(own['target'])}")
            ax.set_ylabel(f"effect ({own['unit']})")
            step_axis(ax, ticks=5)
        handles = [Line2D([], [], **look) for look in reversed(_LINES.values())]
        body.legend(handles=handles, loc="outside lower center", ncols=3)


def write_positions(positions: pd.DataFrame, path: StrPath) -> None:
    """Draw each write's effect at the last checkpoint by position, at the target and the source."""
    need(positions, (*_ROW, "side", "role"), "positions of writes")
    last = int(positions["step"].max())
    now = positions[positions["step"] == last]
    names = list(dict.fromkeys(now["write"]))
    note = (
        f"At step {last:,}; lines: bootstrap 95% intervals, {counts(now['count'], 'events')}.\n"
        "Left: the change is read at each role's positions. Right: the write is removed at one "
        "role's positions only;\nremoved together: what removing all has beyond their sum."
    )
    rows = now.groupby("write")["role"].nunique().max()
    height = 1.3 + len(names) * (0.75 + 0.2 * rows)
    with picture(path, "Where writes act, and from where", note, height=height) as body:
        axes = body.subplots(len(names), 2, squeeze=False)
        for line, name in zip(axes, names, strict=True):
            for ax, side in zip(line, ("target", "source"), strict=True):
                part = now[(now["write"] == name) & (now["side"] == side)]
                _bars(ax, part)
                ax.set_title(f"{words(name)}: " + ("read at" if side == "target" else "written at"))


def _bars(ax: Axes, rows: pd.DataFrame) -> None:
    """One bar per role with its interval."""
    for y, row in enumerate(rows.itertuples()):
        colour = {"other": SOFT, "together": FAINT}.get(row.role, role_colour(row.role))
        ax.barh(y, row.mean, height=0.62, color=colour, alpha=0.85, zorder=2)
        ax.hlines(y, row.low, row.high, color="black", linewidth=1.1, zorder=3)
    labels = {"other": "other positions", "together": "removed together"}
    ax.set_yticks(range(len(rows)), [labels.get(role, words(role)) for role in rows["role"]])
    ax.invert_yaxis()
    ax.set_xlabel(f"effect ({rows['unit'].iloc[0]})")
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    ax.tick_params(axis="y", length=0)
    zero_line(ax, "x")


def write_subspace(subspaces: pd.DataFrame, path: StrPath) -> None:
    """Draw the overlap of write subspaces with the mature ones over training."""
    columns = ("step", "write", "source", "role", "overlap", "low", "high", "chance", "count")
    need(subspaces, (*columns, "chance_low", "chance_high"), "subspaces of writes")
    names = list(dict.fromkeys(subspaces["write"]))
    note = (
        "Top principal components of the writes at a role's positions: mean squared cosine to "
        "those of the reference checkpoint.\nBands: jackknife 95% intervals, "
        f"{counts(subspaces['count'], 'events')}. Grey: 95% of random subspaces."
    )
    title = "In which directions components write, beside their mature writes"
    with picture(path, title, note, height=1.5 + 2.05 * _lines_of(names)) as body:
        grid = _grid(body, len(names))
        for ax, name in zip(grid, names, strict=True):
            part = subspaces[subspaces["write"] == name]
            chance = part.iloc[0]
            ax.axhspan(
                chance["chance_low"], chance["chance_high"], color=FAINT, alpha=0.45, zorder=1
            )
            for role, line in part.groupby("role", sort=False):
                curve = line.rename(columns={"overlap": "mean"})
                interval_line(ax, curve, words(str(role)), role_colour(str(role)))
            ax.set_title(f"{words(name)}: {chance['source']}")
            ax.set_ylim(-0.03, 1.05)
            ax.set_ylabel("overlap")
            step_axis(ax, ticks=5)
        roles = list(dict.fromkeys(subspaces["role"]))
        handles = [Line2D([], [], color=role_colour(role), label=words(role)) for role in roles]
        body.legend(handles=handles, loc="outside lower center", ncols=min(len(roles), 5))


def write_values(values: pd.DataFrame, spread: pd.DataFrame, path: StrPath) -> None:
    """Draw each write's effect per answer value at the last checkpoint, smallest first.

    Args:
        values, spread: of :class:`circuit.measures.writes.per_value.PerValue`.
    """
    need(values, (*_ROW, "value"), "effects per answer value")
    need(spread, ("step", "write", "mean", "share", "chance_high", "values"), "spread over values")
    last = int(values["step"].max())
    now, told = values[values["step"] == last], spread[spread["step"] == last].set_index("write")
    names = list(told.index)
    note = (
        f"At step {last:,}. One line per answer value, bootstrap 95% intervals over programs; "
        f"{counts(now['count'], 'programs')} per value.\n"
        "Share of the variance that lies between values; in brackets, what 95% of exchanges of "
        "values stay below. Dashed: mean of all."
    )
    title = "What writes do for each answer value"
    with picture(path, title, note, height=1.2 + 2.0 * _lines_of(names)) as body:
        for ax, name in zip(_grid(body, len(names)), names, strict=True):
            part, about = now[now["write"] == name].sort_values("mean"), told.loc[name]
            places = np.arange(len(part))
            zero_line(ax)
            ax.axhline(about["mean"], color=SOFT, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
            ax.vlines(places, part["low"], part["high"], color=SPARE_COLOURS[0], linewidth=1.1)
            ax.plot(places, part["mean"], "o", color=INK, markersize=2.6, zorder=3)
            ax.set_title(
                f"{words(name)}: share {100 * about['share']:.1f}% "
                f"({100 * about['chance_high']:.1f}%)"
            )
            ax.set_ylabel(f"effect ({part['unit'].iloc[0]})")
            ax.set_xlabel(f"{len(part)} answer values, by effect")
            ax.set_xticks([])


def _lines_of(names: list[str]) -> int:
    """Lines of a grid of two columns."""
    return -(-len(names) // 2)


def _grid(body: SubFigure, count: int) -> list[Axes]:
    """One panel per write, two in a line; what is left over stays empty."""
    axes = body.subplots(_lines_of([""] * count), min(count, 2), squeeze=False).ravel()
    for ax in axes[count:]:
        ax.set_axis_off()
    return list(axes[:count])
