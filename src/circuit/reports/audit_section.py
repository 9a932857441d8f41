"""A benchmark's audit as a report, so that the page shows the data like everything else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from circuit.reports.document import Number, Report, Table, report_dict
from circuit.reports.sections import DATA
from circuit.task.shortcuts import HEURISTICS


def audit_report(folder: Path, study: str, audit: Mapping[str, Any]) -> dict[str, Any]:
    """What ``audit.json`` says in the form of a parsed ``report.json``.

    Args:
        folder: the benchmark's; its name is the benchmark's.
        audit: the parsed ``audit.json``: ``passed``, ``checks`` and ``pairs``.
    """
    checks = pd.DataFrame(audit["checks"])
    shares = checks["check"].isin(HEURISTICS)
    violations = checks[~shares & (checks["bound"] == 0)]
    broken = int(violations["value"].sum())
    # Of every shortcut the split on which it does best.
    best = checks.loc[checks[shares].groupby("check", sort=False)["value"].idxmax()]
    bounded, free = best[best["bound"].notna()], best[best["bound"].isna()]
    numbers = [
        Number(
            f"accuracy of {row['check']}, highest over splits",
            float(row["value"]),
            "share",
            count=int(row["items"]),
            note=f"on {row['split']}; "
            + (f"bound {row['bound']:.0%}" if row["bound"] else "must be exactly 0"),
        )
        for row in bounded.to_dict("records")
    ]
    numbers.append(
        Number("violations of the rules of the data", broken, "1", note="over all checks")
    )
    marks = [] if audit["passed"] else ["The benchmark failed its audit."]
    marks += [
        f"The shortcut {row['check']} is right in {row['value']:.1%} of the reads of "
        f"{row['split']} and has no bound: accuracy below that is no evidence of look-up."
        for row in free.to_dict("records")
    ]
    units = {"value": "unit of the check", "bound": "unit of the check", "items": "1"}
    pairs = pd.DataFrame(audit["pairs"]).T.rename_axis("kind").reset_index()
    skipped = "Minimal pairs: built, and reads skipped for each reason"
    report = Report(
        kind="benchmark_audit",
        name=folder.name,
        study=study,
        run=None,
        section=DATA,
        question="What does the data ask for, and can a shortcut answer it?",
        answer=f"The benchmark {'passes' if audit['passed'] else 'fails'} its audit: {broken:,} "
        f"violations in {violations['check'].nunique()} kinds of check, and no bounded shortcut "
        f"answers more than {bounded['value'].max():.1%} of a split's reads.",
        numbers=tuple(numbers),
        tables=(
            Table("Every check of the audit", checks, units),
            Table(skipped, pairs, dict.fromkeys(pairs.columns[1:], "1")),
        ),
        marks=tuple(marks),
        command=f"snakemake --force {(folder / 'audit.json').as_posix()}",
    )
    return report_dict(report)
