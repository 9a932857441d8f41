"""Curves: a line with its band for each series, controls as grey bands, events marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from circuit.estimates import FIXED
from circuit.reports import style
from circuit.reports.draw import frame, looks
from circuit.reports.draw.frame import Shown
from circuit.reports.draw.looks import Look

_DOTS = {"color": style.SOFT, "linestyle": ":", "linewidth": 1.2}
_BANDS = (style.FAINT, "#e2d5bd", "#cfe0d8")
_NAMED = 8  # vertical lines of a panel that have their names beside them


class _Control(NamedTuple):
    """A control's rows; a band of its colour, or a dotted line where it has none."""

    name: str
    rows: pd.DataFrame
    colour: str


def draw_curves(shown: Shown) -> None:
    """Draw a :class:`~circuit.reports.views.Curves`."""
    view = shown.view
    series, x = view.series, view.x
    shown.one_each(shown.rows, [*view.panels, series, x])
    places = _places(shown.rows, x)
    shown = replace(shown, rows=shown.rows.assign(at=shown.rows[x].map(places)))
    panels, looked = shown.panels(), shown.looked
    values = [set(panel.rows[series]) for panel in panels] if series else [set()]
    # Series that are numbers, and not the same in all panels, have a legend in each.
    numbers = all(looks.is_number(value) for one in values for value in one)
    apart = numbers and any(one != values[0] for one in values)
    marks = shown.select(view.marks) if view.marks else shown.rows[:0]
    controls = _controls(shown, places)
    handles = [] if apart else _handles(shown.rows, series, looked, controls)
    two_units = len({panel.unit for panel in panels}) > 1 and len(panels) == 2
    columns = 1 if two_units else frame.columns_for([p.values for p in panels])
    lines = -(-len(panels) // columns)
    # Beside the circuit, which is nearly square.
    alone = 4.7 if view.place == "first" else 3.0
    height = alone if lines == 1 else 0.4 + 2.2 * lines
    notes = _notes(shown, apart, controls, marks)
    titles = [panel.title for panel in panels]
    with shown.axes(titles, columns, height, notes, handles, sharex=True) as axes:
        for ax, panel in zip(axes, panels, strict=True):
            own = looks.looks(panel.rows, series) if apart else looked
            for control in controls:
                _band(ax, frame.at(control.rows, panel.keys), control.colour, shown.rows["at"])
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
        for ax, panel in zip(axes, panels, strict=True):
            keys = {key: value for key, value in panel.keys.items() if key != "measure"}
            _mark(ax, frame.at(marks, keys), series, looked)
        _inner_labels(axes, columns)


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
    ax.yaxis.set_major_formatter(
        FuncFormatter(lambda v, _: f"{scale * v:g}{sign}".replace("-", "−"))
    )


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
    """Controls in the order of the rows; one that has no width, in any panel, is a line."""
    every = shown.control.assign(at=shown.control[shown.view.x].map(places)).dropna(subset="at")
    every = every.assign(**{end: every[end].fillna(every["mean"]) for end in ("low", "high")})
    found, colours = list[_Control](), iter(_BANDS)
    for name, rows in every.groupby("against", sort=False):
        spread = rows.groupby([*shown.view.panels, "at"])
        wide = (spread["high"].max() > spread["low"].min()).any()
        found.append(_Control(str(name), rows, next(colours) if wide else ""))
    return found


def _band(ax: Axes, rows: pd.DataFrame, colour: str, places: pd.Series) -> None:
    """A control of all series of a panel; one known at one place holds for all."""
    if rows.empty:
        return
    low, high = rows.groupby("at")["low"].min(), rows.groupby("at")["high"].max()
    if len(low) == 1:
        everywhere = sorted(set(places) | set(low.index))
        low, high = (end.reindex(everywhere, fill_value=end.iloc[0]) for end in (low, high))
    if colour:
        band = {"alpha": 0.5, "linewidth": 0, "zorder": 1.2}
        ax.fill_between(low.index, low, high, color=colour, **band)
    else:
        ax.plot(low.index, low, zorder=1.4, **_DOTS)


def _named(marks: pd.DataFrame) -> pd.Series:
    """What every event is called: the keys that differ among them, or what is measured."""
    keys = [c for c in marks if c not in (*FIXED, "chosen") or c == "measure"]
    told = [c for c in keys if marks[c].nunique() > 1] or ["measure"]
    return marks[told].apply(lambda row: looks.joined(row, told), axis=1, result_type="reduce")


def _mark(ax: Axes, marks: pd.DataFrame, series: str, looked: Mapping[Any, Look]) -> None:
    """A vertical line for each event, named at the top; one of a series in its colour.

    Events of one step and colour share their line. What has an interval and no step is shaded.
    """
    own = {value: look.colour for value, look in looked.items()}
    colours = [own.get(mark.get(series), style.SOFT) for mark in marks.to_dict("records")]
    marks = marks.assign(named=_named(marks), at=marks["mean"].fillna(marks["low"]), colour=colours)
    marks = marks.dropna(subset="at").sort_values("at", kind="stable")
    together = marks.groupby(["at", "colour", marks["mean"].isna()], sort=False)
    middle = sum(ax.get_xlim()) / 2
    for i, ((at, colour, shaded), group) in enumerate(together):
        if not shaded:
            ax.axvline(at, color=colour, linewidth=1, linestyle=(0, (1, 1.5)), zorder=1.3)
        for low, high in group.loc[group["high"] > group["low"], ["low", "high"]].to_numpy():
            ax.axvspan(low, high, color=colour, alpha=0.1, linewidth=0, zorder=1)
        if len(together) <= _NAMED:
            side, aside = ("right", -4) if at > middle else ("left", 4)
            place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            told = {"ha": side, "va": "center", "fontsize": 7.5, "color": colour, **place}
            text = ", ".join(group["named"])
            when = f"steps {at:,.0f} to {group['high'].max():,.0f}" if shaded else f"step {at:,.0f}"
            ax.annotate(f"{text}: {when}", (at, 1), (aside, -8 - 10 * i), **told)


def _inner_labels(axes: Sequence[Axes], columns: int) -> None:
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
    for name, _, colour in controls:
        dotted = Line2D([], [], label=style.words(name), color=style.SOFT, linestyle=":")
        found.append(frame.area(colour, name) if colour else dotted)
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
    for name, held, colour in controls:
        counted, told = held[held["count"] > 0], style.words(name)
        if colour and view.series and held[view.series].nunique() > 1:
            told += f", over all {style.words(view.series)}s"
        if set(zip(counted["count"], counted["noun"], strict=True)) - known:
            told += f" ({style.counts(counted['count'], counted['noun'].iloc[0])})"
        found.append(f"{'Shaded' if colour else 'Dotted'}: {told}.")
    reached = marks["mean"].fillna(marks["low"]).notna()
    if marks["mean"].notna().any():
        found.append("Vertical lines: events in time.")
    if not reached.all():
        found.append(f"Not reached: {', '.join(_named(marks)[~reached])}.")
    return found
