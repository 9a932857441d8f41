"""Stretches of a run replayed for some analyses, as the workflow's jobs do it, into files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from circuit.artifacts import write_rows
from circuit.attribution.observers import observers
from circuit.attribution.tables import OUTPUTS
from circuit.training.records import RunRecord
from circuit.training.replay import replay

Requests = Mapping[str, dict[str, Any]]
SELECTIONS = {"scan": {"winner": "L1H0", "runner_up": "L0H0", "bottom": "L1H1"}}


def replay_stretch(
    manifest: Path, data: Path, requests: Requests, stretch: tuple[int, int], folder: Path
) -> dict[str, Path]:
    """Replay one stretch and write every output, by name; a job of its own could do the same."""
    torch.set_num_threads(1)
    record = RunRecord(manifest, data)
    start, stop = stretch
    watching = observers(requests, record, SELECTIONS, start, {})
    since = min(observer.since for observer in watching.values())
    begin = max(step for step in record.manifest.steps if step <= since)
    for step in replay(record.trajectory, record.manifest, begin, stop, lambda _: None):
        for observer in watching.values():
            if step.step >= start:
                observer.see(step)
            elif step.step >= observer.since:
                observer.remember(step)
    tables = {name: observer.tables() for name, observer in watching.items()}
    kinds = {name: request["kind"] for name, request in requests.items()}
    folder.mkdir(parents=True, exist_ok=True)
    paths = {output.name: folder / f"{output.name}.parquet" for output in OUTPUTS}
    for output in OUTPUTS:
        write_rows(
            paths[output.name], output.collect(tables, kinds), output.units, output.description
        )
    return paths
