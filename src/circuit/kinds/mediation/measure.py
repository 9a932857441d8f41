"""Path effects of all sources at some checkpoints."""

from __future__ import annotations

from circuit.kinds.mediation.settings import Settings
from circuit.measures.paths.mediation import mediation
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every source, and of every path from it, at the checkpoints asked for."""
    run, asked = OpenRun(job), job.settings
    steps = run.at(asked.checkpoints)
    rows = mediation(
        run.counted, run.theta, steps, run.events, run.value_ids, asked.ablation, asked.seed
    )
    return run.measured(
        tables={"rows": Table(rows, "one number of one source, or of one path from it")},
        seeds={"cycle of events and random changes": asked.seed},
        events=len(run.events),
    )
