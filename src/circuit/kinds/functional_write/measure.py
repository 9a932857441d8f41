"""What a component's write does to a later state, over training, and through which part."""

from circuit.kinds.functional_write.settings import Settings
from circuit.measures.writes.functional import run_writes
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every write: effects, positions, subspaces, answer values and landmarks."""
    run, asked = OpenRun(job), job.settings
    rows = run_writes(run, run.counted, asked, job.heads)
    return run.measured(
        tables={"rows": Table(rows, "one number of one write at one checkpoint")},
        facts={"bottom": job.heads["bottom"]},
        seeds={"controls": asked.seed},
        events=len(run.events),
    )
