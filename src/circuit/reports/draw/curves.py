"""Curves: a line with its band for each series, controls dotted or as grey bands, events marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from circuit.estimates import FIXED
from circuit.reports import style
from circuit.reports.draw import frame, looks
from circuit.reports.draw.frame import Shown
from circuit.reports.draw.looks import Look
from circuit.reports.rows import select

_DOTTED = 4  # series of which each may have its dotted control
_DOTS = {"linestyle": ":", "linewidth": 1.2}
_BANDS = (style.FAINT, "#e2d5bd", "#cfe0d8")
_NAMED = 5  # vertical lines of a panel that have their names beside them


@dataclass(frozen=True)
class _Control:
    """A control's rows, and whether it is ``dotted`` in the series' colours, a line or a band."""

    name: str
    rows: pd.DataFrame
    kind: str
    colour: str


def draw_curves(shown: Shown) -> None:
    """Draw a :class:`~circuit.reports.views.Curves`."""
    view = shown.view
    series, x = view.series, view.x
    shown.one_each(shown.rows, [*view.panels, series, x])
    places = _places(shown.rows, x)
    shown = replace(shown, picked=shown.rows.assign(at=shown.rows[x].map(places)))
    panels, looked = shown.panels(), shown.looked
    values = [set(panel.rows[series]) for panel in panels] if series else [set()]
    # Series that are numbers, and not the same in all panels, have a legend in each.
    numbers = all(looks.is_number(value) for one in values for value in one)
    apart = numbers and any(one != values[0] for one in values)
    marks = select(shown.table, view.marks, shown.settings) if view.marks else shown.rows[:0]
    controls = _controls(shown, places)
    handles = [] if apart else _handles(shown.rows, series, looked, controls)
    two_units = len({panel.unit for panel in panels}) > 1 and len(panels) == 2
    columns = 1 if two_units else frame.columns_for([panel.values for panel in panels])
    lines = -(-len(panels) // columns)
    height = 3.0 if lines == 1 else 0.4 + 2.2 * lines
    with shown.picture(_notes(shown, apart, controls, marks), height, len(handles)) as body:
        axes = frame.grid(body, [panel.title for panel in panels], columns, sharex=True)
        keys = [dict(zip(view.panels, panel.values, strict=True)) for panel in panels]
        for ax, panel, key in zip(axes, panels, keys, strict=True):
            own = looks.looks(panel.rows, series) if apart else looked
            for control in controls:
                _control(ax, frame.at(control.rows, key), control, shown)
            _lines(ax, panel.rows, series, own)
            if view.log:
                ax.set_yscale("log")
            frame.value_axis(ax, panel)
            if view.log:
                _log_axis(ax, panel.percent)
            _x_axis(ax, x, places, columns)
            if apart:
                fewer: dict[str, Any] = {"fontsize": 7.5, "handlelength": 1.2, "labelspacing": 0.3}
                style.side_legend(ax, handles=_handles(panel.rows, series, own, []), **fewer)
        frame.align(axes, panels)
        for ax, key in zip(axes, keys, strict=True):
            key.pop("measure", None)
            _mark(ax, frame.at(marks, key), series, looked)
        frame.inner_labels(axes, columns)
        frame.legend(body, axes, columns, handles, series)


def _places(rows: pd.DataFrame, x: str) -> dict[Any, float]:
    """Where each value stands along the axis: numbers at themselves, words in their order."""
    values = list(dict.fromkeys(rows[x]))
    if all(map(looks.is_number, values)):
        return {value: float(value) for value in sorted(values, key=float)}
    return {value: float(i) for i, value in enumerate(values)}


def _x_axis(ax: Axes, x: str, places: Mapping[Any, float], columns: int) -> None:
    if x == "step":
        style.step_axis(ax, ticks=7 if columns == 1 else 5 if columns == 2 else 3)
        return
    ax.set_xlabel(style.words(x))
    if all(map(looks.is_number, places)):
        whole = all(place.is_integer() for place in places.values())
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=whole))
    else:
        short = [looks.spelled(v).replace("layer ", "L").replace(" post ", " ") for v in places]
        ax.set_xticks(list(places.values()), short, rotation=30, ha="right", rotation_mode="anchor")


def _log_axis(ax: Axes, percent: bool) -> None:
    """Labels of a logarithmic axis that say their number plainly."""
    low, high = ax.get_ylim()
    few = high / low < 150
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=8))
    ax.yaxis.set_minor_locator(NullLocator())
    scale, sign = (100, "%") if percent else (1, "")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{_power(scale * v)}{sign}"))


def _power(value: float) -> str:
    if value <= 0 or 1e-3 <= value < 1e4:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.0e}".partition("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if mantissa == "1" else f"{mantissa}·10{raised}"


def _lines(ax: Axes, rows: pd.DataFrame, series: str, looked: Mapping[Any, Look]) -> None:
    """Every series over its band; those without a look grey and behind."""
    groups = rows.groupby(series, sort=False) if series else [("", rows)]
    lines = {value: part.sort_values("at") for value, part in groups}
    for value in [value for value in lines if value not in looked]:
        ax.plot(lines[value]["at"], lines[value]["mean"], zorder=1.5, **looks.GREY)
    for value in [value for value in looked if value in lines]:
        look, line = looked[value], lines[value]
        if len(line) == 1:
            ax.vlines(line["at"], line["low"], line["high"], color=look.colour, linewidth=1.2)
        options = {"linewidth": 1.3, "linestyle": look.linestyle, "markersize": 2.6, "zorder": 3}
        marker = "o" if len(line) <= 24 else None
        ax.plot(line["at"], line["mean"], color=look.colour, marker=marker, **options)
        low, high = (line[end].fillna(line["mean"]) for end in ("low", "high"))
        band = {"alpha": 0.18, "linewidth": 0, "zorder": 2}
        ax.fill_between(line["at"], low, high, color=look.colour, **band)


def _controls(shown: Shown, places: Mapping[Any, float]) -> list[_Control]:
    """Controls in the order of the rows; the first that tells few series apart is dotted."""
    series, looked, found = shown.view.series, shown.looked, list[_Control]()
    by = [*shown.view.panels, shown.view.x]
    every = shown.control.assign(at=shown.control[shown.view.x].map(places))
    for name, rows in every.groupby("against", sort=False):
        several = rows[[*by, "mean", "low", "high"]].drop_duplicates().duplicated(by).any()
        known = series and set(rows[series]) & set(looked) and len(looked) <= _DOTTED
        kind = "band" if several or (rows["low"] < rows["high"]).any() else "line"
        if several and known and _apart(rows, by) and all(c.kind != "dotted" for c in found):
            shown.one_each(rows, [*by, series])
            kind = "dotted"
        turn = sum(control.kind == "band" for control in found)
        rows_at = rows.dropna(subset="at").sort_values("at")
        found.append(_Control(str(name), rows_at, kind, _BANDS[turn % len(_BANDS)]))
    return found


def _apart(rows: pd.DataFrame, by: list[str]) -> bool:
    """Whether a control differs among the series by more than its own range, mostly."""
    middle = rows["mean"].fillna((rows["low"] + rows["high"]) / 2)
    told = rows.assign(middle=middle, width=(rows["high"] - rows["low"]).fillna(0.0)).groupby(by)
    spread = told["middle"].max() - told["middle"].min()
    return bool((spread > told["width"].mean()).mean() > 0.5)


def _control(ax: Axes, rows: pd.DataFrame, control: _Control, shown: Shown) -> None:
    series, everywhere = shown.view.series, sorted(set(shown.rows["at"]))
    for value, look in shown.looked.items() if control.kind == "dotted" else ():
        line = rows[rows[series] == value]
        height = line["mean"].fillna(line["high"])
        low, high = (line[end].fillna(height) for end in ("low", "high"))
        band = {"alpha": 0.09, "linewidth": 0, "zorder": 1.8}
        ax.fill_between(line["at"], low, high, color=look.colour, **band)
        ax.plot(line["at"], height, color=look.colour, zorder=2.5, **_DOTS)
    if rows.empty or control.kind == "dotted":
        return
    low = rows["low"].fillna(rows["mean"]).groupby(rows["at"]).min()
    high = rows["high"].fillna(rows["mean"]).groupby(rows["at"]).max()
    if len(low) == 1 and len(everywhere) > 1:  # known once, and holds for all
        low = pd.Series(low.iloc[0], index=everywhere)
        high = pd.Series(high.iloc[0], index=low.index)
    if control.kind == "line":
        ax.plot(low.index, low, color=style.SOFT, zorder=1.4, **_DOTS)
    else:
        band = {"alpha": 0.5, "linewidth": 0, "zorder": 1.2}
        ax.fill_between(low.index, low, high, color=control.colour, **band)


def _named(marks: pd.DataFrame) -> list[str]:
    """What every event is called: the keys that differ among them, or what is measured."""
    keys = [c for c in marks if c not in FIXED or c == "measure"]
    told = [c for c in keys if c not in ("chosen", "step") and marks[c].nunique() > 1]
    told = told or ["measure"]
    return [looks.joined(values, told) for values in marks[told].itertuples(index=False)]


def _mark(ax: Axes, marks: pd.DataFrame, series: str, looked: Mapping[Any, Look]) -> None:
    """A vertical line for each event, named at the top; one of a series in its colour."""
    marks = marks.assign(named=_named(marks)).dropna(subset="mean").sort_values("mean")
    middle = sum(ax.get_xlim()) / 2
    for i, (_, mark) in enumerate(marks.iterrows()):
        own = looked.get(mark[series]) if series in marks else None
        colour = own.colour if own else style.SOFT
        ax.axvline(mark["mean"], color=colour, linewidth=1, linestyle=(0, (1, 1.5)), zorder=1.3)
        if mark["high"] > mark["low"]:
            span = {"alpha": 0.1, "linewidth": 0, "zorder": 1}
            ax.axvspan(mark["low"], mark["high"], color=colour, **span)
        if len(marks) <= _NAMED:
            side, aside = ("right", -4) if mark["mean"] > middle else ("left", 4)
            text = f"{mark['named']}: step {mark['mean']:,.0f}"
            place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            told = {"ha": side, "va": "center", "fontsize": 7.5, "color": colour, **place}
            ax.annotate(text, (mark["mean"], 1), (aside, -8 - 10 * i), **told)


def _handles(
    rows: pd.DataFrame, series: str, looked: Mapping[Any, Look], controls: list[_Control]
) -> list[Any]:
    """Entries of the legend: series, the grey ones, controls."""
    found: list[Any] = []
    for look in looked.values() if series else ():
        line = {"color": look.colour, "linestyle": look.linestyle, "label": look.label}
        found.append(Line2D([], [], **line))
    if series and rows[series].nunique() > len(looked):
        found.append(Line2D([], [], label="others", **looks.GREY))
    for control in controls:
        dotted = Line2D([], [], label=style.words(control.name), color=style.SOFT, linestyle=":")
        shaded = frame.area(control.colour, control.name)
        found.append(shaded if control.kind == "band" else dotted)
    return found if len(found) > 1 or controls else []


def _notes(shown: Shown, apart: bool, controls: list[_Control], marks: pd.DataFrame) -> list[str]:
    view, rows, looked = shown.view, shown.rows, shown.looked
    grey = rows[view.series].nunique() - len(looked) if view.series and not apart else 0
    found = frame.notes(rows, "Lines", "bands", along=view.x == "step")
    if grey > 0:
        others = f"{grey:,} other {style.words(view.series)}s" if grey > 1 else "one other"
        picked = bool(set(rows.get("chosen", [])) - {""}) or all(map(looks.is_number, looked))
        found.append(f"Grey: {others}{'' if picked else ', never as large as the coloured ones'}.")
    known = set(zip(rows["count"], rows["noun"], strict=True))
    for control in controls:
        drawn = control.rows[control.rows["count"] > 0]
        told = style.words(control.name)
        if control.kind == "band" and view.series and control.rows[view.series].nunique() > 1:
            told += f", over all {style.words(view.series)}s"
        elif control.kind == "dotted" and control.rows["high"].notna().any():
            bare = control.rows["mean"].isna().all()
            told = f"upper end of {told}" if bare else f"{told}, with its 95% range"
        if set(zip(drawn["count"], drawn["noun"], strict=True)) - known:
            told += f" ({style.counts(drawn['count'], drawn['noun'].iloc[0])})"
        found.append(f"{'Shaded' if control.kind == 'band' else 'Dotted'}: {told}.")
    if marks["mean"].notna().any():
        found.append("Vertical lines: events in time.")
    missing = [
        name for name, mean in zip(_named(marks), marks["mean"], strict=True) if mean != mean
    ]
    if missing:
        found.append(f"Not reached: {', '.join(missing)}.")
    return found
