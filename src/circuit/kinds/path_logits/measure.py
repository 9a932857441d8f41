"""The correct logit and its margins as sums over paths, and direct attribution against ablation."""

from __future__ import annotations

from circuit.kinds.path_logits.settings import Settings
from circuit.measures.paths.logits import path_logits
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every path, stage and component, at the checkpoints asked for."""
    run, asked = OpenRun(job), job.settings
    rows = path_logits(
        run.counted,
        run.theta,
        run.steps,
        run.events,
        run.value_ids,
        run.at(asked.second_order),
        asked.top,
        asked.ablation,
    )
    return run.measured(
        tables={"rows": Table(rows, "one measure of one path, stage or component to one target")},
        events=len(run.events),
    )
