"""Figures of the attribution to data: which data built a scalar, and through which memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from circuit.reports.data_sums import (
    MEMORIES,
    cumulative,
    data_order,
    group_sums,
    other_sums,
    rest_name,
)
from circuit.reports.panels import first_scalars, panel_lines, panels, signed_bars
from circuit.reports.quantities import format_value
from circuit.reports.style import (
    COMPONENT_COLOURS,
    FAINT,
    INK,
    SOFT,
    counts,
    interval_line,
    need,
    picture,
    side_legend,
    step_axis,
    thinned,
    words,
    zero_line,
)

StrPath = str | os.PathLike[str]

_GROUP_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#882255",
    "#999933",
)
_TOLD = len(_GROUP_COLOURS)  # groups that have a colour of their own
_REST = "#5f6368"
_BARS = 14
_POINTS = 150
_FLAT = 0.05  # of the groups' sizes; growth that is less can not be read off beside them
_DRAWN = 3  # scalars whose pushes are drawn
_ROWS = ("step", "scalar", "path_rule", "component", "data_group", "attribution")
_TERM_COLOURS = {**COMPONENT_COLOURS, "before_window": "#6f4e7c"}


def data_growth(
    rows: pd.DataFrame,
    values: pd.DataFrame,
    units: Mapping[str, str],
    path: StrPath,
    path_rule: str,
) -> None:
    """Draw each scalar's cumulative growth and what every data group gave to it.

    Args:
        rows: attributions by step, scalar, path rule, component and data group.
        values: growth by step and scalar.
        units: unit of each scalar.
        path_rule: the rule that is drawn.
    """
    chosen = _chosen(rows, path_rule, "growth by data")
    need(values, ("step", "scalar", "growth"), "growth by data")
    scalars, left_out = first_scalars(chosen["scalar"])
    groups = group_sums(chosen)
    # One choice of groups and colours for all panels: that of the first scalar.
    told, others = data_order(groups, scalars[0], _TOLD)
    colours = _colours(groups["data_group"], told)
    colours |= dict.fromkeys([rest_name(others)] if others else [], _REST)
    note = (
        f"Cumulative over {chosen['step'].nunique():,} steps, path rule {path_rule}, means over "
        f"events{left_out}. Current gradient and momentum of a group together.\nAll coloured lines "
        "and the dashed one sum to the growth. Dashed: what belongs to no data of the window "
        "(earlier gradients, decay, rounding, residual, terms)."
        f"{_flat(groups, scalars)}"
    )
    title = "Growth of each scalar and what every group of training data gave to it"
    with picture(path, title, note, height=0.9 + 2.5 * panel_lines(scalars)) as body:
        axes = panels(body, scalars)
        for ax, scalar in zip(axes, scalars, strict=True):
            table = cumulative(chosen, scalar, told, others)
            actual = values[values["scalar"] == scalar].set_index("step")["growth"]
            _running(ax, table, actual.sort_index().cumsum(), colours)
            ax.set_title(
                f"{scalar}: {format_value(float(actual.sum()), units[scalar], signed=True)}"
            )
            ax.set_ylabel(f"cumulative growth ({units[scalar]})")
        for ax in axes[-2:] if len(axes) > 1 else axes:
            step_axis(ax, ticks=5)
        handles = [Line2D([], [], color=INK, linewidth=2, label="actual growth")]
        handles += [Line2D([], [], color=c, label=words(n)) for n, c in colours.items()]
        handles.append(Line2D([], [], color=SOFT, linestyle=(0, (4, 2)), label="no data of these"))
        side_legend(axes[min(1, len(axes) - 1)], handles=handles)


def data_memory(
    rows: pd.DataFrame, units: Mapping[str, str], path: StrPath, path_rule: str
) -> None:
    """Draw what every data group gave at once and through momentum, as bars that sum to the growth.

    Args:
        rows, units, path_rule: as for :func:`data_growth`.
    """
    chosen = _chosen(rows, path_rule, "memory of data")
    scalars, left_out = first_scalars(chosen["scalar"])
    groups, terms = group_sums(chosen), other_sums(chosen)
    note = (
        "Blue: through the gradient of the step itself. Orange: through momentum, the gradients of "
        f"earlier steps. Dots: both.\nBars of a panel sum to the growth{left_out}. The split is a "
        "convention: the preconditioner holds both."
    )
    title = "Through which memory each group of training data acted"
    tallest = max(len(_bars_of(groups, terms, scalar)) for scalar in scalars)
    height = 0.9 + (0.75 + 0.17 * tallest) * panel_lines(scalars)
    with picture(path, title, note, height=height) as body:
        axes = panels(body, scalars, sharex=False)
        found: dict[str, None] = {}
        for ax, scalar in zip(axes, scalars, strict=True):
            table = _bars_of(groups, terms, scalar)
            signed_bars(ax, table, _TERM_COLOURS)
            found |= dict.fromkeys(table.columns)
            total = float(table.to_numpy().sum())
            ax.set_title(f"{scalar}: {format_value(total, units[scalar], signed=True)}")
            ax.set_xlabel(f"contribution ({units[scalar]})")
        handles: list[Line2D | Patch] = [
            Patch(color=_TERM_COLOURS[name], label=words(name)) for name in found
        ]
        dot = {"marker": "o", "color": INK, "markersize": 4, "linestyle": ""}
        handles.append(Line2D([], [], label="total", **dot))
        side_legend(axes[min(1, len(axes) - 1)], handles=handles)


def first_order_pushes(first_order: pd.DataFrame, path: StrPath) -> None:
    """Draw what every data group's loss would give to a scalar, and how its gradient lies to it.

    Args:
        first_order: rows of :func:`circuit.attribution.first_order.first_order`.
    """
    columns = ("step", "scalar", "data_group", "measure", "unit", "mean", "low", "high", "count")
    need(first_order, columns, "first-order pushes")
    scalars = [s for s in dict.fromkeys(first_order["scalar"]) if s][:_DRAWN]
    lead = first_order[first_order["scalar"] == scalars[0]]
    sizes = lead[lead["measure"] == "contribution"].groupby("data_group", sort=False)["mean"]
    order = sizes.agg(lambda m: m.abs().max()).sort_values(ascending=False, kind="stable").index
    colours = _colours(lead["data_group"], list(order[:_TOLD]))
    left_out = "" if len(colours) == len(order) else f" {len(colours)} of {len(order)} groups."
    note = (
        "Left: what plain gradient descent on the training loss gives to the scalar, split over "
        f"groups. {counts(lead['count'], 'programs')}; bands: 95% intervals.\nRight: cosine with "
        "the descent direction of a group's own loss; dotted: with answers exchanged (control)."
        f"{left_out}"
    )
    title = "Which data would move each scalar, checkpoint by checkpoint"
    with picture(path, title, note, height=0.9 + 2.5 * len(scalars)) as body:
        grid = body.subplots(len(scalars), 2, squeeze=False, sharex=True)
        for (left, right), scalar in zip(grid, scalars, strict=True):
            own = first_order[(first_order["scalar"] == scalar)]
            for group, colour in colours.items():
                rows = own[own["data_group"] == group].set_index("measure")
                for ax, measure in ((left, "contribution"), (right, "alignment")):
                    interval_line(ax, rows.loc[[measure]], words(group), colour)
                if "alignment_shuffled_answers" in rows.index:
                    control = rows.loc[["alignment_shuffled_answers"]]
                    dotted = {"color": colour, "linestyle": ":", "linewidth": 1.1}
                    right.plot(control["step"], control["mean"], **dotted)
            unit = str(own.loc[own["measure"] == "contribution", "unit"].iloc[0])
            left.set_ylabel(unit.replace(" per ", "\nper "))
            left.set_title(f"{scalar}: contribution")
            right.set_title(f"{scalar}: alignment")
            right.set_ylabel("cosine")
            for ax in (left, right):
                zero_line(ax)
        for ax in grid[-1]:
            step_axis(ax, ticks=5)
        side_legend(grid[0][1])


def removal_oracle(removal: pd.DataFrame, path: StrPath) -> None:
    """Draw what the attribution says of taking data out of a step against the step taken again.

    Args:
        removal: rows of :func:`circuit.attribution.removal.removal_oracle`.
    """
    columns = ("step", "scalar", "unit", "data_group", "share", "attributed", "actual_held")
    need(removal, (*columns, "predicted", "actual", "parameters_missed"), "removal of data")
    scalar = str(removal["scalar"].iloc[0])
    own = removal[removal["scalar"] == scalar]
    unit, step = str(own["unit"].iloc[0]), int(own["step"].iloc[0])
    shares = sorted(own["share"].unique())
    shades = dict(zip(shares, ("#9ecae1", "#4292c6", "#08519c", "#08306b"), strict=False))
    note = (
        f"A share of one group's gradient is taken out of step {step:,}, which is taken again; "
        f"{own['data_group'].nunique()} groups. Changes are divided by the share, so points of a "
        "group lie together\nwhere the first order holds. Left: preconditioner and clip held, as "
        "the attribution has them. Middle: redone too; filled: predicted with their first-order\n"
        "terms, open: without. Right: what the prediction misses of the parameters' change, a line "
        "per group."
    )
    title = f"Removal of data from a step: predicted and actual change of {scalar}"
    with picture(path, title, note, width=9.2, height=3.9) as body:
        held, redone, missed = body.subplots(1, 3)
        for share, part in own.groupby("share"):
            look = {"marker": "o", "linestyle": "", "markersize": 4.5, "color": shades[share]}
            x, y = part["attributed"] / share, part["actual_held"] / share
            held.plot(x, y, label=f"{100 * share:g}%", **look)
            full = part["actual"] / share
            redone.plot(x, full, markerfacecolor="none", alpha=0.7, **look)
            redone.plot(part["predicted"] / share, full, **look)
        for ax in (held, redone):
            ends = [min(*ax.get_xlim(), *ax.get_ylim()), max(*ax.get_xlim(), *ax.get_ylim())]
            ax.plot(ends, ends, color=FAINT, linewidth=1, zorder=1)
            ax.set_xlabel(f"predicted ({unit} per share)")
            ax.tick_params(axis="x", labelrotation=30)
        held.set_ylabel(f"actual ({unit} per share)")
        held.set_title("As attributed")
        redone.set_title("Redone in full")
        for _, part in removal.drop_duplicates(["data_group", "share"]).groupby("data_group"):
            line = part.sort_values("share")
            missed.plot(line["share"], line["parameters_missed"], color=SOFT, linewidth=0.9)
        missed.set_xscale("log")
        missed.set_yscale("log")
        missed.set_xlabel("share taken out")
        missed.set_ylabel("miss ÷ predicted change")
        missed.set_title("Miss shrinks with the share")
        held.legend(title="share", loc="upper left", fontsize=7.5)


def _flat(groups: pd.DataFrame, scalars: Sequence[str]) -> str:
    """A word on growth that groups which cancel dwarf: its line is flat on their scale."""
    sums = groups.groupby("scalar")["total"]
    net, gross = sums.sum().abs(), sums.agg(lambda total: total.abs().sum())
    dwarfed = [s for s in scalars if 0 < net[s] < _FLAT * gross[s]]
    if not dwarfed:
        return ""
    told = ", ".join(f"{s} {net[s] / gross[s]:.1%}" for s in dwarfed)
    return f"\nGroups cancel, and growth looks flat beside them; left of their sizes: {told}."


def _colours(groups: pd.Series, told: Sequence[str]) -> dict[str, str]:
    """A colour for every group that is told, in the order of all groups: one in all figures."""
    ordered = [group for group in dict.fromkeys(groups) if group in set(told)]
    return dict(zip(ordered, _GROUP_COLOURS, strict=False))


def _chosen(rows: pd.DataFrame, path_rule: str, what: str) -> pd.DataFrame:
    need(rows, _ROWS, what)
    chosen = rows[rows["path_rule"] == path_rule]
    need(chosen, _ROWS, f"{what} under {path_rule}")
    return chosen


def _running(ax: Axes, table: pd.DataFrame, actual: pd.Series, colours: Mapping[str, str]) -> None:
    """Running sums as lines that begin at 0, where the window begins."""
    kept = thinned(list(table.index), _POINTS)
    steps = np.append(kept[0] - 1, kept) + 1

    def line(values: pd.Series) -> np.ndarray:
        return np.append(0.0, values.loc[kept].to_numpy())

    zero_line(ax)
    for name, colour in colours.items():
        ax.plot(steps, line(table[name]), color=colour, linewidth=1.4, zorder=3)
    ax.plot(steps, line(table["terms"]), color=SOFT, linestyle=(0, (4, 2)), zorder=3)
    ax.plot(steps, line(actual), color=INK, linewidth=2, zorder=4)


def _bars_of(groups: pd.DataFrame, terms: pd.DataFrame, scalar: str) -> pd.DataFrame:
    """One bar per group, largest first, then one per term; columns are colours."""
    told, others = data_order(groups, scalar, _BARS)
    own = groups[groups["scalar"] == scalar].set_index("data_group")[list(MEMORIES)]
    table = own.loc[told].rename(index=words)
    if others:
        table.loc[rest_name(others)] = own.loc[others].sum()
    rest = terms[terms["scalar"] == scalar].set_index("term")["total"]
    for name, value in rest[rest != 0].items():
        table.loc[words(str(name)), str(name)] = value
    return table.fillna(0.0)
