"""What every account must be: a report that can be written, with the figures its kind leaves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from circuit.artifacts import read_json
from circuit.config.registry import KINDS
from circuit.reports.document import Number, Report, write_report
from circuit.reports.publish import Account


def written(account: Account, kind: str, folder: Path) -> tuple[dict[str, Any], str]:
    """The account's report as machines and people read it.

    Writing refuses a number or column without a unit, half an interval, a question that is none,
    and names that occur twice.
    """
    report = Report(
        kind=kind,
        name="name",
        study="study",
        run=None,
        question=account.question,
        answer=account.answer,
        numbers=tuple(account.numbers),
        tables=tuple(account.tables),
        figures=tuple(account.figures),
        marks=tuple(account.marks),
        command="snakemake",
    )
    paths = folder / "report.json", folder / "report.md"
    write_report(*paths, report)
    assert {figure.file for figure in account.figures} == {f"{n}.svg" for n in KINDS[kind].figures}
    assert account.answer.endswith(".")
    for text in (account.question, account.answer, *account.marks):
        assert not re.search(r"\bnan\b|\binf|None|  ", text), text
    for number in account.numbers:
        if number.low is not None:
            assert number.low <= number.high
            assert number.count is not None, number.name
    return read_json(paths[0]), paths[1].read_text()


def numbers_of(account: Account) -> dict[str, Number]:
    """Numbers by name."""
    return {number.name: number for number in account.numbers}
