"""How much of behaviour's change the change of route scalars explains."""

from circuit.kinds.closure.settings import Settings
from circuit.measures.closure import EVENT_UNITS, explain, interval_changes
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """R² and coefficients of every outcome, its mean change per interval, and every event's."""
    run, asked = OpenRun(job), job.settings
    heads = job.heads
    changes = interval_changes(asked, run, heads, job.window, run.dictionaries)
    found = explain(asked, changes)
    return run.measured(
        tables={
            "rows": Table(found.rows, "one number of one outcome's fit"),
            "intervals": Table(
                found.intervals, "one outcome's mean change over an interval", {"stop": "step"}
            ),
            "events": Table(
                found.events, "one event's change over one checkpoint interval", EVENT_UNITS
            ),
        },
        facts={"window": list(job.window), "winner": heads["winner"], "bottom": heads["bottom"]},
        seeds={"bootstrap": asked.seed},
    )
