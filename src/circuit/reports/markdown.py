"""``report.md``: a report as a page of Markdown, the answer first.

Works on the content of ``report.json``, so the two cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from circuit.reports.tables import (
    NUMBER_HEADER,
    is_numeric,
    number_rows,
    table_header,
    table_rows,
)


def report_markdown(report: Mapping[str, Any]) -> str:
    """Return the text of ``report.md``."""
    blocks = [
        [f"# {_text(report['question'])}"],
        [f"**Answer.** {_text(report['answer'])}"],
        [_scope(report)],
        *([f"> **Mark.** {_text(mark)}"] for mark in report["marks"]),
        _numbers(report["numbers"]),
        *(
            [
                f"![{_text(figure['caption'])}]({figure['file']})",
                "",
                f"*{_text(figure['caption'])}*",
            ]
            for figure in report["figures"]
        ),
        *(_folded(_text(table["title"]), _table(table)) for table in report["tables"]),
        _folded("Settings", _fenced("json", _pretty(report["settings"]))),
        ["## How to reproduce", "", *_fenced("sh", report["command"])],
        _provenance(report["provenance"]),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _scope(report: Mapping[str, Any]) -> str:
    run = f"run `{report['run']}`" if report["run"] else "over its runs"
    return f"Analysis `{report['name']}` ({report['kind']}) of study `{report['study']}`, {run}."


def _numbers(numbers: Sequence[Mapping[str, Any]]) -> list[str]:
    if not numbers:
        return []
    lines = _lines(NUMBER_HEADER, number_rows(numbers), [False, True, True, True, False])
    return ["## Numbers", "", *lines]


def _table(table: Mapping[str, Any]) -> list[str]:
    return _lines(table_header(table), table_rows(table), is_numeric(table))


def _lines(
    header: Iterable[str], rows: Iterable[Iterable[str]], right: Sequence[bool]
) -> list[str]:
    rule = ["---:" if flag else "---" for flag in right]
    body = [[_cell(cell) for cell in row] for row in (header, *rows)]
    return [f"| {' | '.join(line)} |" for line in (body[0], rule, *body[1:])]


def _provenance(provenance: Mapping[str, Any]) -> list[str]:
    if not provenance:
        return []
    return ["## Provenance", "", *_folded("Inputs, code, versions", _record(provenance))]


def _record(provenance: Mapping[str, Any]) -> list[str]:
    return _fenced("json", _pretty({k: v for k, v in provenance.items() if k != "settings"}))


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def _fenced(language: str, text: str) -> list[str]:
    return [f"```{language}", *text.splitlines(), "```"]


def _pretty(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True)


def _text(text: str) -> str:
    """Running text: one line, and no tag; tokens such as <bos> would vanish otherwise."""
    return " ".join(text.split()).replace("<", "&lt;")


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")
