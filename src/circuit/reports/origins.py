"""Where a page's results come from: versions, seeds, threads, inputs and code of all its reports.

Reports that were made from different versions of one input, or by different versions of one
library module, contradict each other silently; here that becomes a mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from circuit.reports.text import TextTable

_JOB = ("analysis", "run", "device", "processor", "threads", "seeds", "wall time")


def origins(reports: Sequence[Mapping[str, Any]]) -> tuple[list[TextTable], list[str]]:
    """The provenance of parsed reports as tables, and marks of what does not fit together.

    A report without any is left out.
    """
    found = [(report, report["provenance"]) for report in reports if report.get("provenance")]
    blocks = [block for _, block in found]
    jobs = TextTable("Jobs", _JOB, [_job(*pair) for pair in found], [c in _JOB[4::2] for c in _JOB])
    tables, marks = [jobs], []
    for what, title, header, pairs in (
        (
            "an input",
            "Inputs and their SHA-256",
            ("file", "SHA-256"),
            [
                (file["path"], file["sha256"])
                for block in blocks
                for given in block["inputs"].values()
                for file in (given if isinstance(given, list) else [given])
            ],
        ),
        (
            "the library code",
            "Code fingerprints",
            ("module", "fingerprint of its syntax tree"),
            [text.split("@") for block in blocks for text in block["code"]],
        ),
        (
            "the installed packages",
            "Versions",
            ("package", "version"),
            [pair for block in blocks for pair in block["versions"].items()],
        ),
    ):
        known = pd.DataFrame(pairs, columns=header).drop_duplicates()
        known = known.sort_values(header[0], kind="stable")
        tables.append(TextTable(title, header, known.to_numpy().tolist(), [False, False]))
        names = known[header[0]]
        if names.duplicated().any():
            twice = ", ".join(names[names.duplicated()].unique())
            marks.append(
                f"These reports were made from different versions of {what} ({twice}); rerun "
                "the study to bring them together."
            )
    return tables, marks


def _job(report: Mapping[str, Any], block: Mapping[str, Any]) -> tuple[str, ...]:
    seeds = ", ".join(f"{name} {seed}" for name, seed in sorted(block["seeds"].items()))
    return (
        report["name"],
        report["run"] or "all",
        block["device"],
        block["platform"]["cpu"],
        str(block["threads"]),
        seeds or "none",
        f"{block['wall_seconds']:,.1f} s",
    )
