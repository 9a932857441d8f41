"""A run that passes through the states of another: its manifest points at the other's files."""

from dataclasses import replace
from os.path import relpath
from pathlib import Path

from circuit.artifacts import read_rows, write_rows
from circuit.config.recipe import RecipeSettings
from circuit.config.terms import METRIC_UNITS
from circuit.job import job
from circuit.training.checkpoints import Manifest

with job(snakemake):
    host = Manifest.read(Path(snakemake.input.manifest))
    recipe = RecipeSettings.model_validate_json(snakemake.params.recipe)
    target = Path(snakemake.output.manifest)
    checkpoints = {
        step: {
            "file": relpath(host.folder / host.checkpoints[step]["file"], target.parent),
            "sha256": host.checkpoints[step]["sha256"],
        }
        for step in recipe.checkpoint_steps
    }
    metrics = read_rows(snakemake.input.metrics)
    metrics = metrics[metrics["step"] < recipe.steps].reset_index(drop=True)
    write_rows(snakemake.output.metrics, metrics, METRIC_UNITS, "one training step")
    replace(host, run=snakemake.params.run, recipe=recipe, checkpoints=checkpoints).write(target)
