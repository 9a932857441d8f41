"""Figures of the update attribution: which component of which update built a scalar, and where."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from circuit.reports.quantities import format_value
from circuit.reports.style import (
    COMPONENT_COLOURS,
    INK,
    SOFT,
    SPARE_COLOURS,
    log_axis,
    need,
    picture,
    side_legend,
    step_axis,
    thinned,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

SUMMANDS = ("current_gradient", "momentum", "weight_decay", "rounding")
POINTS = 150  # of a cumulative curve; a sum is exact at each of them
TOP = 12
_ROWS = ("step", "scalar", "path_rule", "component", "attribution")


def growth(
    rows: pd.DataFrame,
    values: pd.DataFrame,
    units: Mapping[str, str],
    path: StrPath,
    path_rule: str,
) -> None:
    """Draw each scalar's cumulative growth and the cumulative contributions that sum to it.

    Args:
        rows: attributions by step, scalar, path rule and component.
        values: growth by step and scalar.
        units: unit of each scalar.
        path_rule: the rule that is drawn.
    """
    need(rows, _ROWS, "growth by component")
    need(values, ("step", "scalar", "growth"), "growth by component")
    chosen = rows[rows["path_rule"] == path_rule]
    need(chosen, _ROWS, f"growth by component under {path_rule}")
    scalars = list(dict.fromkeys(chosen["scalar"]))
    n = chosen["step"].nunique()
    note = (
        f"Cumulative over {n:,} steps, path rule {path_rule}, means over events. Areas: "
        "components, positive stacked up, negative down.\nArea above minus area below, plus the "
        "residual, is the growth. The split of current gradient and momentum is a convention."
    )
    title = "Growth of each scalar and what the update's components contributed"
    with picture(path, title, note, height=0.8 + 2.5 * _lines(scalars)) as body:
        axes = _panels(body, scalars)
        for ax, scalar in zip(axes, scalars, strict=True):
            parts = chosen[chosen["scalar"] == scalar]
            table = parts.pivot(index="step", columns="component", values="attribution")
            actual = values[values["scalar"] == scalar].set_index("step")["growth"]
            _stack(ax, table.sort_index().cumsum(), actual.sort_index().cumsum())
            total = format_value(float(actual.sum()), units[scalar])
            ax.set_title(f"{scalar}: {total}")
            ax.set_ylabel(f"cumulative growth ({units[scalar]})")
        for ax in axes[-2:] if len(axes) > 1 else axes:
            step_axis(ax, ticks=5)
        line = {"linewidth": 1.6}
        handles: list[Line2D | Patch] = [Line2D([], [], color=INK, label="actual growth", **line)]
        handles += [Patch(color=COMPONENT_COLOURS[c], label=words(c)) for c in SUMMANDS]
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
        groups: sums over the window by scalar, component and group.
        grouping: which grouping of the table is drawn.
    """
    columns = ("scalar", "component", "group", "grouping", "attribution")
    need(groups, columns, "growth by parameter group")
    chosen = groups[(groups["grouping"] == grouping) & groups["component"].isin(SUMMANDS)]
    need(chosen, columns, f"growth by {grouping}")
    scalars = list(dict.fromkeys(chosen["scalar"]))
    note = (
        f"The {TOP} groups with the largest contribution, and the sum of all others. Dots: a "
        "group's total.\nAll bars of a scalar sum to its attributed growth over the window."
    )
    title = f"Contribution of parameter groups ({words(grouping)}) to the growth of each scalar"
    with picture(path, title, note, height=0.8 + 2.75 * _lines(scalars)) as body:
        axes = _panels(body, scalars, sharex=False)
        for ax, scalar in zip(axes, scalars, strict=True):
            table = chosen[chosen["scalar"] == scalar].pivot_table(
                index="group", columns="component", values="attribution", aggfunc="sum"
            )
            shown = _largest(table.reindex(columns=list(SUMMANDS), fill_value=0.0).fillna(0.0))
            _bars(ax, shown)
            total = format_value(float(table.to_numpy().sum()), units[scalar])
            ax.set_title(f"{scalar}: {total}")
            ax.set_xlabel(f"contribution ({units[scalar]})")
        handles: list[Line2D | Patch] = [
            Patch(color=COMPONENT_COLOURS[c], label=words(c)) for c in SUMMANDS
        ]
        dot = {"marker": "o", "color": INK, "markersize": 4, "linestyle": ""}
        handles.append(Line2D([], [], label="total", **dot))
        side_legend(axes[min(1, len(axes) - 1)], handles=handles)


