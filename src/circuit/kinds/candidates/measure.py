"""Candidates in one frame: what each did and when, what built it, whether training pushes it."""

import pandas as pd

from circuit.estimates import estimates, keys_of
from circuit.kinds.candidates.settings import Settings
from circuit.measures.candidates.follow import Followed, follow_run
from circuit.measures.candidates.phases import summarise
from circuit.measures.candidates.ranking import early_signs, rank_candidates
from circuit.measuring import Job, Measured, Table
from circuit.opened import OpenRun


def measure(job: Job[Settings]) -> Measured:
    """What all candidates did, how that hangs together with updates and loss, and who grew most."""
    run, asked = OpenRun(job), job.settings
    frame, candidates = follow_run(run, run.counted, asked, job.window, run.dictionaries)
    rows = candidate_rows(frame, candidates, asked.seed)
    return run.measured(
        {"rows": Table(rows, "one measure of one candidate, or of how candidates relate")},
        facts={
            "window": list(job.window),
            "train_split": run.manifest.recipe.train_split,
            "gradient_steps": rows.loc[rows["measure"] == "alignment", "step"].nunique(),
        },
        seeds={"exchanged answers": asked.seed},
        events=len(run.events),
        backward=frame.backward,
    )


def candidate_rows(frame: Followed, candidates: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """All estimates about some candidates (candidate, group, unit), with their roles."""
    steps = sorted(frame.values)
    first, last = frame.values[steps[0]], frame.values[steps[-1]]
    ranking = rank_candidates(candidates, first, last, steps[-1])
    signs = early_signs(frame.rows, ranking, candidates, first, seed)
    when = summarise(candidates, frame.values)
    rows = pd.concat([ranking.rows, frame.rows, signs, when], ignore_index=True)
    chosen = {candidate: role for role, candidate in ranking.roles.items()}
    rows.insert(1, "chosen", rows["candidate"].map(chosen))
    return estimates(rows.fillna(dict.fromkeys(keys_of(rows), "")))
