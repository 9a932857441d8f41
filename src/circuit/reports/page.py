"""A study as one page that can be read offline, from the reports of its analyses.

1. Reports are put into the section that each names (:mod:`circuit.reports.sections`), as they are
   given. Reports of the focus run and of the whole study are told; those of other runs are folded.
   A section that is not among the known ones comes at the end, so nothing is left out.
2. The summary takes the first sentence of every told answer; all marks are repeated on top.
3. Figures are put into the page (:mod:`circuit.reports.inline`), each with the command that
   remakes it. Nothing is fetched, and there are no scripts.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from circuit.artifacts import write_text
from circuit.errors import AnalysisError
from circuit.reports.audit_section import audit_report
from circuit.reports.inline import STYLE, inline_svg
from circuit.reports.origins import JOB_HEADER, origins
from circuit.reports.page_style import CSS
from circuit.reports.page_template import PAGE
from circuit.reports.sections import SECTIONS
from circuit.reports.tables import (
    NUMBER_HEADER,
    is_numeric,
    number_rows,
    table_header,
    table_rows,
)

NUMBERS_SHOWN = 12  # further numbers of a report are folded


class Filed(NamedTuple):
    """A parsed ``report.json`` and the folder it lies in, relative to the project."""

    folder: str | os.PathLike[str]
    report: Mapping[str, Any]


def write_page(
    path: str | os.PathLike[str],
    study: str,
    title: str,
    reports: Sequence[tuple[str | os.PathLike[str], Mapping[str, Any]]],
    *,
    focus: str | None = None,
    audit: tuple[str | os.PathLike[str], Mapping[str, Any]] | None = None,
) -> None:
    """Write a study's page, whole or not at all.

    Args:
        path: the HTML file.
        study, title: the study's name and what it is about.
        reports: folder and parsed ``report.json`` of all its analyses; figures are read from the
            folders, which the commands name too.
        focus: the run that is told; other runs are folded. None takes the first run met.
        audit: the benchmark's folder and its parsed ``audit.json``, for the section on data.

    Raises:
        AnalysisError: there is no report, or none of the focus run.
        ArtifactError: a figure that a report names is missing or no figure of ours.
    """
    filed = [Filed(*pair) for pair in reports]
    if audit is not None:
        filed.insert(0, _filed_audit(Path(audit[0]), audit[1], study))
    runs = list(dict.fromkeys(f.report["run"] for f in filed if f.report["run"]))
    if not reports or (focus is not None and runs and focus not in runs):
        raise AnalysisError(
            f"no report of run {focus!r}" if reports else "no reports",
            where=path,
            expected=f"reports, among them some of {focus or 'a run'}",
            do="correct the study's focus, or list analyses of that run",
        )
    focus = focus or (runs[0] if runs else None)
    told = list(_sections(filed, focus))
    entries = [(section, item) for section in told for item in section["entries"]]
    every = [(s, item) for s in told for item in (*s["entries"], *s["others"])]
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    html = environment.from_string(PAGE).render(
        css=Markup(CSS + STYLE),
        study=study,
        title=title,
        focus=focus,
        asked=_asked(len(entries), focus, len(runs)),
        found=[
            {
                "topic": s["title"] if i is s["entries"][0] else "",
                "text": _first_sentence(i["answer"]),
                "id": i["id"],
                "section": s["number"],
            }
            for s, i in entries
        ],
        marked=[
            {"text": _of_run(mark, i, focus), "id": i["id"], "section": s["number"]}
            for s, i in every
            for mark in i["marks"]
        ],
        sections=told,
        origins=origins([report for _, report in filed]),
        job_header=JOB_HEADER,
        number_header=NUMBER_HEADER,
        number_kinds=[False, True, True, True, False],
        shown=NUMBERS_SHOWN,
    )
    write_text(path, html.lstrip())


def _filed_audit(folder: Path, audit: Mapping[str, Any], study: str) -> Filed:
    command = f"snakemake --force {(folder / 'audit.json').as_posix()}"
    return Filed(folder, audit_report(folder.name, study, audit, command))


def _sections(reports: Sequence[Filed], focus: str | None) -> Iterator[dict[str, Any]]:
    """The sections that have reports, numbered, with their reports as the template wants them."""
    of: dict[str, list[Filed]] = {title: [] for title in SECTIONS}
    for filed in reports:
        title = filed.report["section"]
        of.setdefault(title, []).append(filed)
    told = [(title, members) for title, members in of.items() if members]
    for number, (title, members) in enumerate(told, 1):
        items = [_item(f, f"s{number}r{i}") for i, f in enumerate(members, 1)]
        yield {
            "id": f"s{number}",
            "number": number,
            "title": title,
            "entries": [item for item in items if item["run"] in (None, focus)],
            "others": [item for item in items if item["run"] not in (None, focus)],
        }


def _item(filed: Filed, identity: str) -> dict[str, Any]:
    """One report as the template wants it."""
    report, folder = filed.report, Path(filed.folder)
    figures = [
        {
            "svg": inline_svg(folder / f["file"], f"{identity}f{i}", f["caption"]),
            "caption": f["caption"],
            "command": f"snakemake --force {(folder / f['file']).as_posix()}",
        }
        for i, f in enumerate(report["figures"], 1)
    ]
    tables = [
        {
            "title": table["title"],
            "header": table_header(table),
            "rows": table_rows(table),
            "numeric": is_numeric(table),
        }
        for table in report["tables"]
    ]
    run = f"run {report['run']}" if report["run"] else "the whole study"
    return {
        "id": identity,
        "run": report["run"],
        "question": report["question"],
        "answer": report["answer"],
        "marks": report["marks"],
        "figures": figures,
        "numbers": number_rows(report["numbers"]),
        "tables": tables,
        "settings": _pretty(report["settings"]),
        "where": f"Analysis {report['name']} ({report['kind']}) of {run}, in {folder.as_posix()}",
        "command": report["command"],
    }


def _pretty(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=2, ensure_ascii=False, sort_keys=True) if settings else ""


def _asked(questions: int, focus: str | None, runs: int) -> str:
    noun = "question was" if questions == 1 else "questions were"
    of = f" of run {focus} and its study" if focus else ""
    others = ""
    if runs > 1:
        others = f" ({runs - 1} other run{'s are' if runs > 2 else ' is'} folded below)"
    return f"{questions} {noun} asked{of}{others}. In short:"


def _of_run(mark: str, item: Mapping[str, Any], focus: str | None) -> str:
    return mark if item["run"] in (None, focus) else f"{item['run']}: {mark}"


def _first_sentence(text: str) -> str:
    """Up to the first full stop that a new sentence follows."""
    return re.split(r"(?<=[a-z0-9%)][.!?])\s+(?=[A-Z])", text.strip(), maxsplit=1)[0]
