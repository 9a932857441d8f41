"""What changed the answer, exactly, and how much of the change the route's explains."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from circuit.estimates import estimates, keys_of
from circuit.kinds.closure.settings import Settings
from circuit.measures.closure import explain, interval_changes, with_components
from circuit.measures.margin_change import (
    Changes,
    along_parameters,
    branch_rows,
    interval_rows,
    margin_changes,
    part_rows,
)
from circuit.measuring import ROLES, Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """The identities and the line integral; then R² and gains, and what is left."""
    run, asked, heads = OpenRun(job), job.settings, job.heads
    first, last = job.window
    steps = [step for step in run.steps if first <= step <= last]
    about = (run.decoder, run.theta, steps, run.events, run.value_ids)
    exact, path = margin_changes(*about), along_parameters(*about, asked.path_rule)
    changes = interval_changes(asked, run, heads, job.window, run.dictionaries)
    found = explain(asked, with_components(changes, exact), exact)
    return run.measured(
        tables=closure_tables(exact, path, found, heads),
        facts={"window": list(job.window), "winner": heads["winner"], "bottom": heads["bottom"]},
        seeds={"bootstrap": asked.seed},
    )


def closure_tables(
    exact: Changes, path: pd.DataFrame, fitted: pd.DataFrame, heads: Mapping[str, Any]
) -> dict[str, Table]:
    """The kind's tables: of both identities, of the line integral, and of the fits."""
    rows = pd.concat([part_rows(exact), branch_rows(exact), path, fitted], ignore_index=True)
    rows = estimates(rows.fillna(dict.fromkeys(keys_of(rows), "")))
    chosen = {heads[role]: role for role in reversed(ROLES)}
    rows["chosen"] = rows["head"].map(chosen).fillna("")
    intervals = interval_rows(exact, heads["winner"])
    about = "one part of a mean change over an interval"
    return {
        "rows": Table(rows, "one number of the change, or of one outcome's fit"),
        "intervals": Table(intervals, about, {"stop": "step"}),
    }
