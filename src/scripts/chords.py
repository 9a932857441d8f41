"""Attribute the differences of consecutive checkpoints: no step is replayed."""

import json
from itertools import pairwise
from pathlib import Path

from tqdm import tqdm

from circuit.artifacts import read_json, write_rows
from circuit.attribution.growth import asked_scalars, growth_of
from circuit.attribution.tables import CHORDS
from circuit.config.attribution import Requested
from circuit.job import job
from circuit.scalars.dictionary_files import load_dictionaries
from circuit.training.records import RunRecord

with job(snakemake) as facts:
    out = snakemake.output
    request = json.loads(snakemake.params.request)
    settings = Requested.of(request)
    record = RunRecord(snakemake.input.manifest, Path(snakemake.input.metadata).parent)
    named, run = snakemake.input.get("dictionaries", []), record.manifest.trajectory
    dictionaries = load_dictionaries(settings.model_dump(), named, run)
    selection = read_json(snakemake.input.heads)
    growth = growth_of(settings, record, asked_scalars(settings, record, selection, dictionaries))
    first, last = settings.window
    steps = [step for step in record.manifest.steps if first <= step <= last]
    before = record.theta(first)
    for interval in tqdm([*pairwise(steps)], desc="chords", unit="interval", mininterval=15):
        after = record.theta(interval[1])
        growth.attribute(interval, before, after, (after.double() - before.double())[None])
        before = after

    tables = {facts.analysis: growth.tables()}
    for output in CHORDS:
        rows = output.collect(tables, {facts.analysis: request["kind"]})
        write_rows(out[output.name], rows, output.units, output.description)
