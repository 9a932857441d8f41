"""Choose the study's reference model over its completed runs."""

import pandas as pd

from circuit.artifacts import read_rows
from circuit.kinds.reference_model.settings import Settings
from circuit.measures.sweep.choice import candidate_rows, candidates, choose
from circuit.measuring import Job, Measured, Table


def measure(job: Job[Settings]) -> Measured:
    """Estimates of every candidate; ``choice`` is the checkpoint that the policy takes."""
    asked = job.settings
    every = pd.concat(
        [
            candidates(run, read_rows(path), asked.validation_split, asked.heldout_split)
            for run, path in zip(job.facts.runs, job.given["sweep"], strict=True)
        ],
        ignore_index=True,
    )
    rows = candidate_rows(every, asked.floor)
    return Measured(
        {"rows": Table(rows, "one accuracy of one checkpoint of one run")},
        records={"choice": choose(every, asked.floor)},
        facts={"candidates": int(rows.loc[rows["place"] != "", "place"].nunique())},
    )
