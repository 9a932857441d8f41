"""Draw and tell an analysis: its kind's ``view.py`` makes figures and a report of its tables."""

from importlib import import_module

from circuit.job import job
from circuit.reports.viewing import view

with job(snakemake, torch=False) as facts:
    # The rule's parameters hold the fingerprints of what is loaded here.
    view(import_module(f"circuit.kinds.{facts.kind}.view"), facts)
