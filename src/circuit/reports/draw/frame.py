"""What all shapes share: rows by panel, axes with units, the note, the grid and the legend."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator

from circuit.errors import AnalysisError
from circuit.estimates import CONFIRMATION, FIXED, SELECTION
from circuit.reports.draw.looks import joined
from circuit.reports.quantities import UNSIGNED_UNITS
from circuit.reports.rows import control_rows, select, tell
from circuit.reports.style import (
    counts,
    header_height,
    picture,
    share_axis,
    side_legend,
    step_axis,
    text_width,
    words,
    zero_line,
)

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
        measure = words(str(measures[0])) if len(measures) == 1 else ""
        what = "" if self.told else measure
        if len(against) == 1 and against[0]:
            what = ", ".join(one for one in (what, words(against[0])) if one)
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
    def control(self) -> pd.DataFrame:
        """The controls beside them; no rows where the view names none."""
        if not self.view.control:
            return self.table.iloc[:0]
        return control_rows(self.table, self.view.where, self.view.control, self.settings)

    def tell(self, template: str) -> str:
        """A template filled in."""
        return tell(template, self.settings, self.facts, self.rows)

    def panels(self) -> list[Panel]:
        """The rows of every panel, in the order of the rows."""
        columns = list(self.view.panels)
        self.need(columns)
        if not columns:
            return [Panel((), "", self.rows, self.control)]
        found = []
        for values, rows in self.rows.groupby(columns, sort=False, dropna=False):
            title = joined(values, columns)
            control = at(self.control, dict(zip(columns, values, strict=True)))
            found.append(Panel(values, title, rows, control, "measure" in columns))
        place = [{v: i for i, v in enumerate(dict.fromkeys(self.rows[c]))} for c in columns]
        return sorted(found, key=lambda p: [of[v] for of, v in zip(place, p.values, strict=True)])

    def columns(self, panels: Sequence[Panel]) -> int:
        """How many panels stand in a line: the last of several keys tells columns apart."""
        count, last = len(panels), {panel.values[-1:] for panel in panels}
        whole = len(self.view.panels) > 1 and count == len(last) * len(
            {panel.values[:-1] for panel in panels}
        )
        return len(last) if whole and 1 < len(last) < 4 else columns_for(count)

    def need(self, columns: Sequence[str]) -> None:
        """Refuse key columns that the rows lack."""
        for column in columns:
            if column and column not in self.rows:
                raise AnalysisError(
                    f"rows have no column {column!r}",
                    expected=f"one of {', '.join(self.rows.columns)}",
                    do="name a column of the table",
                )

    def one_each(self, rows: pd.DataFrame, by: Sequence[str]) -> None:
        """Refuse rows of which several would be drawn in one place.

        Raises:
            AnalysisError: names the columns that differ among them.
        """
        by = [column for column in dict.fromkeys(by) if column]
        double = rows[rows.duplicated(by, keep=False)] if by else rows.iloc[: len(rows) * 2]
        if len(double) < 2 or (by and double.empty):
            return
        same = double.groupby(by, sort=False, dropna=False) if by else [((), double)]
        _, some = next(iter(same))
        numbers = {"mean", "low", "high", "count"}
        differ = [c for c in some if c not in numbers and some[c].nunique(dropna=False) > 1]
        raise AnalysisError(
            f"{len(some)} rows would be drawn in one place",
            expected=f"one row for each {', '.join(by) or 'figure'}",
            do=f"tell apart {', '.join(differ)} in the view"
            if differ
            else "write every row of the table once",
        )

    @contextmanager
    def picture(self, notes: Sequence[str], height: float) -> Iterator[SubFigure]:
        """The figure's empty body, under title and note.

        Args:
            notes: sentences; the view's own is put behind them.
            height: of the body in inches.
        """
        title = self.tell(self.view.title)
        note = " ".join(one for one in (*notes, self.tell(self.view.note)) if one)
        height = height + header_height(title, note, WIDTH)
        with picture(self.path, title, note, width=WIDTH, height=height) as body:
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
    limits = ax.set_ylim if axis == "y" else ax.set_xlim
    if axis == "x":
        ax.xaxis.set_major_locator(MaxNLocator(5))
    if panel.unit == "step" and axis == "x":
        step_axis(ax)
        return
    if panel.signed and linear:
        zero_line(ax, axis)
    if panel.percent:
        whole = linear and low >= 0 and _WHOLE < high <= 1
        share_axis(ax, panel.label, axis, whole=whole)
        if whole:
            return
    else:
        (ax.set_ylabel if axis == "y" else ax.set_xlabel)(panel.label)
    if linear and high > 0 and 0 <= low <= _NEAR_ZERO * high and not panel.signed:
        limits(-0.02 * high, 1.06 * high)


def align(axes: Sequence[Axes], panels: Sequence[Panel], axis: str = "y") -> None:
    """Give panels of like unit and range one axis of values."""
    for unit in dict.fromkeys(panel.unit for panel in panels):
        same = [ax for ax, panel in zip(axes, panels, strict=True) if panel.unit == unit]
        ends = np.array([ax.get_ylim() if axis == "y" else ax.get_xlim() for ax in same])
        sizes = ends[:, 1] - ends[:, 0]
        if sizes.max() < _LIKE * sizes.min():
            for ax in same:
                (ax.set_ylim if axis == "y" else ax.set_xlim)(ends[:, 0].min(), ends[:, 1].max())


def columns_for(count: int) -> int:
    """How many panels stand in a line."""
    return 1 if count == 1 else 2 if count <= 6 else 3


def grid(body: SubFigure, count: int, columns: int, **options: Any) -> list[Axes]:
    """Axes of a grid, line by line; those left over are taken away."""
    axes = list(body.subplots(-(-count // columns), columns, squeeze=False, **options).flat)
    for ax in axes[count:]:
        ax.remove()
    return axes[:count]


def inner_labels(axes: Sequence[Axes], columns: int, bottom: bool = True) -> None:
    """Leave labels where the axis is not that of the left or lower neighbour.

    Args:
        bottom: horizontal axes are shared, and only the lowest of a column has labels.
    """
    for i, ax in enumerate(axes):
        left = axes[i - 1] if i % columns else None
        if left is not None and (left.get_ylim(), left.get_ylabel()) == (
            ax.get_ylim(),
            ax.get_ylabel(),
        ):
            ax.tick_params(labelleft=False)
    for i, ax in reversed(list(enumerate(axes))):
        left = axes[i - 1] if i % columns else None
        if left is not None and left.get_ylabel() == ax.get_ylabel():
            ax.set_ylabel("")
        if bottom:
            lowest = i + columns >= len(axes)
            ax.tick_params(labelbottom=lowest)
            if not lowest:
                ax.set_xlabel("")


def legend(
    body: SubFigure,
    axes: Sequence[Axes],
    columns: int,
    handles: Sequence[Any],
    title: str = "",
    below: bool = False,
) -> None:
    """The figure's legend: right of the upper right panel, or below where its names are long."""
    if not handles:
        return
    widest = max(text_width(str(handle.get_label()), 8) for handle in handles)
    if widest <= _WIDE_LABEL and not below:
        side_legend(axes[min(columns, len(axes)) - 1], title or None, handles=list(handles))
        return
    room = max(1, int((WIDTH - 0.4) / (widest + 0.55)))
    options = {"loc": "outside lower center", "ncols": min(room, len(handles))}
    body.legend(handles=list(handles), title=title or None, alignment="left", **options)


