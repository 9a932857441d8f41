"""The route's growth and its component shares over seeds."""

import pandas as pd

from circuit.artifacts import read_json, read_rows
from circuit.estimates import Whole
from circuit.kinds.cross_seed.settings import Settings
from circuit.measures.replication.seeds import SeedResult, compare_seeds
from circuit.measuring import Job, Measured, Table


def measure(job: Job[Settings]) -> Measured:
    """Every run's growth, shares and birth, and their means over runs."""
    given = (job.given[name] for name in ("manifests", "scan", "attribution", "sweep"))
    results = [
        SeedResult(
            run,
            read_json(manifest)["seed"],
            read_rows(scan),
            _growth(read_rows(attribution), job.settings.scalar),
            _birth(read_rows(sweep)),
        )
        for run, manifest, scan, attribution, sweep in zip(job.facts.runs, *given, strict=True)
    ]
    rows = compare_seeds(results, job.settings.seed)
    winners = rows.loc[(rows["measure"] == "lead") & (rows["head"] != ""), "head"]
    return Measured(
        {"rows": Table(rows, "one measure of one run, or its mean over runs")},
        facts={"winners": list(winners)},
        seeds={"bootstrap": job.settings.seed},
    )


def _growth(rows: pd.DataFrame, scalar: str) -> Whole:
    """A scalar's growth over the window, and everything that is booked of it."""
    mine = rows[(rows["scalar"] == scalar) & (rows["against"] == "")].set_index("measure")
    parts = mine.loc[["contribution"]]
    # The main path rule comes first; what the update's components give together is no part.
    parts = parts[parts["path_rule"] == parts["path_rule"].iloc[0]]
    parts = parts[parts["component"] != "whole"].set_index("component")["mean"]
    return Whole(float(mine.loc["growth", "mean"]), parts, f"attributed growth of {scalar}")


def _birth(sweep: pd.DataFrame) -> int | None:
    """Step from which on the behaviour is there, on the sweep's first split."""
    step = float(sweep.loc[sweep["measure"] == "birth", "mean"].iloc[0])
    return None if pd.isna(step) else int(step)
