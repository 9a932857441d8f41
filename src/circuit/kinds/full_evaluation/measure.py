"""Every program of every split at one checkpoint."""

from __future__ import annotations

import pandas as pd

from circuit.estimates import estimates
from circuit.kinds.full_evaluation.settings import Settings
from circuit.measures.sweep.behaviour import (
    MEASURES,
    SplitReads,
    measured_reads,
    read_pass,
    summarise,
    with_guess,
)
from circuit.measures.sweep.curves import best_step
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Estimates of whole splits; ``best_checkpoint`` says where accuracy chose the checkpoint."""
    run, asked = OpenRun(job), job.settings
    step = asked.checkpoint
    if step == "best":
        step = best_step(job.table("rows"), asked.best_by)
    elif step == "final":
        step = run.steps[-1]
    splits = {name: SplitReads(run.split(name), run.benchmark.vocabulary) for name in asked.splits}
    theta = run.theta(step)
    parts = [
        summarise(measured_reads(split, read_pass(run.decoder, theta, split).logits)).assign(
            split=name
        )
        for name, split in splits.items()
    ]
    rows = estimates(pd.concat(parts, ignore_index=True), unit=MEASURES, step=step)
    rows = with_guess(rows, "accuracy", len(run.value_ids))
    if asked.checkpoint == "best":
        best = {"slice": ["all"], "slice_value": "", "split": asked.best_by, "mean": step}
        found = estimates(pd.DataFrame(best), unit="step", step=step, measure="best_checkpoint")
        rows = pd.concat([rows, found], ignore_index=True)
    return run.measured(
        {"rows": Table(rows, "one measure of one split and slice")}, facts={"step": step}
    )
