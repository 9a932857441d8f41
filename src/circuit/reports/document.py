"""The report of an analysis: what was asked, what was found, and how to check it.

A :class:`Report` is written twice. ``report.json`` is the contract for machines (the study's page
among them): every field, numbers as they are, NaN as null. ``report.md`` is for people: the
question is its title, the answer comes first, every number has its sign, unit, interval and count.

A number or a table column without a unit is refused here, so none can reach a reader.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from circuit.artifacts import read_json, write_json, write_text
from circuit.errors import ArtifactError
from circuit.reports.markdown import report_markdown
from circuit.reports.quantities import format_number

__all__ = [
    "SCHEMA",
    "Figure",
    "Number",
    "Report",
    "Table",
    "format_number",
    "read_report",
    "report_dict",
    "write_report",
]

SCHEMA = 1


@dataclass(frozen=True)
class Number:
    """One number of a report.

    ``unit`` is ``1`` for counts and ratios and ``share`` for what reads best as percent. ``signed``
    decides whether positive values show a ``+``; by default the unit does
    (:data:`circuit.reports.quantities.UNSIGNED_UNITS`), so say True for a difference of shares.
    """

    name: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    count: int | None = None
    note: str = ""
    signed: bool | None = None

    def __str__(self) -> str:
        """The number with its unit, interval and count."""
        return format_number(
            self.value, self.unit, self.low, self.high, self.count, signed=self.signed
        )


@dataclass(frozen=True)
class Table:
    """A table of a report; ``units`` has a unit for every numeric column.

    Units of columns that the frame lacks are left out, so tables may share their units.
    """

    title: str
    frame: pd.DataFrame
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A figure beside the report; the caption says what to see in it."""

    file: str
    caption: str


@dataclass(frozen=True)
class Report:
    """What an analysis has to say.

    Args:
        kind: the kind of analysis; ``name``: its name in the configuration.
        run: the run it looked at, None where it looked at a whole study.
        question: what was asked, ending in a question mark.
        answer: the answer, in a sentence or a few.
        marks: what must not be overlooked, such as a bound that was exceeded.
        section: the part of the study's page that tells it.
        findings: verdicts (:attr:`circuit.reports.telling.Outcome.record`).
        settings: the validated settings, in JSON's types.
        command: the shell command that makes the report again.
        provenance: :func:`circuit.artifacts.provenance` of the job.
    """

    kind: str
    name: str
    study: str
    run: str | None
    question: str
    answer: str
    numbers: tuple[Number, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    marks: tuple[str, ...] = ()
    section: str = ""
    findings: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


def write_report(
    json_path: str | os.PathLike[str], md_path: str | os.PathLike[str], report: Report
) -> None:
    """Write ``report.json`` and ``report.md``, each whole or not at all.

    Raises:
        ArtifactError: the report lacks its question, answer or command, a number or a column lacks
            its unit, an interval has one end, or a name occurs twice.
    """
    _check(report, str(json_path))
    content = report_dict(report)
    write_json(json_path, content, nan="null")
    # From the file, not from memory: what people read is what machines read.
    write_text(md_path, report_markdown(read_json(json_path)))


def read_report(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a ``report.json``.

    Raises:
        ArtifactError: the file is missing or damaged, or not a report of this version.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ArtifactError(
            "file is not a report that this version reads",
            where=path,
            expected=f"a report.json with schema {SCHEMA}",
            do="delete the file and let snakemake make it again",
        )
    return content


def report_dict(report: Report) -> dict[str, Any]:
    """A report in JSON's types (but for NaN), as :func:`read_report` returns it."""
    return {
        "schema": SCHEMA,
        "kind": report.kind,
        "name": report.name,
        "study": report.study,
        "run": report.run,
        "question": report.question,
        "answer": report.answer,
        "section": report.section,
        "marks": list(report.marks),
        "findings": [dict(finding) for finding in report.findings],
        "numbers": [asdict(number) for number in report.numbers],
        "tables": [
            {
                "title": table.title,
                "columns": list(table.frame.columns),
                "units": {c: u for c, u in table.units.items() if c in table.frame.columns},
                "rows": _cells(table.frame),
            }
            for table in report.tables
        ],
        "figures": [asdict(figure) for figure in report.figures],
        "settings": dict(report.settings),
        "command": report.command,
        "provenance": dict(report.provenance),
    }


def _cells(frame: pd.DataFrame) -> list[list[Any]]:
    """Rows as lists of plain values; a missing entry of any type is None."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [list(row) for row in plain.itertuples(index=False, name=None)]


def _check(report: Report, where: str) -> None:
    def refuse(what: str, expected: str, do: str) -> None:
        raise ArtifactError(what, where=where, expected=expected, do=do)

    if not report.question.strip().endswith("?"):
        refuse(
            f"question {report.question!r} is no question",
            "a sentence that ends in a question mark",
            "ask what the analysis answers",
        )
    for name in ("answer", "command"):
        if not str(getattr(report, name)).strip():
            refuse(f"report has no {name}", f"a text as {name}", "give it to Report")
    for number in report.numbers:
        if not number.unit.strip():
            refuse(
                f"number {number.name!r} has no unit",
                "a unit, '1' for counts and ratios",
                "state the unit",
            )
        if (number.low is None) != (number.high is None):
            refuse(
                f"number {number.name!r} has half an interval",
                "both low and high, or neither",
                "give both ends",
            )
    for kind, names in (
        ("number", [n.name for n in report.numbers]),
        ("table", [t.title for t in report.tables]),
        ("figure", [f.file for f in report.figures]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            refuse(
                f"{kind} {twice[0]!r} occurs twice",
                f"each {kind} once",
                "rename or drop one of them",
            )
    for table in report.tables:
        frame = table.frame
        bare = [
            str(c)
            for c in frame.columns
            if is_numeric_dtype(frame[c])
            and not is_bool_dtype(frame[c])
            and not table.units.get(c, "").strip()
        ]
        if bare:
            refuse(
                f"table {table.title!r} has numeric columns without a unit: {', '.join(bare)}",
                "a unit for every numeric column ('1', 'id' and 'step' are units too)",
                "add the columns to `units`",
            )
