"""The optimizer step by step, gathered from the replayed stretches."""

import pandas as pd

from circuit.artifacts import read_rows, write_rows
from circuit.attribution.tables import UNITS, gather
from circuit.config.terms import VERIFICATION_UNITS
from circuit.job import job
from circuit.reports import accounts_optimizer, figures_training
from circuit.reports.publish import publish

with job(snakemake, torch=False) as facts:
    out = snakemake.output
    rows = gather(snakemake.input.trace, facts.analysis)
    batches = gather(snakemake.input.batches, facts.analysis)
    top = gather(snakemake.input.top_parameters, facts.analysis)
    verified = pd.concat(map(read_rows, snakemake.input.verification), ignore_index=True)

    write_rows(out.rows, rows, UNITS["trace"], "one replayed training step")
    write_rows(out.batches, batches, UNITS["batches"], "one program of one step's batch")
    write_rows(out.top_parameters, top, UNITS["top_parameters"], "one parameter tensor of one step")
    figures_training.trace(rows, out.trace)
    figures_training.components(rows, out.components)
    publish(accounts_optimizer.trace(rows, top, verified[list(VERIFICATION_UNITS)]), facts)
