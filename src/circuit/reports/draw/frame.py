"""What all shapes share: rows by panel, axes with units, the note, the grid and the legend."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from circuit.errors import AnalysisError
from circuit.estimates import CONFIRMATION, SELECTION
from circuit.reports import style
from circuit.reports.draw import looks
from circuit.reports.draw.looks import Look, joined
from circuit.reports.quantities import UNSIGNED_UNITS
from circuit.reports.rows import control_rows, ends, fill, select

WIDTH = 8.0
_WHOLE = 0.5  # shares that reach so far are drawn on an axis from 0 to 100%
_LIKE = 4.0  # panels whose ranges differ by less than this factor share their axis
_NEAR_ZERO = 0.7  # numbers that are never negative and reach so low are drawn on an axis from 0
_WIDE_LABEL = 1.5  # inches; a legend with longer ones stands below the panels
_HALVES = {SELECTION: "those that choose", CONFIRMATION: "those that did not choose"}


@dataclass(frozen=True)
class Panel:
    """The rows of one panel.

    Args:
        title: its values in words; empty where there is only one panel.
        rows, control: estimates, and the controls beside them.
        told: the title says what is measured.
    """

    values: tuple[Any, ...]
    title: str
    rows: pd.DataFrame
    control: pd.DataFrame
    told: bool = False

    def __post_init__(self) -> None:
        units = list(dict.fromkeys(self.rows["unit"]))
        if len(units) > 1:
            raise AnalysisError(
                f"one panel has the units {', '.join(units)}",
                expected="one unit per panel",
                do="tell measures apart in where or panels",
            )

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
        measures, against = (list(dict.fromkeys(self.rows[c])) for c in ("measure", "against"))
        measure = style.words(str(measures[0])) if len(measures) == 1 else ""
        what = "" if self.told else measure
        if len(against) == 1 and against[0]:
            what = ", ".join(one for one in (what, style.words(against[0])) if one)
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
    """A view with what it is drawn from.

    Args:
        picked: the rows to draw, where they are not those that the view's conditions give.
    """

    view: Any
    table: pd.DataFrame
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    path: str | os.PathLike[str]
    picked: pd.DataFrame | None = None

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The estimates."""
        if self.picked is not None:
            return self.picked
        return select(self.table, self.view.where, self.settings)

    @cached_property
    def looked(self) -> dict[Any, Look]:
        """The looks of the series."""
        return looks.looks(self.rows, self.view.series)

    @cached_property
    def control(self) -> pd.DataFrame:
        """The controls beside them; no rows where the view names none."""
        if not self.view.control:
            return self.table.iloc[:0]
        return control_rows(self.table, self.view.where, self.view.control, self.settings)

    def tell(self, template: str) -> str:
        """A template filled in."""
        return fill(template, {**self.settings, "facts": self.facts, **ends(self.rows)})

    def panels(self) -> list[Panel]:
        """The rows of every panel, in the order of the rows."""
        columns = list(self.view.panels)
        if not columns:
            return [Panel((), "", self.rows, self.control)]
        found = []
        for key, rows in self.rows.groupby(columns, sort=False, dropna=False):
            control = at(self.control, dict(zip(columns, key, strict=True)))
            found.append(Panel(key, joined(key, columns), rows, control, "measure" in columns))
        place = [{v: i for i, v in enumerate(dict.fromkeys(self.rows[c]))} for c in columns]
        return sorted(found, key=lambda p: [of[v] for of, v in zip(place, p.values, strict=True)])

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
        numbers = {"mean", "low", "high", "count"}
        differ = [c for c in some if c not in numbers and some[c].nunique(dropna=False) > 1]
        told = f"tell apart {', '.join(differ)} in the view"
        raise AnalysisError(
            f"{len(some)} rows would be drawn in one place",
            expected=f"one row for each {', '.join(by) or 'figure'}",
            do=told if differ else "write every row of the table once",
        )

    @contextmanager
    def picture(self, notes: Sequence[str], height: float, entries: int) -> Iterator[SubFigure]:
        """The figure's empty body, under title and note.

        Args:
            notes: sentences; the view's own is put behind them.
            height: of the body in inches; it is larger where the legend needs it.
            entries: of the legend.
        """
        title = self.tell(self.view.title)
        note = " ".join(one for one in (*notes, self.tell(self.view.note)) if one)
        height = max(height, 0.5 + 0.165 * entries) + style.header_height(title, note, WIDTH)
        with style.picture(self.path, title, note, width=WIDTH, height=height) as body:
            yield body


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
    for unit in dict.fromkeys(panel.unit for panel in panels):
        same = [ax for ax, panel in zip(axes, panels, strict=True) if panel.unit == unit]
        ends = np.array([getattr(ax, f"get_{axis}lim")() for ax in same])
        sizes = ends[:, 1] - ends[:, 0]
        if sizes.max() < _LIKE * sizes.min():
            for ax in same:
                ax.set(**{f"{axis}lim": (ends[:, 0].min(), ends[:, 1].max())})


