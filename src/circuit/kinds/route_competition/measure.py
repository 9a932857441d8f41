"""Candidate routes in one frame: strength, change, and whether training pushes them."""

import pandas as pd

from circuit.estimates import estimates, keys_of
from circuit.kinds.route_competition.settings import Settings
from circuit.measures.routes.competition import RouteFrame, run_routes
from circuit.measures.routes.ranking import early_signs, rank_routes
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """Strength, change, alignment and push of all routes, and which of them grew most."""
    run, asked = OpenRun(job), job.settings
    frame, routes = run_routes(run, run.counted, asked, job.window, run.dictionaries)
    rows = route_rows(frame, routes, asked.seed)
    return run.measured(
        {"rows": Table(rows, "one measure of one route, or of how routes relate")},
        facts={"window": list(job.window), "train_split": run.manifest.recipe.train_split},
        seeds={"exchanged answers": asked.seed},
        events=len(run.events),
        backward=frame.backward,
    )


def route_rows(frame: RouteFrame, routes: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """All estimates of a competition of routes (route, family, unit), with their roles."""
    steps = sorted(frame.values)
    first, last = frame.values[steps[0]], frame.values[steps[-1]]
    ranking = rank_routes(routes, first, last, steps[-1])
    signs = early_signs(frame.rows, ranking, routes, first, seed)
    rows = pd.concat([ranking.rows, frame.rows, signs], ignore_index=True)
    chosen = {route: role for role, route in ranking.roles.items()}
    rows.insert(1, "chosen", rows["route"].map(chosen))
    return estimates(rows.fillna(dict.fromkeys(keys_of(rows), "")))
