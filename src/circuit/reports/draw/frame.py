"""What all shapes share: rows by panel, axes with units, the note, the grid and the legend."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from circuit.errors import AnalysisError
from circuit.estimates import CONFIRMATION, SELECTION
from circuit.reports import style
from circuit.reports.draw import looks
from circuit.reports.draw.looks import Look
from circuit.reports.quantities import UNSIGNED_UNITS
from circuit.reports.rows import control_rows, ends, select
from circuit.reports.saying import Context
from circuit.reports.views import Where

WIDTH = 8.0
_WHOLE = 0.5  # shares that reach so far are drawn on an axis from 0 to 100%
_LIKE = 4.0  # panels whose ranges differ by less than this factor share their axis
_NEAR_ZERO = 0.7  # numbers that are never negative and reach so low are drawn on an axis from 0
_WIDE_LABEL = 1.5  # inches; a legend with longer ones stands below the panels
_HALVES = {SELECTION: "those that choose", CONFIRMATION: "those that did not choose"}


@dataclass(frozen=True)
class Panel:
    """The rows of one panel, the controls beside them, and what tells them from other panels'."""

    rows: pd.DataFrame
    control: pd.DataFrame
    keys: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        units = self.rows["unit"].unique()
        if len(units) > 1:
            raise AnalysisError(
                f"one panel has the units {', '.join(units)}",
                expected="one unit per panel",
                do="tell measures apart in where or panels",
            )

    @property
    def values(self) -> tuple[Any, ...]:
        """The values of its keys."""
        return tuple(self.keys.values())

    @property
    def title(self) -> str:
        """Its keys in words; empty where there is only one panel."""
        return looks.joined(self.values, list(self.keys)) if self.keys else ""

    @property
    def unit(self) -> str:
        """Unit of the rows."""
        return str(self.rows["unit"].iloc[0])

    @cached_property
    def extent(self) -> tuple[float, float]:
        """The smallest and the largest number, intervals and controls among them."""
        numbers = pd.concat([self.rows, self.control])[["mean", "low", "high"]].to_numpy(float)
        finite = numbers[np.isfinite(numbers)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)

    @property
    def percent(self) -> bool:
        """Whether the numbers are written as percent."""
        low, high = self.extent
        return self.unit == "share" or (self.unit == "probability" and low >= 0 and high <= 1)

    @property
    def label(self) -> str:
        """Name of the axis of values: what is measured and its unit, ``QK separation (score)``."""
        measures, against = (self.rows[column].unique() for column in ("measure", "against"))
        measure = style.words(measures[0]) if len(measures) == 1 else ""
        what = "" if "measure" in self.keys else measure
        if len(against) == 1 and against[0]:
            what = ", ".join(filter(None, (what, style.words(against[0]))))
        if self.unit == "1" or what == self.unit:
            return what or measure
        unit = "%" if self.percent else self.unit
        return f"{what} ({unit})" if what else f"{self.unit} (%)" if self.percent else unit

    @property
    def signed(self) -> bool:
        """Whether zero is a number that means something on the axis."""
        return self.unit != "step" and (self.extent[0] < 0 or self.unit not in UNSIGNED_UNITS)