def columns_for(keys: Sequence[tuple[Any, ...]]) -> int:
    """How many panels stand in a line: the last of several keys tells columns apart.

    Args:
        keys: the values that tell panels apart, for each.
    """
    count, last, others = len(keys), {key[-1:] for key in keys}, {key[:-1] for key in keys}
    if len(keys[0]) > 1 and count == len(last) * len(others) and 1 < len(last) < 4:
        return len(last)
    return 1 if count == 1 else 2 if count <= 6 else 3


def grid(body: SubFigure, titles: Sequence[str], columns: int, **options: Any) -> list[Axes]:
    """Axes of a grid under their titles, line by line; those left over are taken away."""
    count = len(titles)
    axes = list(body.subplots(-(-count // columns), columns, squeeze=False, **options).flat)
    for ax in axes[count:]:
        ax.remove()
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title)
    return axes[:count]


def inner_labels(axes: Sequence[Axes], columns: int) -> None:
    """Leave labels where the axis is not that of the left or lower neighbour."""
    for i, ax in reversed(list(enumerate(axes))):
        left = axes[i - 1]
        if i % columns and left.get_ylabel() == ax.get_ylabel():
            ax.tick_params(labelleft=left.get_ylim() != ax.get_ylim())
            ax.set_ylabel("")
        lowest = i + columns >= len(axes)
        ax.tick_params(labelbottom=lowest)
        if not lowest:
            ax.set_xlabel("")


def legend(
    body: SubFigure,
    axes: Sequence[Axes],
    columns: int,
    handles: Sequence[Any],
    series: str = "",
    below: bool = False,
) -> None:
    """The figure's legend: right of the upper right panel, or below where its names are long."""
    if not handles:
        return
    title = None if series in ("", "measure", "against", "half") else style.words(series)
    widest = max(style.text_width(str(handle.get_label()), 8) for handle in handles)
    if widest <= _WIDE_LABEL and not below:
        style.side_legend(axes[min(columns, len(axes)) - 1], title, handles=list(handles))
        return
    room = max(1, int((WIDTH - 0.4) / (widest + 0.55)))
    options = {"loc": "outside lower center", "ncols": min(room, len(handles))}
    body.legend(handles=list(handles), title=title, alignment="left", **options)


def dot(colour: Any, label: str, marker: str = "o", **options: Any) -> Line2D:
    """A legend's entry of dots."""
    options = {"markersize": 4.6, "linestyle": "", **options}
    return Line2D([], [], color=colour, label=label, marker=marker, **options)


def dots(looked: Iterable[Look]) -> list[Any]:
    """A legend's entries of series that are dots."""
    return [dot(look.colour, look.label, look.marker) for look in looked]


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
    return [_marks_note(rows, marks, bars), _steps_note(rows, along)]


def _marks_note(rows: pd.DataFrame, marks: str, bars: str) -> str:
    in_time = (rows["unit"] == "step").all()
    averaged = rows[rows["count"] > 0]
    told = [f"{marks}: steps" if in_time else f"{marks}: means" if len(averaged) else ""]
    if bars and rows[["low", "high"]].notna().any(axis=None):
        told.append(f"{bars}: 95% intervals")
    told += [
        style.counts(part["count"], str(noun) or "observations")
        for noun, part in averaged.groupby("noun", sort=False)
    ]
    half = set(rows["half"])
    told.append(_HALVES.get(half.pop(), "") if len(half) == 1 else "")
    text = "; ".join(part for part in told if part)
    if not text:
        return ""
    return f"{text if text.startswith('n = ') else text[0].upper() + text[1:]}."


def _steps_note(rows: pd.DataFrame, along: bool) -> str:
    steps, first = rows["step"].nunique(), int(rows["step"].iloc[0])
    if (rows["unit"] == "step").all() or (rows["noun"] == "steps").all():
        return ""
    if along:
        return f"{steps:,} checkpoints." if steps > 1 else f"One checkpoint, step {first:,}."
    return f"At step {first:,}." if steps == 1 and first > 0 else ""
