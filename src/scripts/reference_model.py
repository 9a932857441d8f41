"""Choose the study's reference model over its completed runs."""

import pandas as pd

from circuit.artifacts import read_rows, write_json, write_rows
from circuit.job import job
from circuit.kinds.reference_model.settings import Settings
from circuit.measures.sweep.choice import CANDIDATE_UNITS, candidates, choose
from circuit.reports import accounts_behaviour
from circuit.reports.publish import publish

with job(snakemake, torch=False) as facts:
    p, out = snakemake.params, snakemake.output
    settings = Settings.model_validate_json(facts.settings)
    rows = pd.concat(
        [
            candidates(run, read_rows(path), settings.validation_split, settings.heldout_split)
            for run, path in zip(p.runs, snakemake.input.sweeps, strict=True)
        ],
        ignore_index=True,
    )
    choice = choose(rows, settings.floor)

    write_rows(out.rows, rows, CANDIDATE_UNITS, "one checkpoint of one run")
    write_json(out.choice, choice)
    publish(accounts_behaviour.reference_choice(rows, choice), facts)
