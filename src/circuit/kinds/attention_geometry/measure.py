"""Every head at every checkpoint: where it looks, what it reads there and what that is worth."""

import pandas as pd

from circuit.kinds.attention_geometry.settings import Settings
from circuit.measures.heads.attention import Geometry, attention_geometry
from circuit.measures.heads.directions import DIRECTION_UNITS
from circuit.measures.heads.maps import PATTERN_UNITS
from circuit.measuring import ROLES, Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Rows of all heads; the retrieval chain of the head told and of those chosen by the scan."""
    run, asked = OpenRun(job), job.settings
    chosen = {role: job.heads[role] for role in ROLES}
    name = chosen.get(asked.head, asked.head)
    chain = {name: asked.head} | {head: role for role, head in chosen.items() if head != name}
    found = attention_geometry(
        run.counted,
        run.theta,
        run.steps,
        run.events,
        run.benchmark.vocabulary,
        list(chain),
        asked.pictures,
        asked.directions,
        asked.tokens,
    )
    return run.measured(tables=tables(found, chain), facts={"head": name}, events=len(run.events))


def tables(found: Geometry, chain: dict[str, str]) -> dict[str, Table]:
    """The kind's tables, with what heads were chosen as.

    Args:
        chain: head → what it is called: the setting for the head told, else its role.
    """

    def called(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(chosen=rows["head"].map(chain).fillna(""))

    what = "one place or token on one side of one singular direction of one head"
    return {
        "rows": Table(called(found.rows), "one measure of one head on one role, or of one link"),
        "maps": Table(called(found.maps), "attention of one head from one role to another"),
        "directions_table": Table(found.directions, what, DIRECTION_UNITS),
        "patterns_table": Table(found.patterns, "attention on one position", PATTERN_UNITS),
    }
