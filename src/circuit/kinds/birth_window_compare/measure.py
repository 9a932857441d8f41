"""What carries a window's change of behaviour: parts of one end put into the other."""

from __future__ import annotations

from circuit.experiments.window_compare import EVENT_UNITS, compare_ends
from circuit.kinds.birth_window_compare.settings import Settings
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every part in both directions, and of the behaviour at both ends."""
    run, asked = OpenRun(job), job.settings
    thetas = run.theta(job.window[0]), run.theta(job.window[1])
    rows, events = compare_ends(
        run.counted, thetas, job.window, run.events, run.value_ids,
        asked.roles, asked.groups, asked.seed,
    )  # fmt: skip
    return run.measured(
        tables={
            "rows": Table(rows, "one part put into the other end, on one half of the events"),
            "events": Table(events, "one measure of one end on one event", EVENT_UNITS),
        },
        facts={"window": list(job.window)},
        seeds={"shuffled changes": asked.seed},
        events=len(run.events),
    )
