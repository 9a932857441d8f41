"""A report as text: its tables, with the same cells on pages and in Markdown, and ``report.md``.

Works on the content of ``report.json``, so what people read cannot disagree with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from circuit.reports.quantities import format_interval, format_value

_PER_ROW = "unit of the "


class TextTable(NamedTuple):
    """A table as text; ``right`` says which columns are set flush right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[bool]


def numbers_as_text(numbers: Sequence[Mapping[str, Any]]) -> TextTable:
    """The numbers of a ``report.json`` as a table."""
    rows = []
    for n in numbers:
        quantity = n["value"], n["unit"], n["low"], n["high"]
        value = format_value(*quantity, signed=n["signed"])
        interval = format_interval(*quantity, signed=n["signed"]) or "–"
        count = "–" if n["count"] is None else f"{n['count']:,}"
        rows.append((n["name"], value, interval, count, n["note"]))
    header = ("quantity", "value", "95% interval", "n", "note")
    return TextTable("Numbers", header, rows, [False, True, True, True, False])


def table_as_text(table: Mapping[str, Any]) -> TextTable:
    """A table of a ``report.json``: units in its header, but for those that cells show."""
    columns, given = table["columns"], table["units"]
    units = [given.get(column) for column in columns]
    header = []
    for column, unit in zip(columns, units, strict=True):
        told = "unit" in columns and _PER_ROW in (unit or "")  # row by row
        bare = told or unit in (None, "1", "id", "share", column)
        shown = column.replace("_", " ")
        header.append(shown if bare else f"{shown} ({unit})")
    rows = [[_cell(v, u) for v, u in zip(row, units, strict=True)] for row in table["rows"]]
    return TextTable(table["title"], header, rows, [column in given for column in columns])


def _cell(value: Any, unit: str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit in (None, "id", "token") or not isinstance(value, int | float):
        return str(value)
    return format_value(value, str(unit), with_unit=False)


def pretty(content: Any) -> str:
    """Settings and provenance as people read them."""
    return json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)


def report_markdown(report: Mapping[str, Any]) -> str:
    """Return the text of ``report.md``: a page of Markdown, the answer first."""
    run = f"run `{report['run']}`" if report["run"] else "over its runs"
    blocks = [
        [f"# {_text(report['question'])}"],
        [f"**Answer.** {_text(report['answer'])}"],
        [f"Analysis `{report['name']}` ({report['kind']}) of study `{report['study']}`, {run}."],
        *([f"> **Mark.** {_text(mark)}"] for mark in report["marks"]),
    ]
    if report["numbers"]:
        blocks.append(["## Numbers", "", *_lines(numbers_as_text(report["numbers"]))])
    for figure in report["figures"]:
        caption = _text(figure["caption"])
        blocks.append([f"![{caption}]({figure['file']})", "", f"*{caption}*"])
    for table in map(table_as_text, report["tables"]):
        blocks.append(_folded(_text(table.title), _lines(table)))
    blocks.append(_folded("Settings", _fenced("json", pretty(report["settings"]))))
    blocks.append(["## How to reproduce", "", *_fenced("sh", report["command"])])
    if report["provenance"]:
        record = {k: v for k, v in report["provenance"].items() if k != "settings"}
        folded = _folded("Inputs, code, versions", _fenced("json", pretty(record)))
        blocks.append(["## Provenance", "", *folded])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _lines(table: TextTable) -> list[str]:
    rule = ["---:" if flag else "---" for flag in table.right]
    body = [
        [_text(cell).replace("|", "\\|") for cell in row] for row in (table.header, *table.rows)
    ]
    return [f"| {' | '.join(line)} |" for line in (body[0], rule, *body[1:])]


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def _fenced(language: str, text: str) -> list[str]:
    return [f"```{language}", *text.splitlines(), "```"]


def _text(text: str) -> str:
    """Running text: one line, and no tag; tokens such as <bos> would vanish otherwise."""
    return " ".join(text.split()).replace("<", "&lt;")
