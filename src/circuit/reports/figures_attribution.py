"""Figures of the update attribution: which component of which update built a scalar, and where."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from circuit.config.terms import COMPARATORS
from circuit.reports.panels import first_scalars, panel_lines, panels, signed_bars
from circuit.reports.quantities import format_value
from circuit.reports.style import (
    COMPONENT_COLOURS,
    INK,
    SOFT,
    SPARE_COLOURS,
    need,
    picture,
    side_legend,
    step_axis,
    thinned,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

POINTS = 150  # of a cumulative curve; a sum is exact at each of them
_RULE_MARKS = ("o", "s", "D", "^", "v")
_ROWS = ("step", "scalar", "path_rule", "component", "attribution")


def growth(
    rows: pd.DataFrame,
    values: pd.DataFrame,
    units: Mapping[str, str],
    path: StrPath,
    path_rule: str,
    last: int,
) -> None:
    """Draw each scalar's cumulative growth and the cumulative contributions that sum to it.

    Args:
        rows: attributions by step, scalar, path rule and component.
        values: growth by step and scalar.
        units: unit of each scalar.
        path_rule: the rule that is drawn.
        last: the step at which the window ends; rows have the step at which an interval begins.
    """
    need(rows, _ROWS, "growth by component")
    need(values, ("step", "scalar", "growth"), "growth by component")
    chosen = rows[rows["path_rule"] == path_rule]
    need(chosen, _ROWS, f"growth by component under {path_rule}")
    scalars, left_out = first_scalars(chosen["scalar"])
    chosen = chosen[~chosen["component"].isin(COMPARATORS)]
    summands = [c for c in dict.fromkeys(chosen["component"]) if c != "residual"]
    n = chosen["step"].nunique()
    note = (
        f"Cumulative over {n:,} intervals, path rule {path_rule}, means over events{left_out}. "
        "Areas: components, positive up, negative down.\nArea above minus area below, plus the "
        "residual, is the growth."
    )
    if "momentum" in summands:
        note += " The split of current gradient and momentum is a convention."
    title = "Growth of each scalar and what the update's components contributed"
    with picture(path, title, note, height=0.8 + 2.5 * panel_lines(scalars)) as body:
        axes = panels(body, scalars)
        for ax, scalar in zip(axes, scalars, strict=True):
            parts = chosen[chosen["scalar"] == scalar]
            table = parts.pivot_table(
                index="step", columns="component", values="attribution", aggfunc="sum"
            )
            table = table.reindex(columns=[*summands, "residual"], fill_value=0.0).fillna(0.0)
            actual = values[values["scalar"] == scalar].set_index("step")["growth"]
            _stack(ax, table.sort_index().cumsum(), actual.sort_index().cumsum(), last)
            total = format_value(float(actual.sum()), units[scalar], signed=True)
            ax.set_title(f"{scalar}: {total}")
            ax.set_ylabel(f"cumulative growth ({units[scalar]})")
        for ax in axes[-2:] if len(axes) > 1 else axes:
            step_axis(ax, ticks=5)
        line = {"linewidth": 1.6}
        handles: list[Line2D | Patch] = [Line2D([], [], color=INK, label="actual growth", **line)]
        handles += [Patch(color=COMPONENT_COLOURS[c], label=words(c)) for c in summands]
        colour = COMPONENT_COLOURS["residual"]
        handles.append(
            Line2D([], [], color=colour, linestyle=(0, (4, 2)), label="closure residual", **line)
        )
        side_legend(axes[min(1, len(axes) - 1)], handles=handles)


def parameter_groups(
    groups: pd.DataFrame, units: Mapping[str, str], path: StrPath, grouping: str
) -> None:
    """Draw the largest parameter groups and the rest as bars that sum to the whole.

    Args:
        groups: sums over the window by scalar, component and group: the largest, and their rest.
        grouping: which grouping of the table is drawn.
    """
    columns = ("scalar", "component", "group", "grouping", "attribution")
    need(groups, columns, "growth by parameter group")
    chosen = groups[groups["grouping"] == grouping]
    need(chosen, columns, f"growth by {grouping}")
    scalars, left_out = first_scalars(chosen["scalar"])
    summands = list(dict.fromkeys(chosen["component"]))
    note = (
        f"The groups with the largest contribution, and the sum of all others{left_out}. Dots: a "
        "group's total.\nAll bars of a scalar sum to its attributed growth over the window."
    )
    title = f"Contribution of parameter groups ({words(grouping)}) to the growth of each scalar"
    with picture(path, title, note, height=0.8 + 2.75 * panel_lines(scalars)) as body:
        axes = panels(body, scalars, sharex=False)
        for ax, scalar in zip(axes, scalars, strict=True):
            table = chosen[chosen["scalar"] == scalar].pivot_table(
                index="group", columns="component", values="attribution", aggfunc="sum", sort=False
            )
            bars = table.reindex(columns=summands, fill_value=0.0).fillna(0.0)
            signed_bars(ax, bars, COMPONENT_COLOURS)
            total = format_value(float(table.to_numpy().sum()), units[scalar], signed=True)
            ax.set_title(f"{scalar}: {total}")
            ax.set_xlabel(f"contribution ({units[scalar]})")
        handles: list[Line2D | Patch] = [
            Patch(color=COMPONENT_COLOURS[c], label=words(c)) for c in summands
        ]
        dot = {"marker": "o", "color": INK, "markersize": 4, "linestyle": ""}
        handles.append(Line2D([], [], label="total", **dot))
        side_legend(axes[min(1, len(axes) - 1)], handles=handles)


def residual(
    rows: pd.DataFrame, values: pd.DataFrame, path: StrPath, bound: float | None = None
) -> None:
    """Draw what each path rule leaves of every scalar's window, relative to its movement.

    Args:
        bound: the share of the movement above which a window is marked; drawn if given.
    """
    need(rows, _ROWS, "the closure residual")
    left_over = rows[rows["component"] == "residual"]
    need(left_over, _ROWS, "the closure residual")
    scalars = list(dict.fromkeys(left_over["scalar"]))
    rules = list(dict.fromkeys(left_over["path_rule"]))
    movement = values.groupby("scalar")["growth"].agg(lambda change: change.abs().sum())
    net = left_over.groupby(["path_rule", "scalar"])["attribution"].sum().abs()
    gross = left_over.groupby(["path_rule", "scalar"])["attribution"].agg(lambda r: r.abs().sum())
    n = left_over["step"].nunique()
    note = (
        f"What components and terms leave of the growth over {n:,} intervals, as % of the total "
        "absolute movement (log scale).\nFilled: residual of the window. Open: sum of the sizes of "
        "all intervals' residuals."
    )
    title = "Closure residual of every scalar under each path rule"
    with picture(path, title, note, height=0.9 + 0.22 * len(scalars)) as body:
        ax = body.subplots()
        places = np.arange(len(scalars))
        for i, rule in enumerate(rules):
            shift = (i - (len(rules) - 1) / 2) * 0.18
            look = {
                "marker": _RULE_MARKS[i % len(_RULE_MARKS)],
                "linestyle": "",
                "markersize": 4.5,
                "markeredgecolor": SPARE_COLOURS[i],
            }
            for sums, face in ((gross, "none"), (net, SPARE_COLOURS[i])):
                share = 100 * sums[rule].reindex(scalars) / movement.reindex(scalars)
                share = share.where(share > 0).to_numpy()
                label = rule if face != "none" else None
                ax.plot(share, places + shift, markerfacecolor=face, label=label, **look)
        if bound is not None:
            style = {"color": SOFT, "linewidth": 1, "linestyle": (0, (4, 3))}
            ax.axvline(100 * bound, zorder=1, label="bound", **style)
        ax.set_xscale("log")
        ax.set_yticks(places, scalars, fontsize=7.5)
        ax.set_ylim(len(scalars) - 0.4, -0.6)
        ax.set_xlabel("residual (% of total absolute movement)")
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", visible=True)
        side_legend(ax, "path rule")


def _stack(ax: Axes, parts: pd.DataFrame, actual: pd.Series, last: int) -> None:
    """Cumulative components stacked by sign, the actual growth and the residual as lines."""
    begins = list(parts.index)
    ends = dict(zip(begins, [*begins[1:], last], strict=True))
    kept = thinned(begins, POINTS)
    parts, actual = parts.loc[kept], actual.loc[kept]
    # The curve starts at the window's first state, where nothing has grown yet; what an interval
    # gave is there at its end, be it one step or a hundred.
    steps = np.array([begins[0], *(ends[step] for step in kept)])
    for sign in (1, -1):
        base = np.zeros(len(steps))
        for name in parts.columns.drop("residual"):
            values = np.append(0.0, parts[name].to_numpy())
            top = base + sign * np.clip(sign * values, 0, None)
            ax.fill_between(
                steps, base, top, color=COMPONENT_COLOURS[name], alpha=0.75, linewidth=0, zorder=2
            )
            base = top
    zero_line(ax)
    rest = np.append(0.0, parts["residual"].to_numpy())
    colour = COMPONENT_COLOURS["residual"]
    ax.plot(steps, rest, color=colour, linestyle=(0, (4, 2)), linewidth=1.4, zorder=4)
    ax.plot(steps, np.append(0.0, actual.to_numpy()), color=INK, linewidth=1.6, zorder=5)