@dataclass(frozen=True)
class Shown:
    """A view with the rows that are drawn."""

    view: Any
    context: Context
    path: str | os.PathLike[str]
    rows: pd.DataFrame

    def select(self, where: Where) -> pd.DataFrame:
        """The rows of the view's table that meet some conditions."""
        return select(self.context.tables[self.view.table], where, self.context.settings)

    @cached_property
    def looked(self) -> dict[Any, Look]:
        """The looks of the series."""
        return looks.looks(self.rows, self.view.series)

    @cached_property
    def control(self) -> pd.DataFrame:
        """The controls beside them; no rows where the view names none."""
        view, context = self.view, self.context
        if not view.control:
            return self.rows[:0]
        table = context.tables[view.table]
        return control_rows(table, view.where, view.control, context.settings)

    def panels(self) -> list[Panel]:
        """The rows of every panel, in the order of the rows."""
        columns = list(self.view.panels)
        if not columns:
            return [Panel(self.rows, self.control)]
        order = [list(self.rows[column].unique()) for column in columns]
        found = []
        for values, rows in self.rows.groupby(columns, sort=False, dropna=False):
            keys = dict(zip(columns, values, strict=True))
            found.append(Panel(rows, at(self.control, keys), keys))
        return sorted(
            found, key=lambda p: [of.index(v) for of, v in zip(order, p.values, strict=True)]
        )

    def one_each(self, rows: pd.DataFrame, by: Sequence[str]) -> None:
        """Refuse rows of which several would be drawn in one place.

        Raises:
            AnalysisError: there is no such key column, or names the columns that differ among them.
        """
        by = [column for column in dict.fromkeys(by) if column]
        for column in set(by) - set(rows):
            raise AnalysisError(
                f"rows have no column {column!r}",
                expected=f"one of {', '.join(rows.columns)}",
                do="name a column of the table",
            )
        double = rows[rows.duplicated(by, keep=False)] if by else rows
        if len(double) < 2:
            return
        some = at(double, dict(zip(by, double[by].iloc[0], strict=True)))
        keys = some.drop(columns=["mean", "low", "high", "count"])
        differ = [column for column in keys if keys[column].nunique(dropna=False) > 1]
        told = f"tell apart {', '.join(differ)} in the view"
        raise AnalysisError(
            f"{len(some)} rows would be drawn in one place",
            expected=f"one row for each {', '.join(by) or 'figure'}",
            do=told if differ else "write every row of the table once",
        )

    @contextmanager
    def axes(
        self,
        titles: Sequence[str],
        columns: int,
        height: float,
        notes: Sequence[str],
        handles: Sequence[Any] = (),
        below: bool = False,
        **options: Any,
    ) -> Iterator[list[Axes]]:
        """The figure's empty axes, line by line under their titles, with its note and legend.

        Args:
            height: of all axes in inches; it is larger where the legend needs it.
            notes: sentences; the view's own is put behind them.
            below: the legend of ``handles`` stands below the panels, as it does where its names
                are long; else right of the upper right panel.
            options: of the grid.
        """
        view = self.view
        title, own = (
            self.context.say(template, ends(self.rows)) for template in (view.title, view.note)
        )
        note = " ".join(filter(None, (*notes, own)))
        height = max(height, 0.5 + 0.165 * len(handles)) + style.header(title, note, WIDTH)[-1]
        with style.picture(self.path, title, note, width=WIDTH, height=height) as body:
            count = len(titles)
            axes = list(body.subplots(-(-count // columns), columns, squeeze=False, **options).flat)
            for ax in axes[count:]:
                ax.remove()
            for ax, name in zip(axes, titles, strict=False):
                ax.set_title(name)
            yield axes[:count]
            if not handles:
                return
            series = getattr(view, "series", "")
            told = None if series in ("", "measure", "against", "half") else style.words(series)
            widest = max(style.text_width(handle.get_label(), 8) for handle in handles)
            if widest <= _WIDE_LABEL and not below:
                style.side_legend(axes[min(columns, count) - 1], told, handles=handles)
                return
            room = max(1, int((WIDTH - 0.4) / (widest + 0.55)))
            place = {"loc": "outside lower center", "ncols": min(room, len(handles))}
            body.legend(handles=handles, title=told, alignment="left", **place)


def at(rows: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """The rows with these values, or with none, in the columns."""
    for column, value in values.items():
        rows = rows[(rows[column] == value) | (rows[column] == "")]
    return rows


def value_axis(ax: Axes, panel: Panel, axis: str = "y") -> None:
    """Name an axis of values, and give it percent, zero and a range that suits them."""
    low, high = panel.extent
    linear = "log" not in (ax.get_xscale(), ax.get_yscale())
    if axis == "x":
        ax.xaxis.set_major_locator(MaxNLocator(5))
    if panel.unit == "step" and axis == "x":
        style.step_axis(ax)
        return
    if panel.signed and linear:
        style.zero_line(ax, axis)
    whole = panel.percent and linear and low >= 0 and _WHOLE < high <= 1
    if panel.percent:
        style.share_axis(ax, panel.label, axis, whole=whole)
    else:
        ax.set(**{f"{axis}label": panel.label})
    near = linear and high > 0 and 0 <= low <= _NEAR_ZERO * high
    if near and not panel.signed and not whole:
        ax.set(**{f"{axis}lim": (-0.02 * high, 1.06 * high)})


def align(axes: Sequence[Axes], panels: Sequence[Panel], axis: str = "y") -> None:
    """Give panels of like unit and range one axis of values."""
    for unit in {panel.unit for panel in panels}:
        same = [ax for ax, panel in zip(axes, panels, strict=True) if panel.unit == unit]
        lows, highs = np.transpose([getattr(ax, f"get_{axis}lim")() for ax in same])
        if (highs - lows).max() < _LIKE * (highs - lows).min():
            for ax in same:
                ax.set(**{f"{axis}lim": (lows.min(), highs.max())})


def columns_for(keys: Sequence[Sequence[Any]]) -> int:
    """How many panels of these keys stand in a line: the last of several tells columns apart."""
    count, last, others = len(keys), {key[-1:] for key in keys}, {key[:-1] for key in keys}
    if len(keys[0]) > 1 and count == len(last) * len(others) and 1 < len(last) < 4:
        return len(last)
    return 1 if count == 1 else 2 if count <= 6 else 3


def dots(looked: Iterable[Look], **options: Any) -> list[Any]:
    """A legend's entries of things that are dots."""
    options = {"markersize": 4.6, "linestyle": "", **options}
    return [
        Line2D([], [], color=look.colour, label=look.label, marker=look.marker, **options)
        for look in looked
    ]


def area(colour: Any, name: str) -> Patch:
    """A legend's entry of a control that is a range."""
    return Patch(color=colour, alpha=0.6, linewidth=0, label=style.words(name))


def lines_of(ax: Axes, count: int) -> None:
    """Make the vertical axis one of lines, from the top."""
    ax.set_ylim(count - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", visible=True)
    ax.tick_params(axis="y", length=0)


def in_colours(ticks: Sequence[Any], roles: Sequence[str]) -> None:
    """Write the names of chosen things in the colours of their roles."""
    for tick, role in zip(ticks, roles, strict=True):
        if role:
            tick.label1.set(color=looks.role_colour(role), fontweight="bold")


def notes(rows: pd.DataFrame, marks: str, bars: str, along: bool = False) -> list[str]:
    """What marks and their intervals are, of how many, and at which checkpoints.

    Args:
        bars: what intervals are drawn as; empty where they are not drawn.
        along: checkpoints stand along an axis.
    """
    in_time = (rows["unit"] == "step").all()
    averaged = rows[rows["count"] > 0]
    told = [f"{marks}: steps" if in_time else f"{marks}: means" if len(averaged) else ""]
    if bars and rows[["low", "high"]].notna().any(axis=None):
        told.append(f"{bars}: 95% intervals")
    told += [
        style.counts(part["count"], str(noun) or "observations")
        for noun, part in averaged.groupby("noun", sort=False)
    ]
    if rows["half"].nunique() == 1:
        told.append(_HALVES.get(rows["half"].iloc[0], ""))
    text = "; ".join(filter(None, told))
    text = text if text.startswith("n = ") else text[:1].upper() + text[1:]
    steps, first, when = rows["step"].nunique(), int(rows["step"].iloc[0]), ""
    if in_time or (rows["noun"] == "steps").all():
        pass
    elif along:
        when = f"{steps:,} checkpoints." if steps > 1 else f"One checkpoint, step {first:,}."
    elif steps == 1 and first > 0:
        when = f"At step {first:,}."
    return [text and f"{text}.", when]
