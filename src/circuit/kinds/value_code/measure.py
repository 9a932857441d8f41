"""Where and when states tell the value to be answered, and in how many directions."""

from __future__ import annotations

from circuit.kinds.value_code.settings import Settings
from circuit.measures.states.value_code import code_reads, value_code
from circuit.measuring import Job, Measured, Table
from circuit.model.sites import stages
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of what can be read at every place, and of what removing and keeping the code does."""
    run, asked = OpenRun(job), job.settings
    programs = run.split(asked.split).head(asked.programs)
    reads = code_reads(programs, run.benchmark.vocabulary, asked.seed)
    steps, ranked = run.at(asked.checkpoints), run.at(asked.removed_at)
    every = stages(run.decoder.settings.n_layers)[:-1]
    at, removed = (
        [(site, role) for site in (every if some == "all" else some) for role in asked.roles]
        for some in (asked.stages, asked.removed)
    )
    rows, ranks = value_code(
        run.counted, run.theta, steps, reads, run.value_ids, at, removed, ranked,
        sorted(asked.ranks), asked.draws, asked.seed,
    )  # fmt: skip
    return run.measured(
        tables={
            "rows": Table(rows, "one number of one label at one place"),
            "ranks": Table(ranks, "the code removed or kept at one place", {"rank": "1"}),
        },
        facts={"last_stage": every[-1]},
        seeds={"permuted labels and other writes": asked.seed},
        events=len(reads.events),
    )
