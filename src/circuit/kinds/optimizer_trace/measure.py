"""The optimizer step by step, gathered from the replayed stretches."""

from __future__ import annotations

import pandas as pd

from circuit.artifacts import read_rows
from circuit.attribution.step_rows import trace_rows
from circuit.attribution.tables import UNITS, gather
from circuit.config.terms import VERIFICATION_UNITS
from circuit.kinds.optimizer_trace.settings import Settings
from circuit.measuring import Job, Measured, Table


def measure(job: Job[Settings]) -> Measured:
    """Every step as it was, means over neighbouring steps, and what the window comes to."""
    raw = {
        "trace": "one replayed training step",
        "batches": "one program of one step's batch",
        "top_parameters": "one parameter tensor of one step",
    }
    found = {name: gather(job.given[name], job.facts.analysis) for name in raw}
    verified = pd.concat(map(read_rows, job.given["verification"]), ignore_index=True)
    verified = verified[list(VERIFICATION_UNITS)]
    rows = trace_rows(found["trace"], found["top_parameters"], verified)
    tables = {name: Table(found[name], what, UNITS[name]) for name, what in raw.items()}
    return Measured(
        {"rows": Table(rows, "one measure of some steps"), **tables},
        facts={
            "steps": len(found["trace"]),
            "checkpoints": len(verified),
            "exact": int((verified["max_abs_difference"] == 0).sum()),
            "first": int(found["trace"]["step"].min()),
            "last": int(found["trace"]["step"].max()),
        },
    )