def legend_height(handles: Sequence[Any]) -> float:
    """How many inches a legend with so many entries needs."""
    return 0.5 + 0.165 * len(handles)


def marks_note(rows: pd.DataFrame, marks: str, bars: str) -> str:
    """What marks and their intervals are, and of how many: ``Lines: means; bands: …``.

    Args:
        bars: what intervals are drawn as; empty where they are not drawn.
    """
    in_time = (rows["unit"] == "step").all()
    averaged = rows[rows["count"] > 0]
    told = [f"{marks}: steps" if in_time else f"{marks}: means" if len(averaged) else ""]
    if bars and rows[["low", "high"]].notna().any(axis=None):
        told.append(f"{bars}: 95% intervals")
    told += [
        counts(part["count"], str(noun) or "observations")
        for noun, part in averaged.groupby("noun", sort=False)
    ]
    half = set(rows["half"])
    if len(half) == 1:
        told.append(_HALVES.get(half.pop(), ""))
    return sentence(told)


def sentence(parts: Sequence[str]) -> str:
    """The parts that there are as one sentence; a number is not made a capital."""
    text = "; ".join(part for part in parts if part)
    if not text:
        return ""
    return f"{text if text.startswith('n = ') else text[0].upper() + text[1:]}."


def steps_note(rows: pd.DataFrame, along: bool) -> str:
    """How many checkpoints there are along an axis, or which one it is that is shown."""
    steps = rows["step"].nunique()
    if (rows["unit"] == "step").all() or (rows["noun"] == "steps").all():
        return ""
    if along:
        return f"{steps:,} checkpoints." if steps > 1 else f"One checkpoint, step {_only(rows)}."
    return f"At step {_only(rows)}." if steps == 1 and rows["step"].iloc[0] > 0 else ""


def _only(rows: pd.DataFrame) -> str:
    return f"{int(rows['step'].iloc[0]):,}"


def keys_in(rows: pd.DataFrame) -> list[str]:
    """Key columns, and the measure, that differ among the rows."""
    keys = [c for c in rows if c not in FIXED or c == "measure"]
    return [c for c in keys if c != "chosen" and rows[c].nunique() > 1]
