"""What components do to the answer: by themselves, through others, and together."""

from __future__ import annotations

from circuit.kinds.component_effects.settings import Settings
from circuit.measures.paths.component_effects import component_effects
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every part, alone and together with others, at the checkpoints asked for."""
    run, asked = OpenRun(job), job.settings
    steps = run.at(asked.checkpoints)
    rows = component_effects(
        run.counted, run.theta, steps, run.events, run.value_ids,
        asked.neurons, asked.groups, asked.draws, asked.seed,
    )  # fmt: skip
    return run.measured(
        tables={"rows": Table(rows, "one number of one part, or of several together")},
        seeds={"cycle of events and random sets": asked.seed},
        events=len(run.events),
    )