def residual(
    rows: pd.DataFrame,
    values: pd.DataFrame,
    units: Mapping[str, str],
    path: StrPath,
    bound: float | None = None,
) -> None:
    """Draw the cumulative closure residual of each path rule, relative to the window's growth.

    Args:
        bound: the share of the growth above which a window is marked; drawn if given.
    """
    need(rows, _ROWS, "the closure residual")
    left_over = rows[rows["component"] == "residual"]
    need(left_over, _ROWS, "the closure residual")
    scalars = list(dict.fromkeys(left_over["scalar"]))
    rules = list(dict.fromkeys(left_over["path_rule"]))
    n = left_over["step"].nunique()
    note = (
        f"|cumulative residual| over {n:,} steps as % of the window's |growth|, log scale. "
        "The residual is what the components leave unexplained."
    )
    title = "Closure residual of each path rule"
    with picture(path, title, note, height=0.65 + 2.35 * _lines(scalars)) as body:
        axes = _panels(body, scalars)
        for ax, scalar in zip(axes, scalars, strict=True):
            total = float(values.loc[values["scalar"] == scalar, "growth"].sum())
            part = left_over[left_over["scalar"] == scalar]
            for i, rule in enumerate(rules):
                line = part[part["path_rule"] == rule].sort_values("step")
                curve = line.set_index("step")["attribution"].cumsum().abs()
                share = 100 * curve / (abs(total) or np.nan)
                share = share.loc[thinned(list(share.index), POINTS)]
                style = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)))[i % 3]
                ax.plot(
                    share.index,
                    share.where(share > 0),
                    color=SPARE_COLOURS[i],
                    linestyle=style,
                    label=rule,
                )
            if bound is not None:
                ax.axhline(100 * bound, color=SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
                ax.plot([], [], color=SOFT, linewidth=1, linestyle=(0, (4, 3)), label="bound")
            log_axis(ax)
            ax.set_title(f"{scalar}, growth {format_value(total, units[scalar])}")
            ax.set_ylabel("residual (% of growth)")
        for ax in axes[-2:] if len(axes) > 1 else axes:
            step_axis(ax, ticks=5)
        side_legend(axes[min(1, len(axes) - 1)], "path rule")


def _lines(scalars: list[str]) -> int:
    return (len(scalars) + 1) // 2


def _panels(body: SubFigure, scalars: list[str], sharex: bool = True) -> list[Axes]:
    """One panel per scalar, two in a line; a lone one takes the whole width."""
    columns = min(2, len(scalars))
    grid = body.subplots(_lines(scalars), columns, squeeze=False)
    panels: list[Axes] = list(grid.flat)
    for spare in panels[len(scalars) :]:
        spare.remove()
    panels = panels[: len(scalars)]
    if sharex:
        for ax in panels[: -columns or None] if len(panels) > columns else []:
            ax.tick_params(labelbottom=False)
    return panels


def _stack(ax: Axes, parts: pd.DataFrame, actual: pd.Series) -> None:
    """Cumulative components stacked by sign, the actual growth and the residual as lines."""
    kept = thinned(list(parts.index), POINTS)
    parts, actual = parts.loc[kept], actual.loc[kept]
    # The curve starts at the window's first state, where nothing has grown yet.
    steps = np.append(kept[0] - 1, kept) + 1
    for sign in (1, -1):
        base = np.zeros(len(steps))
        for name in SUMMANDS:
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


def _largest(table: pd.DataFrame) -> pd.DataFrame:
    """The groups with the largest absolute totals, in that order, and the sum of all others."""
    order = table.sum(axis=1).abs().sort_values(ascending=False, kind="stable").index
    shown = table.loc[order[:TOP]]
    others = table.loc[order[TOP:]]
    if len(others):
        shown = pd.concat([shown, others.sum().to_frame(f"rest ({len(others)} groups)").T])
    return shown


def _bars(ax: Axes, table: pd.DataFrame) -> None:
    """Horizontal bars stacked by sign, with each bar's total as a dot."""
    places = np.arange(len(table))
    for sign in (1, -1):
        base = np.zeros(len(table))
        for name in SUMMANDS:
            width = sign * np.clip(sign * table[name].to_numpy(), 0, None)
            ax.barh(places, width, left=base, height=0.7, color=COMPONENT_COLOURS[name], zorder=2)
            base = base + width
    ax.plot(table.sum(axis=1), places, "o", color=INK, markersize=3.4, zorder=4)
    zero_line(ax, "x")
    ax.set_yticks(places, [str(name) for name in table.index], fontsize=7.5)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.margins(x=0.05)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    ax.tick_params(axis="y", length=0)
