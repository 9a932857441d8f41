"""Which scalar of what a head writes is fit to be attributed: every head, over all checkpoints."""

from __future__ import annotations

import pandas as pd

from circuit.estimates import FIXED, keys_of
from circuit.kinds.scalar_progress.settings import Settings
from circuit.measures.writes.fitness import criteria_rows, growth_parts, outcome_correlations
from circuit.measures.writes.measured import (
    SCALARS,
    Progress,
    progress_rows,
    setting,
    write_births,
)
from circuit.measures.writes.progress import measure_heads
from circuit.measuring import ROLES, Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of every scalar: levels, births, correlations, parts of growth, what is judged."""
    run, asked = OpenRun(job), job.settings
    progress = measure_heads(
        run.counted, run.theta, run.steps, run.events, run.value_ids,
        asked.competitor, asked.shuffles, asked.seed,
    )  # fmt: skip
    roles = {role: job.heads[role] for role in ROLES}
    rows = all_rows(progress, roles, asked.competitor, asked.seed)
    return run.measured(
        tables={"rows": Table(rows, "one number of one scalar of one head")},
        facts=roles,
        seeds={"shuffles": asked.seed},
        events=len(run.events),
    )


def all_rows(progress: Progress, roles: dict[str, str], competitor: str, seed: int) -> pd.DataFrame:
    """All estimates, with what a head was chosen as and how a chosen one's scalar is configured."""
    levels = progress_rows(progress)
    parts = [
        levels,
        write_births(levels, seed),
        outcome_correlations(progress, seed),
        growth_parts(progress),
        criteria_rows(progress, list(roles.values()), seed),
    ]
    rows = pd.concat(parts, ignore_index=True)
    rows.insert(1, "chosen", rows["head"].map({head: role for role, head in roles.items()}))
    told = rows["measure"] == "foreign_share"
    rows["meaning"] = rows["scalar"].where(told).map(SCALARS)
    rows.loc[told, "configuration"] = [
        setting(scalar, head, competitor)
        for head, scalar in rows.loc[told, ["head", "scalar"]].itertuples(index=False)
    ]
    keys = keys_of(rows)
    return rows.fillna(dict.fromkeys(keys, ""))[[*keys, *FIXED]]
