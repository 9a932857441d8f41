"""Measure an analysis: its kind's ``measure.py`` makes tables of the artifacts that it looks at."""

from importlib import import_module

from circuit.job import job
from circuit.measuring import measure

# The rule's parameters hold the fingerprints of what is loaded here.
home = f"circuit.kinds.{snakemake.params.kind.removeprefix('kind=')}"
settings = import_module(f"{home}.settings").Settings
with job(snakemake, torch=settings.torch) as facts:
    measure(import_module(f"{home}.measure"), settings, facts)
