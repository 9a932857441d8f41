"""A view job: from an analysis' tables to its figures, its ``report.json`` and its ``report.md``.

Nothing here needs torch or a checkpoint: a caption, a colour or a sentence costs seconds.

A kind's ``view.py`` says in data what there is to see:

    SECTION     the part of the study's page that it belongs to
    QUESTION    what it answers, a template
    FINDINGS    what it looks for (:mod:`circuit.reports.findings`); their sentences are the answer
    VIEWS       its figures (:mod:`circuit.reports.views`)
    TABLES      the tables of its report
    MARKS       what must always be said, templates (may be left out)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from circuit.artifacts import read_json, read_rows
from circuit.errors import AnalysisError
from circuit.job import Facts
from circuit.reports.document import Figure, Number, Report, Table, write_report
from circuit.reports.draw.shapes import draw
from circuit.reports.findings import Criteria, Told
from circuit.reports.listing import listing
from circuit.reports.rows import ends
from circuit.reports.saying import Context
from circuit.reports.telling import Outcome, tell
from circuit.reports.views import Drawn, View


class _Tables(Mapping[str, pd.DataFrame]):
    """The tables among some inputs, each read when it is asked for."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self._paths = {n: p for n, p in inputs.items() if str(p).endswith(".parquet")}
        self._read: dict[str, pd.DataFrame] = {}

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._read:
            self._read[name] = read_rows(self._paths[name])
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def view(kind: Any, facts: Facts) -> None:
    """Draw and tell an analysis.

    Args:
        kind: the kind's module ``view``.
        facts: the job's; its inputs are the analysis' tables and records by name, its output the
            report and the figures.
    """
    measured = read_json(facts.inputs["measured"], ("facts", "passes", "provenance"))
    tables = _Tables(facts.inputs)
    settings = json.loads(facts.settings)
    context = Context(tables, settings, measured["facts"], facts.inputs)
    for one in kind.VIEWS:
        path = facts.output[one.name]
        if isinstance(one, Drawn):
            one.draw(context, path)
        else:
            draw(one, context, path)
    outcomes = tell(kind.FINDINGS, context)
    report = Report(
        kind=settings["kind"],
        name=facts.analysis,
        study=facts.study,
        run=facts.run,
        section=kind.SECTION,
        question=context.say(kind.QUESTION, {}),
        answer=" ".join(filter(None, (outcome.sentence for outcome in outcomes))),
        numbers=tuple(_numbers(outcomes, measured["passes"])),
        tables=(
            *_judged(kind.FINDINGS, outcomes, context),
            *filter(None, (listing(one, context) for one in kind.TABLES)),
        ),
        figures=tuple(
            Figure(one.file, _caption(one, context), one.place)
            for one in kind.VIEWS
            if one.file.endswith(View.suffix)
        ),
        marks=(
            *(mark for outcome in outcomes for mark in outcome.marks),
            *(context.say(mark, {}) for mark in getattr(kind, "MARKS", ())),
        ),
        findings=tuple(outcome.record for outcome in outcomes),
        settings=settings,
        command=_command(facts),
        provenance={**measured["provenance"], "view_code": sorted(facts.code)},
    )
    write_report(facts.output["report_json"], facts.output["report_md"], report)


def _judged(
    findings: Sequence[Told], outcomes: Sequence[Outcome], context: Context
) -> Iterator[Table]:
    """The tables of all criteria that have a title."""
    for finding in findings:
        mine = [outcome for outcome in outcomes if outcome.finding == finding.name]
        lines = [line for outcome in mine for line in outcome.lines]
        if isinstance(finding, Criteria) and lines:
            yield Table(context.say(finding.title, {}), pd.DataFrame(lines), {})


def _caption(view: View, context: Context) -> str:
    return context.say(view.caption or f"{view.title}.", ends(context.rows(view.table, view.where)))


def _command(facts: Facts) -> str:
    """What remakes the numbers and the report: both jobs, from their inputs."""
    made = [facts.inputs["measured"], facts.output["report_md"]]
    return f"snakemake --force {' '.join(Path(file).as_posix() for file in made)}"


def _numbers(outcomes: Sequence[Outcome], passes: Mapping[str, Any] | None) -> list[Number]:
    """Numbers of all findings, each once, and what looking cost."""
    found: dict[str, Number] = {}
    for outcome in outcomes:
        for number in outcome.numbers:
            if found.setdefault(number.name, number) != number:
                raise AnalysisError(
                    f"two findings call different numbers {number.name!r}",
                    where="the kind's view.py",
                    expected="a name for each number",
                    do="say what tells them apart in the finding's `number`",
                )
    if passes:
        programs = passes["programs"]
        note = (
            f"in whole passes over {programs:,} program{'s' if programs > 1 else ''}: "
            f"{passes['whole']:,} calls from the tokens on, {passes['continued']:,} continued from "
            "a later stage"
        )
        found["forward passes"] = Number("forward passes", passes["equivalent"], "1", note=note)
        if passes.get("backward"):
            found["backward passes"] = Number("backward passes", passes["backward"], "1")
    return list(found.values())
