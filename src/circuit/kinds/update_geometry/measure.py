"""What a window's updates sum to in every weight matrix, replayed."""

from __future__ import annotations

import pandas as pd
from tqdm import tqdm

from circuit.estimates import estimates
from circuit.kinds.update_geometry.settings import Settings
from circuit.measures.weights.updates import UpdateSums, update_geometry
from circuit.measuring import ROLES, Job, Measured, Table
from circuit.opened import OpenRun
from circuit.training.replay import Verification, replay


def measure(job: Job[Settings]) -> Measured:
    """Sums of every component over the window; the replay verifies itself at checkpoints."""
    run, asked, (first, last) = OpenRun(job), job.settings, job.window
    sums, verified = UpdateSums(run.decoder), list[Verification]()
    steps = replay(run.trajectory, run.manifest, first, last, verified.append)
    for step in tqdm(steps, total=last - first, desc="replay", unit="step", mininterval=15):
        sums.see(step)
    before, after = (run.theta(step).double() for step in (first, last))
    chosen = {job.heads[role]: role for role in ROLES}
    rows = update_geometry(
        sums, (before + after) / 2, run.theta(run.steps[-1]), chosen,
        (asked.top, asked.draws, asked.seed), last,
    )  # fmt: skip
    left = float((after - before - sums.vectors.sum(0)).norm())
    whole = {"matrix": "", "component": "", "chosen": "", "part": "", "other": "", "side": ""}
    missed = estimates(
        pd.DataFrame([{**whole, "measure": "left_over", "mean": left}]),
        "parameter unit",
        step=last,
    )
    return run.measured(
        {"rows": Table(pd.concat([rows, missed]), "one number of one matrix' summed update")},
        facts={
            "window": [first, last],
            "checkpoints": len(verified),
            "exact": sum(one.exact for one in verified),
        },
        seeds={"random updates": asked.seed},
    )
