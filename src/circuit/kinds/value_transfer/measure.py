"""Whether a linear map carries the value to where it is answered, and what that rescues."""

from __future__ import annotations

from circuit.kinds.value_transfer.settings import Settings
from circuit.measures.states.value_code import code_reads
from circuit.measures.states.value_transfer import value_transfer
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every map, with its nulls, at the checkpoints asked for."""
    run, asked = OpenRun(job), job.settings
    programs = run.split(asked.split).head(asked.programs)
    reads = code_reads(programs, run.benchmark.vocabulary, asked.seed)
    steps = run.at(asked.checkpoints)
    rows = value_transfer(
        run.counted, run.theta, steps, reads, run.value_ids, asked.source, asked.target,
        asked.rank, asked.outcomes, asked.outcome, asked.draws, asked.seed,
    )  # fmt: skip
    return run.measured(
        tables={"rows": Table(rows, "one number of one map")},
        seeds={"other writes and drawn nulls": asked.seed},
        events=len(reads.events),
    )
