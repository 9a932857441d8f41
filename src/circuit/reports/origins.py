"""Where a page's results come from: versions, seeds, threads, inputs and code of all its reports.

Reports that were made from different versions of one input, or by different versions of one
library module, contradict each other silently; here that becomes a mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from circuit.reports.text import TextTable


def origins(reports: Sequence[Mapping[str, Any]]) -> tuple[list[TextTable], list[str]]:
    """The provenance of parsed reports as tables, and marks of what does not fit together.

    A report without any is left out.
    """
    found = [(report, report["provenance"]) for report in reports if report.get("provenance")]
    blocks = [block for _, block in found]
    jobs = [
        {
            "analysis": report["name"],
            "run": report["run"] or "all",
            "device": block["device"],
            "processor": block["platform"]["cpu"],
            "threads": str(block["threads"]),
            "seeds": ", ".join(f"{name} {at}" for name, at in sorted(block["seeds"].items()))
            or "none",
        }
        for report, block in found
    ]
    header = list(jobs[0]) if jobs else []
    right = [name == "threads" for name in header]
    tables = [TextTable("Jobs", header, [list(job.values()) for job in jobs], right)]
    marks = []
    inputs = [
        (file["path"], file["sha256"])
        for block in blocks
        for given in block["inputs"].values()
        for file in (given if isinstance(given, list) else [given])
    ]
    code = [text.split("@") for block in blocks for text in block["code"]]
    versions = [pair for block in blocks for pair in block["versions"].items()]
    for what, header, pairs in (
        ("an input", ["file", "SHA-256"], inputs),
        ("the library code", ["module", "fingerprint of its syntax tree"], code),
        ("the installed packages", ["package", "version"], versions),
    ):
        known = pd.DataFrame(pairs, columns=header).drop_duplicates()
        known = known.sort_values(header[0], kind="stable")
        rows = known.to_numpy().tolist()
        tables.append(TextTable(f"Versions of {what}", header, rows, [False, False]))
        names = known[header[0]]
        if names.duplicated().any():
            twice = ", ".join(names[names.duplicated()].unique())
            marks.append(
                f"These reports were made from different versions of {what} ({twice}); rerun "
                "the study to bring them together."
            )
    return tables, marks
