"""Make a run: train it, or go on, and publish it; a view points at the states of another run."""

from contextlib import suppress
from dataclasses import replace
from os.path import relpath
from pathlib import Path

from circuit.artifacts import digest_json, read_rows, write_rows
from circuit.config.recipe import RecipeSettings
from circuit.config.terms import METRIC_UNITS
from circuit.errors import CircuitError, ConfigError
from circuit.job import code_of, job
from circuit.model.transformer import Decoder
from circuit.task.events import token_matrix
from circuit.task.store import load_metadata, load_split
from circuit.training.batches import BatchStream
from circuit.training.checkpoints import Manifest, checkpoint_name
from circuit.training.loop import adopt, attempt, publish, train
from circuit.training.trajectory import Trajectory, environment, trajectory_identity

p, given, target = snakemake.params, snakemake.input, Path(snakemake.output.manifest)
recipe = RecipeSettings.model_validate_json(p.recipe)


def publish_all(manifest, metrics):
    """Metrics, then the manifest that vouches for everything."""
    write_rows(snakemake.output.metrics, metrics, METRIC_UNITS, "one training step")
    manifest.write(target)


def trained():
    """Train what neither an earlier attempt nor the published run has."""
    if snakemake.threads != recipe.threads:  # Snakemake gives no more than it has
        raise ConfigError(
            what=f"run {p.run!r} trains with {recipe.threads} threads on {snakemake.threads} cores",
            where="threads of its recipe",
            expected="a core for each, since the run's bits depend on their number",
            do="give Snakemake more --cores, or lower threads",
        )
    seed = int(p.seed.removeprefix("seed="))
    benchmark = load_metadata(given.metadata)
    where = environment(snakemake.threads)
    identity = trajectory_identity(recipe, seed, benchmark.trained_on(recipe.train_split), where)
    tokens, lengths = token_matrix(load_split(given.train))
    decoder = Decoder(recipe.model, benchmark.vocabulary.size)
    stream = BatchStream(tokens, lengths, recipe.batch_size, seed)
    trajectory = Trajectory(decoder, recipe, seed, stream, identity)

    # Unfinished work lies where Snakemake does not delete it; another place, recipe, seed,
    # benchmark, environment or code has another folder.
    code = digest_json(sorted(code_of(p)))
    key = digest_json({"place": str(target), "is": identity, "recipe": p.recipe, "code": code})
    with attempt(Path(p.work) / key[:16]) as work:
        with suppress(CircuitError):  # nothing is published, or nothing that can be gone on from
            published = Manifest.read(target)
            if (published.trajectory, published.code) == (identity, code):
                adopt(trajectory, work, published, read_rows(snakemake.output.metrics))
        ledger, metrics = train(trajectory, work)
        files = {step: Path("checkpoints") / checkpoint_name(step) for step in ledger}
        parts = {target.parent / file: work / checkpoint_name(s) for s, file in files.items()}
        publish(work, parts)
        manifest = Manifest(
            run=p.run,
            recipe=recipe,
            seed=seed,
            benchmark=p.benchmark,
            benchmark_digest=benchmark.digest,
            vocab_size=benchmark.vocabulary.size,
            environment=where,
            trajectory=identity,
            code=code,
            checkpoints={s: {"file": str(files[s]), "sha256": d} for s, d in ledger.items()},
        )
        publish_all(manifest, metrics)


def borrowed():
    """Point at the states of the run that this one is a view of."""
    host = Manifest.read(Path(given.manifest))
    checkpoints = {
        step: {
            "file": relpath(host.folder / host.checkpoints[step]["file"], target.parent),
            "sha256": host.checkpoints[step]["sha256"],
        }
        for step in recipe.checkpoint_steps
    }
    metrics = read_rows(given.metrics)
    metrics = metrics[metrics["step"] < recipe.steps].reset_index(drop=True)
    publish_all(replace(host, run=p.run, recipe=recipe, checkpoints=checkpoints), metrics)


with job(snakemake):
    borrowed() if given.get("manifest") else trained()
