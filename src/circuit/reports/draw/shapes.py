"""Draw a view of a table of estimates.

1. The rows and their controls are selected (:mod:`circuit.reports.rows`) and shared out to panels.
2. What tells series apart gets its colours and dashes (:mod:`~circuit.reports.draw.looks`).
3. Units, zero, percent, ranges and the note follow from the rows
   (:mod:`~circuit.reports.draw.frame`); a file for each shape draws the marks.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from circuit.errors import AnalysisError
from circuit.reports.draw.cells import draw_cells
from circuit.reports.draw.curves import draw_curves
from circuit.reports.draw.dots import draw_dots
from circuit.reports.draw.frame import Shown
from circuit.reports.draw.scatter import draw_scatter
from circuit.reports.draw.stack import draw_stack
from circuit.reports.rows import select
from circuit.reports.saying import Context
from circuit.reports.views import Cells, Curves, Dots, Scatter, Stack, View

_SHAPES: dict[type[View], Callable[[Shown], None]] = {
    Curves: draw_curves,
    Dots: draw_dots,
    Cells: draw_cells,
    Stack: draw_stack,
    Scatter: draw_scatter,
}


def draw(view: View, context: Context, path: str | os.PathLike[str]) -> None:
    """Draw one of the five shapes to an SVG file.

    Raises:
        AnalysisError: the view names what there is not, its rows do not tell apart what it draws,
            or rows of one axis have several units.
    """
    if view.table not in context.tables:
        raise AnalysisError(
            f"there is no table {view.table!r}",
            where=f"figure {view.name}",
            expected=f"one of {', '.join(context.tables)}",
            do="name a table of this kind in the view",
        )
    try:
        rows = select(context.tables[view.table], view.where, context.settings)
        _SHAPES[type(view)](Shown(view, context, path, rows))
    except AnalysisError as error:
        error.where = f"figure {view.name}" + (f", {error.where}" if error.where else "")
        raise
