"""QK separation of every head at every checkpoint, and the choice of winner and controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from circuit.kinds.head_scan.settings import Settings
from circuit.measures.heads.scan import (
    EVENT_UNITS,
    Scan,
    correlations,
    growth_rows,
    head_scan,
    select_heads,
)
from circuit.measuring import ROLES, Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every head and of its growth; ``heads`` is the choice that other kinds go by."""
    run, asked = OpenRun(job), job.settings
    window = job.window if asked.window else (run.steps[0], run.steps[-1])
    scan = head_scan(run.decoder, run.theta, run.steps, run.events, run.value_ids, asked.rank)
    heads = select_heads(scan.events, asked.criterion, window)
    rows = scan_rows(scan, heads)
    return run.measured(
        tables={
            "rows": Table(rows, "one measure of one head on one half of the events"),
            "events": Table(scan.events, "one criterion of one head on one event", EVENT_UNITS),
        },
        records={"heads": heads},
        facts={"window": list(window)},
    )


def scan_rows(scan: Scan, heads: Mapping[str, Any]) -> pd.DataFrame:
    """All estimates of a scan, with what its heads were chosen as."""
    parts = [scan.rows, growth_rows(scan.events, heads), correlations(scan.rows)]
    rows = pd.concat(parts, ignore_index=True).fillna({"of": ""})
    rows.insert(1, "chosen", rows["head"].map({heads[role]: role for role in ROLES}).fillna(""))
    return rows
