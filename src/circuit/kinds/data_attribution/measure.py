"""Which training data built the growth of scalars, and through which memory."""

from __future__ import annotations

import pandas as pd

from circuit.attribution.data_labels import asked_labels
from circuit.attribution.first_order import first_order_along, pushed_programs
from circuit.attribution.growth import asked_scalars
from circuit.attribution.removal import removal_oracle
from circuit.attribution.window import ALSO, FIRST, Window, group_rows
from circuit.kinds.attributed import asked, attribution_tables
from circuit.kinds.data_attribution.settings import Settings
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Estimates of the window by group of data, first-order pushes, and the removal of groups."""
    run, settings = OpenRun(job), job.settings
    window = Window(job.given, job.facts.analysis, settings, job.window, job.heads)
    wanted = asked_scalars(settings, run, job.heads, run.dictionaries)
    where = (wanted.scalars, wanted.events, run.value_ids)
    labels = asked_labels(settings, run)
    programs = pushed_programs(
        run.split(run.manifest.recipe.train_split),
        run.benchmark.vocabulary,
        settings.programs,
        settings.seed,
    )
    steps = [step for step in run.steps if window.first <= step <= window.last]
    pushes = first_order_along(run.decoder, run.theta, steps, programs, labels, *where)
    state = run.manifest.state(window.first)
    removal = removal_oracle(run.trajectory, state, labels, settings.removal_shares, *where)
    targets = pushes[pushes["measure"] == "share_of_targets"]
    sums = window.sums()
    by_group = group_rows(sums, settings.path_rule, targets, settings.data == "sample")
    rows = pd.concat([sums, window.labelled(by_group, step=window.last)])
    return run.measured(
        tables={
            **attribution_tables(window, rows, window.intervals()),
            "first_order": Table(window.labelled(pushes), "one measure of one data group"),
            "removal": Table(
                removal_rows(window, removal), "one share of one group out", {"share": "share"}
            ),
        },
        facts={"asked": asked(settings.scalars)},
        seeds={"programs and buckets": settings.seed},
    )


def removal_rows(window: Window, removal: pd.DataFrame) -> pd.DataFrame:
    """The removal, scalar by scalar; of what is of none, the smallest share is asked first."""
    rows = window.labelled(removal)
    order = (rows["share"] == rows["share"].min()).map({True: FIRST, False: ALSO})
    rows = rows.assign(asked=rows["asked"].where(rows["scalar"] != "", order))
    scalars = {name: place for place, name in enumerate(window.labels["scalar"])}
    return rows.sort_values("scalar", key=lambda names: names.map(scalars), kind="stable")
