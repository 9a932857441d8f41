"""Replay a stretch of a run once, for every analysis that wants to look at its steps."""

import json
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from circuit.artifacts import read_json, write_rows
from circuit.attribution.observers import observers
from circuit.attribution.tables import OUTPUTS
from circuit.config.terms import VERIFICATION_UNITS
from circuit.job import job
from circuit.scalars.dictionary_files import load_dictionaries
from circuit.training.records import RunRecord
from circuit.training.replay import replay

with job(snakemake):
    p, out = snakemake.params, snakemake.output
    requests = json.loads(p.requests)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    selections = {
        name: read_json(path) for name, path in zip(p.heads, snakemake.input.heads, strict=True)
    }
    start, stop = int(snakemake.wildcards.start), int(snakemake.wildcards.stop)
    named, run = snakemake.input.get("dictionaries", []), record.manifest.trajectory
    dictionaries = load_dictionaries(requests, named, run)
    watching = observers(requests, record, selections, start, dictionaries)
    since = min(observer.since for observer in watching.values())
    begin = max(step for step in record.manifest.steps if step <= since)
    verified = []
    steps = replay(record.trajectory, record.manifest, begin, stop, verified.append)
    for step in tqdm(steps, total=stop - begin, desc="replay", unit="step", mininterval=15):
        for observer in watching.values():
            if step.step >= start:
                observer.see(step)
            elif step.step >= observer.since:
                observer.remember(step)

    table = pd.DataFrame([{**v.__dict__, "exact": v.exact} for v in verified if v.step > start])
    write_rows(
        out.verification, table, VERIFICATION_UNITS, "replay against one recorded checkpoint"
    )
    tables = {name: observer.tables() for name, observer in watching.items()}
    kinds = {name: request["kind"] for name, request in requests.items()}
    for output in OUTPUTS:
        rows = output.collect(tables, kinds)
        write_rows(out[output.name], rows, output.units, output.description)
