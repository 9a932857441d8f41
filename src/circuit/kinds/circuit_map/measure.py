"""Nodes and edges of the circuit at every checkpoint of a mediation analysis."""

from __future__ import annotations

from circuit.artifacts import read_rows
from circuit.kinds.circuit_map.settings import Settings
from circuit.measures.paths.circuit_map import EDGE, NODE, circuit_map, circuit_record
from circuit.measuring import Job, Measured, Table


def measure(job: Job[Settings]) -> Measured:
    """Rows of every node and edge with controls; ``circuit.json`` with their verdicts."""
    rows = circuit_map(read_rows(job.given["rows"]))
    circuit = circuit_record(rows)
    last = circuit["checkpoints"][-1]
    return Measured(
        {"rows": Table(rows, "one number of one node or edge at one checkpoint")},
        records={"circuit": circuit},
        facts={NODE: len(last["nodes"]), EDGE: len(last["edges"])},
    )
