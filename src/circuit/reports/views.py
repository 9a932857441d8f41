"""Figures as data: which rows, what along the axes, what tells series apart, which control.

A view names rows of a table of estimates (:mod:`circuit.estimates`) and one of five shapes. Title,
note (intervals, counts, controls), units, colours, legends and the figure's height follow from the
rows; :mod:`circuit.reports.draw.shapes` draws them. An option that only one figure would use does
not belong here: such a figure is a :class:`Drawn`, by hand, under ``circuit.reports.bespoke``.

Titles, captions and notes may name settings of the analysis in braces (``{rank}``), what its
measuring says of itself (``{facts[reference]}``), and ``{first}`` and ``{last}``, the steps of the
rows shown.

No pandas, no matplotlib: the workflow reads from these which files there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Literal

Where = Mapping[str, Any]
"""Which rows: column → the value wanted, a tuple of values, or :class:`Not` of such.

The text ``$name`` stands for the setting ``name``, ``$name[0]`` for the first of its values.
``step`` may be ``first`` or ``last`` (of the rows that the other conditions leave). A column that
the rows lack is an error, and so are conditions that no row meets. Where ``half`` or ``against`` is
not named, ``half`` is ``all`` and ``against`` empty. A tuple also says in which order panels,
series and lines follow each other.
"""


@dataclass(frozen=True)
class Not:
    """Every value but these."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)


@dataclass(frozen=True)
class View:
    """What all shapes have.

    Args:
        name: of the figure's file.
        title: what is shown, in a few words.
        caption: what to see in it, in a sentence; by default the title.
        table: the table that the rows come from.
        where: which of its rows.
        panels: key columns; each combination of their values has a panel of its own.
        control: values of ``against`` that are drawn beside the estimates.
        note: what the note under the title cannot know from the rows.
        place: on the study's page: its ``first`` screen or the ``strip`` below that; else the
            first figure of a section leads it, and others stand with their report.
    """

    suffix: ClassVar[str] = ".svg"
    name: str
    title: str
    _: KW_ONLY
    caption: str = ""
    table: str = "rows"
    where: Where = field(default_factory=dict)
    panels: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    note: str = ""
    place: Literal["", "first", "strip"] = ""

    @property
    def file(self) -> str:
        """The figure's file name."""
        return f"{self.name}{self.suffix}"


@dataclass(frozen=True, kw_only=True)
class Curves(View):
    """Estimates along an axis, a line with its band for each series.

    Args:
        x: the column along the axis.
        series: the column that tells lines apart (colours follow from its values); with
            ``chosen`` among the keys, lines of chosen heads are coloured, all others grey.
        marks: rows with unit ``step``, drawn as vertical lines with their name.
        log: a logarithmic axis.

    A control is a band over all series of a panel, a dotted line where it has no width. One that
    is known at one place of ``x`` only, such as chance, holds for all.
    """

    x: str = "step"
    series: str = ""
    marks: Where | None = None
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Dots(View):
    """Estimates with their intervals, one line of the figure for each value of ``y``.

    Args:
        y: key columns; each combination of their values is a line.
        series: the column that tells dots of one line apart, by colour.
        order: lines as in the rows, or by size.
        top: at most so many lines, the largest.

    Controls are hollow dots on the same line. Rows with unit ``step`` make a time line.
    """

    y: tuple[str, ...]
    series: str = ""
    order: Literal["rows", "size"] = "rows"
    top: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cells(View):
    """Estimates as coloured cells, with numbers where they fit; the control's in brackets.

    Args:
        x, y: key columns of columns and lines (``step`` too).
    """

    x: str
    y: str


@dataclass(frozen=True, kw_only=True)
class Stack(View):
    """Parts of a whole, stacked by sign: areas along ``x``, or a bar for each value of ``y``.

    Rows hold what each interval contributed. Areas are their cumulative sums: a row's ``x`` is
    where its interval begins; it ends at the key ``stop`` where rows have it, else where the next
    one begins (the last is taken to be as long as the one before). Bars are sums over intervals.
    The part ``residual`` of areas is a dashed line, not stacked.

    Args:
        parts: the column that tells parts apart.
        x: the column along the axis, for areas.
        y: key columns that tell bars apart, for bars.
        total: conditions beyond ``where`` of the rows that are the whole, drawn as a black line or
            dot, to which the parts must sum; without them bars have the sum of their parts.
        top: at most so many bars, the largest; all others are summed in one more.
    """

    parts: str
    x: str = ""
    y: tuple[str, ...] = ()
    total: Where | None = None
    top: int | None = None


@dataclass(frozen=True, kw_only=True)
class Scatter(View):
    """Two estimates of the same things against each other, with both intervals.

    Args:
        x, y: conditions beyond ``where`` that give either estimate.
        each: key columns that say which rows are of the same thing; their values label the points.
        series: the column that colours points.
    """

    x: Where
    y: Where
    each: tuple[str, ...]
    series: str = ""


@dataclass(frozen=True, kw_only=True)
class Drawn(View):
    """A figure or page drawn by hand.

    Args:
        draw: called with the analysis' tables, settings, facts and input files
            (:class:`circuit.reports.saying.Context`) and the path to write; it imports what it
            needs when it is called.
        suffix_: of the file.
    """

    draw: Callable[[Any, str], None]
    suffix_: str = ".svg"

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.name}{self.suffix_}"


@dataclass(frozen=True)
class Listing:
    """A table of the report: some rows, with their keys and numbers.

    Args:
        title: what the table holds.
        where: which rows of ``table``; an empty table is left out.
        keys: the key columns shown, in this order; by default those with more than one value.
        across: a key column whose values become columns that hold the means.
        sort: by size, the largest first; by default as in the rows.
        top: at most so many lines.
        control: values of ``against`` whose means stand in further columns.
    """

    title: str
    where: Where = field(default_factory=dict)
    _: KW_ONLY
    table: str = "rows"
    keys: tuple[str, ...] = ()
    across: str = ""
    sort: bool = False
    top: int | None = None
    control: tuple[str, ...] = ()
