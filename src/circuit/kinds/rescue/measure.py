"""What the answer lacks without a source, and which clean states and writes bring it back."""

from __future__ import annotations

from circuit.kinds.rescue.settings import Code, Settings
from circuit.measures.paths.rescue import Asked, Source, rescue
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every repair after every source's removal, at the checkpoints asked for."""
    run, asked = OpenRun(job), job.settings
    steps = run.at(asked.checkpoints)
    sources = {
        name: Source((), one.subspace, one.stage, one.role)
        if isinstance(one, Code)
        else Source(tuple(map(job.named, one)))
        for name, one in asked.sources.items()
    }
    again = Asked(asked.roles, asked.subspaces, asked.groups, asked.draws, asked.orders, asked.seed)
    rows = rescue(
        run.counted, run.theta, steps, run.events, run.value_ids, sources, asked.ablations, again
    )
    return run.measured(
        tables={"rows": Table(rows, "one repair after one source's removal")},
        seeds={"cycle of events, other events, random sets and orders": asked.seed},
        events=len(run.events),
    )
