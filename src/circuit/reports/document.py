"""The report of an analysis: what was asked, what was found, and how to check it.

A :class:`Report` is written twice. ``report.json`` is the contract for machines (the study's page
among them): every field, numbers as they are, NaN as null. ``report.md`` is for people: the
question is its title, the answer comes first, every number has its sign, unit, interval and count.

A number or a table column without a unit is refused here, so none can reach a reader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from circuit.artifacts import read_json, sha256_file, write_json, write_text
from circuit.errors import ArtifactError
from circuit.reports.text import report_markdown

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
    """A figure beside the report, which keeps its SHA-256; the caption says what to see in it.

    ``place`` is that of its :class:`~circuit.reports.views.View`.
    """

    file: str
    caption: str
    place: str = ""


@dataclass(frozen=True)
class Report:
    """What an analysis has to say.

    Args:
        kind, name: of the analysis; ``run``: None where it looked at a whole study.
        question: ends in a question mark; ``answer``: a sentence or a few.
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
            its unit, an interval has one end, a name occurs twice, or a figure is missing.
    """
    for what, expected, do in _faults(report):
        raise ArtifactError(what, where=json_path, expected=expected, do=do)
    content = report_dict(report)
    for figure in content["figures"]:
        figure["sha256"] = sha256_file(Path(json_path).parent / figure["file"])
    write_json(json_path, content, nan="null")
    # From the file, not from memory: what people read is what machines read.
    write_text(md_path, report_markdown(read_json(json_path)))


def read_report(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a ``report.json``.

    Raises:
        ArtifactError: it is missing, damaged, of another place, or has not all that a report has.
    """
    return read_json(path, [each.name for each in fields(Report)])


def report_dict(report: Report) -> dict[str, Any]:
    """A report in JSON's types (but for NaN and tuples), as ``report.json`` holds it."""
    plain = {each.name: getattr(report, each.name) for each in fields(report)}
    numbers, figures = ([asdict(one) for one in many] for many in (report.numbers, report.figures))
    tables = list(map(table_dict, report.tables))
    return {**plain, "schema": SCHEMA, "numbers": numbers, "tables": tables, "figures": figures}


def table_dict(table: Table) -> dict[str, Any]:
    """A table as ``report.json`` holds it; a missing entry of any type is None."""
    columns = list(table.frame.columns)
    units = {column: unit for column, unit in table.units.items() if column in columns}
    rows = table.frame.astype(object).where(table.frame.notna(), None).values.tolist()
    return {"title": table.title, "columns": columns, "units": units, "rows": rows}


def _faults(report: Report) -> Iterator[tuple[str, str, str]]:
    """What is wrong, what would be right, and what to do."""
    if not report.question.strip().endswith("?"):
        what = f"question {report.question!r} is no question"
        yield what, "a sentence that ends in a question mark", "ask what the analysis answers"
    for name in ("answer", "command"):
        if not str(getattr(report, name)).strip():
            yield f"report has no {name}", f"a text as {name}", "give it to Report"
    for number in report.numbers:
        named = f"number {number.name!r}"
        if not number.unit.strip():
            yield f"{named} has no unit", "a unit, '1' for counts and ratios", "state the unit"
        if (number.low is None) != (number.high is None):
            yield f"{named} has half an interval", "both low and high, or neither", "give both ends"
    for kind, names in (
        ("number", [n.name for n in report.numbers]),
        ("table", [t.title for t in report.tables]),
        ("figure", [f.file for f in report.figures]),
    ):
        for name in sorted(name for name in names if names.count(name) > 1):
            yield f"{kind} {name!r} occurs twice", f"each {kind} once", "rename or drop one of them"
    for table in report.tables:
        numeric = (
            str(c)
            for c, kind in table.frame.dtypes.items()
            if is_numeric_dtype(kind) and not is_bool_dtype(kind)
        )
        bare = ", ".join(c for c in numeric if not table.units.get(c, "").strip())
        if bare:
            yield (
                f"table {table.title!r} has numeric columns without a unit: {bare}",
                "a unit for every numeric column ('1', 'id' and 'step' are units too)",
                "add the columns to `units`",
            )
