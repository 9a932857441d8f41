"""Curves: a line with its band for each series, controls dotted or as grey bands, events marked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from circuit.reports import style
from circuit.reports.draw import frame, looks
from circuit.reports.draw.frame import Panel, Shown
from circuit.reports.draw.looks import Look
from circuit.reports.rows import select

_DOTTED = 4  # series of which each may have its dotted control
_DOTS: tuple[Any, ...] = (":", (0, (1, 3)), (0, (3, 2, 1, 2)))
_BANDS = (style.FAINT, "#e2d5bd", "#cfe0d8")
_NAMED = 5  # vertical lines of a panel that have their names beside them


def draw_curves(shown: Shown) -> None:
    """Draw a :class:`~circuit.reports.views.Curves`."""
    view, panels = shown.view, shown.panels()
    series, x = view.series, view.x
    shown.need([x, series])
    shown.one_each(shown.rows, [*view.panels, series, x])
    looked = looks.looks(shown.rows, series)
    apart = _own_looks(panels, series)
    grey = shown.rows[series].nunique() - len(looked) if series and not apart else 0
    places = _places(shown.rows, x)
    marks = select(shown.table, view.marks, shown.settings) if view.marks else None
    kinds = _kinds(shown, looked)
    handles = [] if apart else _handles(shown.rows, series, looked, kinds)
    units = {panel.unit for panel in panels}
    columns = 1 if len(panels) == 2 and len(units) > 1 else shown.columns(panels)
    lines = -(-len(panels) // columns)
    height = max(3.0 if lines == 1 else 0.4 + 2.2 * lines, frame.legend_height(handles))
    with shown.picture(_notes(shown, looked, grey, kinds, marks), height) as body:
        axes = frame.grid(body, len(panels), columns, sharex=True)
        for ax, panel in zip(axes, panels, strict=True):
            for name, (kind, turn) in kinds.items():
                _control(ax, panel, name, kind, turn, view, looked, places)
            own = looks.looks(panel.rows, series) if apart else looked
            _lines(ax, panel.rows, view, own, places)
            if view.log:
                ax.set_yscale("log")
            frame.value_axis(ax, panel)
            if view.log:
                style.log_axis(ax, panel.percent)
            ax.set_title(panel.title)
            _x_axis(ax, x, places, columns)
        frame.align(axes, panels)
        for ax, panel in zip(axes, panels, strict=True):
            if marks is not None:
                _mark(ax, _marks_of(marks, panel, view.panels), series, looked)
        frame.inner_labels(axes, columns)
        named = style.words(series) if series not in ("", "measure", "against", "half") else ""
        frame.legend(body, axes, columns, handles, named)
        for ax, panel in zip(axes, panels, strict=True) if apart else ():
            entries = _handles(panel.rows, series, looks.looks(panel.rows, series), {})
            style.side_legend(ax, handles=entries, fontsize=7.5, handlelength=1.2, labelspacing=0.3)


def _own_looks(panels: Sequence[Panel], series: str) -> bool:
    """Whether panels have a legend each: their series are numbers, and not the same."""
    values = [set(panel.rows[series]) for panel in panels] if series else []
    alike = all(one == values[0] for one in values)
    return not alike and all(looks.is_number(value) for one in values for value in one)


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
        short = [
            looks.spelled(value).replace("layer ", "L").replace(" post ", " ") for value in places
        ]
        ax.set_xticks(list(places.values()), short, rotation=30, ha="right", rotation_mode="anchor")


def _lines(
    ax: Axes,
    rows: pd.DataFrame,
    view: Any,
    looked: Mapping[Any, Look],
    places: Mapping[Any, float],
) -> None:
    """Every series over its band; those without a look grey and behind."""
    rows = rows.assign(at=rows[view.x].map(places))
    groups = dict(list(rows.groupby(view.series, sort=False))) if view.series else {"": rows}
    for value, part in groups.items():
        line = part.sort_values("at")
        if value not in looked:
            ax.plot(line["at"], line["mean"], zorder=1.5, **looks.GREY)
    for value, look in looked.items():
        if value not in groups:
            continue
        part = groups[value]
        thin = {"linewidth": 1.3, "linestyle": look.linestyle}
        if len(part) == 1:
            ax.vlines(part["at"], part["low"], part["high"], color=look.colour, linewidth=1.2)
        style.interval_line(ax, part, look.label, look.colour, x="at", **thin)


def _kinds(shown: Shown, looked: Mapping[Any, Look]) -> dict[str, tuple[str, int]]:
    """How controls are drawn: ``dotted`` in the colours of the series, a ``line`` or a ``band``.

    With each, how many controls before it are drawn in the same way.
    """
    series, found, seen = shown.view.series, {}, Counter[str]()
    for name, rows in shown.control.groupby("against", sort=False):
        by = [*shown.view.panels, shown.view.x]
        several = rows[[*by, "mean", "low", "high"]].drop_duplicates().duplicated(by).any()
        known = series and set(rows[series]) & set(looked) and len(looked) <= _DOTTED
        if several and known and _apart(rows, by):
            shown.one_each(rows, [*by, series])
            kind = "dotted"
        else:
            kind = "band" if several or (rows["low"] < rows["high"]).any() else "line"
        found[str(name)] = kind, seen[kind]
        seen[kind] += 1
    return found


def _apart(rows: pd.DataFrame, by: list[str]) -> bool:
    """Whether a control differs among the series by more than its own range, mostly."""
    middle = rows["mean"].fillna((rows["low"] + rows["high"]) / 2)
    spread = middle.groupby([rows[name] for name in by])
    width = (rows["high"] - rows["low"]).fillna(0.0).groupby([rows[name] for name in by])
    return bool(((spread.max() - spread.min()) > width.mean()).mean() > 0.5)


def _control(
    ax: Axes,
    panel: Panel,
    name: str,
    kind: str,
    turn: int,
    view: Any,
    looked: Mapping[Any, Look],
    places: Mapping[Any, float],
) -> None:
    rows = panel.control[panel.control["against"] == name]
    rows = rows.assign(at=rows[view.x].map(places)).dropna(subset="at")
    if rows.empty:
        return
    if kind == "dotted":
        for value, look in looked.items():
            line = rows[rows[view.series] == value].sort_values("at")
            height = line["mean"].fillna(line["high"])
            low, high = (line[end].fillna(height) for end in ("low", "high"))
            band = {"alpha": 0.09, "linewidth": 0, "zorder": 1.8}
            ax.fill_between(line["at"], low, high, color=look.colour, **band)
            dots = {"linestyle": _DOTS[turn % len(_DOTS)], "linewidth": 1.2, "zorder": 2.5}
            ax.plot(line["at"], height, color=look.colour, **dots)
        return
    low = rows["low"].fillna(rows["mean"]).groupby(rows["at"]).min()
    high = rows["high"].fillna(rows["mean"]).groupby(rows["at"]).max()
    colour = _BANDS[turn % len(_BANDS)]
    if len(low) == 1 and len(places) > 1:  # known once, and holds for all
        low = pd.Series(low.iloc[0], index=list(places.values()))
        high = pd.Series(high.iloc[0], index=low.index)
    if kind == "line":
        dots = {"linestyle": _DOTS[turn % len(_DOTS)], "linewidth": 1.2, "zorder": 1.4}
        ax.plot(low.index, low, color=style.SOFT, **dots)
    else:
        band = {"alpha": 0.5, "linewidth": 0, "zorder": 1.2}
        ax.fill_between(low.index, low, high, color=colour, **band)


def _marks_of(marks: pd.DataFrame, panel: Panel, columns: tuple[str, ...]) -> pd.DataFrame:
    values = dict(zip(columns, panel.values, strict=True))
    keys = {name: value for name, value in values.items() if name != "measure"}
    return frame.at(marks, keys)


def _mark(ax: Axes, marks: pd.DataFrame, series: str, looked: Mapping[Any, Look]) -> None:
    """A vertical line for each event, named at the top; one of a series in its colour."""
    told = [name for name in frame.keys_in(marks) if name != "step"] or ["measure"]
    marks = marks[marks["mean"].notna()].sort_values("mean")
    left, right = ax.get_xlim()
    for i, (_, mark) in enumerate(marks.iterrows()):
        own = looked.get(mark[series]) if series in marks else None
        colour = own.colour if own else style.SOFT
        ax.axvline(mark["mean"], color=colour, linewidth=1, linestyle=(0, (1, 1.5)), zorder=1.3)
        if mark["high"] > mark["low"]:
            span = {"alpha": 0.1, "linewidth": 0, "zorder": 1}
            ax.axvspan(mark["low"], mark["high"], color=colour, **span)
        if len(marks) > _NAMED:
            continue
        late = mark["mean"] > (left + right) / 2
        text = f"{looks.joined([mark[name] for name in told], told)}: step {mark['mean']:,.0f}"
        ax.annotate(
            text,
            (mark["mean"], 1),
            (-4 if late else 4, -8 - 10 * i),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if late else "left",
            va="center",
            fontsize=7.5,
            color=colour,
        )


def _handles(
    rows: pd.DataFrame,
    series: str,
    looked: Mapping[Any, Look],
    kinds: Mapping[str, tuple[str, int]],
) -> list[Any]:
    """Entries of the legend: series, the grey ones, controls."""
    found: list[Any] = []
    if series:
        found = [Line2D([], [], **look.line) for look in looked.values()]
        if rows[series].nunique() > len(looked):
            found.append(Line2D([], [], label="others", **looks.GREY))
    for name, (kind, turn) in kinds.items():
        if kind != "band":
            dots = {"linestyle": _DOTS[turn % len(_DOTS)], "color": style.SOFT}
            found.append(Line2D([], [], label=style.words(name), **dots))
        else:
            colour = _BANDS[turn % len(_BANDS)]
            found.append(Patch(color=colour, alpha=0.6, linewidth=0, label=style.words(name)))
    return found if len(found) > 1 or kinds else []


def _notes(
    shown: Shown,
    looked: Mapping[Any, Look],
    grey: int,
    kinds: Mapping[str, tuple[str, int]],
    marks: pd.DataFrame | None,
) -> list[str]:
    view, rows = shown.view, shown.rows
    along = view.x == "step"
    found = [frame.marks_note(rows, "Lines", "bands"), frame.steps_note(rows, along)]
    if grey > 0:
        others = f"{grey:,} other {style.words(view.series)}s" if grey > 1 else "one other"
        picked = bool(set(rows.get("chosen", [])) - {""}) or all(map(looks.is_number, looked))
        found.append(f"Grey: {others}{'' if picked else ', never as large as the coloured ones'}.")
    for name, (kind, _) in kinds.items():
        number = shown.control.loc[shown.control["against"] == name]
        drawn = number[number["count"] > 0]
        of = (
            f" ({style.counts(drawn['count'], drawn['noun'].iloc[0])})"
            if _differs(drawn, rows)
            else ""
        )
        if kind != "band":
            bare = number["mean"].isna().all()
            ranged = (
                ", with its 95% range" if kind == "dotted" and number["high"].notna().any() else ""
            )
            found.append(
                f"Dotted: {'upper end of ' if bare else ''}{style.words(name)}{ranged}{of}."
            )
        else:
            over = view.series and number[view.series].nunique() > 1
            all_of = f", over all {style.words(view.series)}s" if over else ""
            found.append(f"Shaded: {style.words(name)}{all_of}{of}.")
    if marks is not None:
        told = frame.keys_in(marks) or ["measure"]
        missing = [
            looks.joined([m[n] for n in told], told)
            for _, m in marks.iterrows()
            if m["mean"] != m["mean"]
        ]
        if marks["mean"].notna().any():
            found.append("Vertical lines: events in time.")
        if missing:
            found.append(f"Not reached: {', '.join(missing)}.")
    return found


def _differs(control: pd.DataFrame, rows: pd.DataFrame) -> bool:
    """Whether a control averages over other numbers than the estimates, which the note says."""
    if control.empty:
        return False
    return (
        set(zip(control["count"], control["noun"], strict=True))
        - set(zip(rows["count"], rows["noun"], strict=True))
        != set()
    )
