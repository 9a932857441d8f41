"""From what an analysis found to its ``report.json`` and ``report.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from circuit.artifacts import provenance
from circuit.job import Facts
from circuit.reports.document import Figure, Number, Report, Table, write_report


@dataclass(frozen=True)
class Account:
    """What an analysis says: its question, its answer in a sentence, and what backs it."""

    question: str
    answer: str
    numbers: Sequence[Number] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    marks: Sequence[str] = ()


def publish(account: Account, facts: Facts, seeds: Mapping[str, int] | None = None) -> None:
    """Write both forms of a report, with the command that remakes it and its provenance.

    Args:
        facts: the job's; its output holds ``report_json`` and ``report_md``.
        seeds: what each seed was for, and its value.
    """
    settings = json.loads(facts.settings)
    report = Report(
        kind=settings["kind"],
        name=facts.analysis,
        study=facts.study,
        run=facts.run,
        question=account.question,
        answer=account.answer,
        numbers=tuple(account.numbers),
        tables=tuple(account.tables),
        figures=tuple(account.figures),
        marks=tuple(account.marks),
        settings=settings,
        command=f"snakemake --force {Path(facts.output.report_md).as_posix()}",
        provenance=provenance(
            inputs=facts.inputs,
            settings=settings,
            modules=facts.code,
            seeds=seeds or {},
            threads=facts.threads,
            started=facts.started,
        ),
    )
    write_report(facts.output.report_json, facts.output.report_md, report)
