"""What every node and edge of the model adds to the answer, at every checkpoint."""

from __future__ import annotations

from circuit.kinds.circuit_map.settings import Settings
from circuit.measures.paths.circuit_map import EDGE, NODE, circuit_map, circuit_record
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every node and edge with control and excess; ``circuit.json`` with their verdicts."""
    run = OpenRun(job)
    rows = circuit_map(
        run.counted, run.theta, run.steps, run.events, run.value_ids, job.settings.ablation
    )
    circuit = circuit_record(rows)
    last = circuit["checkpoints"][-1]
    return run.measured(
        {"rows": Table(rows, "one number of one node or edge at one checkpoint")},
        records={"circuit": circuit},
        facts={NODE: len(last["nodes"]), EDGE: len(last["edges"])},
        events=len(run.events),
    )
