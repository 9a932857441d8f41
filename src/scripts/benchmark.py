"""Build a benchmark: splits, audit, probe set, pairs."""

from pathlib import Path

from circuit.config.benchmark import BenchmarkSettings
from circuit.job import job
from circuit.task.benchmark import build_benchmark
from circuit.task.publish import write_benchmark

with job(snakemake, torch=False):
    settings = BenchmarkSettings.model_validate_json(snakemake.params.settings)
    write_benchmark(Path(snakemake.output.metadata).parent, build_benchmark(settings))
