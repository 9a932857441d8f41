"""The tables of a report as text: the same cells on the page and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from circuit.reports.quantities import format_interval, format_value

_PER_ROW = "unit of the "
NUMBER_HEADER = ("quantity", "value", "95% interval", "n", "note")


def number_rows(numbers: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Rows under ``NUMBER_HEADER`` for the numbers of a ``report.json``."""
    rows: list[tuple[str, ...]] = []
    for n in numbers:
        value, unit, low, high, signed = (n[k] for k in ("value", "unit", "low", "high", "signed"))
        rows.append(
            (
                n["name"],
                format_value(value, unit, low, high, signed=signed),
                format_interval(value, unit, low, high, signed=signed) or "–",
                "–" if n["count"] is None else f"{n['count']:,}",
                n["note"],
            )
        )
    return rows


def table_header(table: Mapping[str, Any]) -> list[str]:
    """Column names with their units."""
    named = "unit" in table["columns"]  # row by row, so heads of columns need not
    units = {c: u for c, u in table["units"].items() if not (named and _PER_ROW in u)}
    return [_heading(column, units.get(column)) for column in table["columns"]]


def table_rows(table: Mapping[str, Any]) -> list[list[str]]:
    """Cells of a table of ``report.json`` as text."""
    units = [table["units"].get(column) for column in table["columns"]]
    return [[_cell(v, u) for v, u in zip(row, units, strict=True)] for row in table["rows"]]


def is_numeric(table: Mapping[str, Any]) -> list[bool]:
    """Whether each column holds numbers, which are set flush right."""
    return [column in table["units"] for column in table["columns"]]


def _heading(column: str, unit: str | None) -> str:
    shown = column.replace("_", " ")
    # Shares show their % in every cell.
    bare = unit is None or unit in ("1", "id", "share") or unit == column
    return shown if bare else f"{shown} ({unit})"


def _cell(value: Any, unit: str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit in (None, "id") or not isinstance(value, int | float):
        return str(value)
    return format_value(value, str(unit), with_unit=False)
