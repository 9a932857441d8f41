"""How examples push on each other: inner products of single reads' gradients, by relation."""

from __future__ import annotations

from circuit.artifacts import write_tensors
from circuit.attribution.example_reads import READ_UNITS, run_examples
from circuit.kinds.example_gradients.settings import Settings
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Estimates by relation and by pair of groups; every read, and all inner products."""
    run, asked = OpenRun(job), job.settings
    found = run_examples(run, run.counted, asked, job.heads)
    units = READ_UNITS | {f"alignment_{name}": "1" for name in asked.routes}
    pairs = {"pairs": "1"}
    return run.measured(
        tables={
            "rows": Table(found.rows, "one measure of one relation at one checkpoint", pairs),
            "conflicts": Table(found.conflicts, "two groups at one checkpoint", pairs),
            "reads_table": Table(found.reads, "one read at one checkpoint", units),
        },
        files={"products": lambda path: write_tensors(path, found.tensors)},
        facts={
            "routes": list(asked.routes),
            "where": f"gradients in {', '.join(asked.groups)} alone" if asked.groups else "",
        },
        seeds={"reads, bootstrap, shuffles": asked.seed},
        events=int(found.rows["count"].max()),
        backward=found.backward,
    )
