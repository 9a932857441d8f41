"""The study's page: one self-contained file out of every analysis' report."""

from pathlib import Path

from circuit.artifacts import read_json
from circuit.job import job
from circuit.reports.document import read_report
from circuit.reports.page import write_page

with job(snakemake, torch=False) as facts:
    reports = [(Path(path).parent, read_report(path)) for path in snakemake.input.reports]
    audit = read_json(snakemake.input.audit, ("passed", "checks", "pairs"))
    write_page(
        snakemake.output.page,
        study=facts.study,
        title=snakemake.params.title.removeprefix("title="),
        focus=snakemake.params.focus.removeprefix("focus="),
        reports=reports,
        audit=(Path(snakemake.input.audit).parent, audit),
    )
