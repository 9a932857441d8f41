"""Figures of replication over seeds."""

from __future__ import annotations

import os

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from circuit.reports.quantities import format_value
from circuit.reports.style import (
    COMPONENT_COLOURS,
    FAINT,
    ROLE_COLOURS,
    SOFT,
    need,
    picture,
    readable_on,
    share_axis,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_COMPONENTS = ("current_gradient", "momentum", "weight_decay", "rounding", "residual")


def seeds(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw growth per seed and role with the mean over seeds, and the winners' component shares.

    Args:
        rows: run, seed, role, head, measure, value, low, high, unit; run ``mean`` is the mean over
            runs with its interval.
    """
    columns = ("run", "seed", "role", "head", "measure", "value", "low", "high", "unit")
    need(rows, columns, "growth over seeds")
    grown = rows[rows["measure"] == "growth"]
    need(grown, columns, "growth over seeds")
    roles = [role for role in ROLE_COLOURS if role in set(grown["role"])]
    n = grown.loc[grown["run"] != "mean", "run"].nunique()
    note = (
        f"n = {n} runs that differ in their seed. Circles: runs, with bootstrap 95% "
        "intervals over events.\nDiamonds: means over runs, with 95% intervals over seeds."
    )
    height = 1.45 + 0.215 * len(roles) * (n + 1.8)
    with picture(path, "Growth and its components over seeds", note, height=height) as body:
        left, right = body.subplots(1, 2, width_ratios=[5, 6])
        _growth(left, grown, roles)
        _shares(right, rows)


def _growth(ax: Axes, rows: pd.DataFrame, roles: list[str]) -> None:
    """Every run's growth by role, and the mean over runs."""
    y, labels = 0.0, []
    for role in roles:
        part = rows[rows["role"] == role]
        labels.append((y, words(role), True))
        for row in part[part["run"] != "mean"].sort_values("seed").itertuples():
            y += 1
            labels.append((y, f"seed {row.seed}, {row.head}", False))
            _interval(ax, row.value, row.low, row.high, y, ROLE_COLOURS[role], "white")
        for row in part[part["run"] == "mean"].itertuples():
            y += 1
            labels.append((y, "mean", False))
            colour = ROLE_COLOURS[role]
            _interval(ax, row.value, row.low, row.high, y, colour, colour, mark="D")
        y += 1.5
    _list_axis(ax, labels)
    zero_line(ax, "x")
    ax.set_xlabel(f"growth ({rows['unit'].iloc[0]})")
    ax.set_title("Growth of the selection criterion")


def _shares(ax: Axes, rows: pd.DataFrame) -> None:
    """Component shares of the winners' growth, stacked, with each run's birth step."""
    winner = rows[(rows["role"] == "winner") & rows["measure"].str.startswith("share_")]
    need(winner, ("measure", "value"), "component shares over seeds")
    runs = sorted(set(zip(winner["seed"], winner["run"], winner["head"], strict=True)))
    ordered = [r for r in runs if r[1] != "mean"] + [r for r in runs if r[1] == "mean"]
    births = rows[rows["measure"] == "birth_step"].set_index("run")["value"]
    present = [c for c in _COMPONENTS if f"share_{c}" in set(winner["measure"])]
    labels = []
    for y, (seed, run, head) in enumerate(ordered):
        share = winner[winner["run"] == run].set_index("measure")["value"]
        ends = {1: 0.0, -1: 0.0}
        for component in present:
            value = float(share.get(f"share_{component}", 0.0))
            sign = 1 if value >= 0 else -1
            colour = COMPONENT_COLOURS[component]
            ax.barh(y, value, left=ends[sign], height=0.68, color=colour, zorder=2)
            if abs(value) >= 0.12:
                ink = readable_on(colour)
                middle = ends[sign] + value / 2
                text = format_value(value, "share", value - 0.02, value + 0.02)
                ax.text(middle, y, text, ha="center", va="center", fontsize=7.5, color=ink)
            ends[sign] += value
        labels.append((float(y), "mean" if run == "mean" else f"seed {seed}, {head}", False))
        birth = f"step {births[run]:,.0f}" if run in births.index else "not born"
        place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        ax.annotate(birth, (1, y), (6, 0), va="center", fontsize=8, color=SOFT, **place)
    place = {"xycoords": "axes fraction", "textcoords": "offset points"}
    ax.annotate("birth", (1, 1), (6, 4), fontsize=8, color=SOFT, **place)
    _list_axis(ax, labels)
    zero_line(ax, "x")
    ax.axvline(1, color=FAINT, linewidth=0.8, zorder=1)
    share_axis(ax, "share of the winner's attributed growth (%)", axis="x", whole=False)
    ax.set_title("What carried the winner's growth")
    handles = [Patch(color=COMPONENT_COLOURS[c], label=words(c)) for c in present]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.2), ncols=3)


def _interval(
    ax: Axes,
    value: float,
    low: float,
    high: float,
    y: float,
    colour: str,
    face: str,
    mark: str = "o",
) -> None:
    ax.plot([low, high], [y, y], color=colour, linewidth=2, zorder=2)
    ax.plot(value, y, mark, color=colour, markerfacecolor=face, markersize=4.8, zorder=3)


def _list_axis(ax: Axes, labels: list[tuple[float, str, bool]]) -> None:
    """A vertical axis that is a list: places, texts, and which of them are headings."""
    ax.set_yticks([y for y, _, _ in labels], [text for _, text, _ in labels])
    for tick, (_, _, heading) in zip(ax.get_yticklabels(), labels, strict=True):
        tick.set_fontweight("bold" if heading else "normal")
    ax.set_ylim(max(y for y, _, _ in labels) + 0.7, min(y for y, _, _ in labels) - 0.7)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    ax.tick_params(axis="y", length=0)
