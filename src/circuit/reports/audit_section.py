"""A benchmark's audit as a report, so that the page shows the data like everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from circuit.reports.document import Number, Report, Table, report_dict
from circuit.reports.sections import DATA
from circuit.task.shortcuts import HEURISTICS

KIND = "benchmark_audit"


def audit_report(
    benchmark: str, study: str, audit: Mapping[str, Any], command: str
) -> dict[str, Any]:
    """Return what ``audit.json`` says in the form of a parsed ``report.json``.

    Args:
        benchmark: the benchmark's name.
        audit: the parsed ``audit.json``: ``passed``, ``checks`` and ``pairs``.
        command: what makes the benchmark again.
    """
    checks = pd.DataFrame(audit["checks"])
    shares = checks["check"].isin(HEURISTICS)
    violations = checks[~shares & (checks["bound"] == 0)]
    broken = int(violations["value"].sum())
    bounded = checks[shares & checks["bound"].notna()]
    free = checks[shares & checks["bound"].isna()]
    best = bounded.loc[bounded.groupby("check", sort=False)["value"].idxmax()]
    numbers = [
        Number(
            f"accuracy of {row['check']}, highest over splits",
            float(row["value"]),
            "share",
            count=int(row["items"]),
            note=f"on {row['split']}; "
            + (f"bound {row['bound']:.0%}" if row["bound"] else "must be exactly 0"),
        )
        for row in best.to_dict("records")
    ]
    numbers.append(
        Number("violations of the rules of the data", broken, "1", note="over all checks")
    )
    verdict = "passes" if audit["passed"] else "fails"
    answer = (
        f"The benchmark {verdict} its audit: {broken:,} violations in "
        f"{violations['check'].nunique()} kinds of check, and no bounded shortcut answers more "
        f"than {best['value'].max():.1%} of a split's reads."
    )
    marks = [] if audit["passed"] else ["The benchmark failed its audit."]
    marks += [
        f"The shortcut {row['check']} is right in {row['value']:.1%} of the reads of "
        f"{row['split']} and has no bound: accuracy below that is no evidence of look-up."
        for row in _highest(free)
    ]
    units = {"value": "unit of the check", "bound": "unit of the check", "items": "1"}
    pairs = pd.DataFrame(audit["pairs"]).T.rename_axis("kind").reset_index()
    report = Report(
        kind=KIND,
        name=benchmark,
        study=study,
        run=None,
        question="What does the data ask for, and can a shortcut answer it?",
        answer=answer,
        numbers=tuple(numbers),
        tables=(
            Table("Every check of the audit", checks, units),
            Table(
                "Minimal pairs: built, and reads skipped for each reason",
                pairs,
                dict.fromkeys([c for c in pairs.columns if c != "kind"], "1"),
            ),
        ),
        marks=tuple(marks),
        section=DATA,
        command=command,
    )
    return report_dict(report)


def _highest(checks: pd.DataFrame) -> list[dict[str, Any]]:
    if checks.empty:
        return []
    best = checks.loc[checks.groupby("check", sort=False)["value"].idxmax()]
    return [dict(row) for row in best.to_dict("records")]
