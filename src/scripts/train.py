"""Train a run, or resume it; then publish its checkpoints, metrics and manifest."""

from pathlib import Path
from shutil import rmtree

from circuit.artifacts import digest_json, write_rows
from circuit.config.recipe import RecipeSettings
from circuit.config.terms import METRIC_UNITS
from circuit.job import code_of, job
from circuit.model.transformer import Decoder
from circuit.task.events import token_matrix
from circuit.task.store import load_metadata, load_split
from circuit.training.batches import BatchStream
from circuit.training.checkpoints import Manifest, checkpoint_name
from circuit.training.loop import publish, train
from circuit.training.trajectory import Trajectory, environment, trajectory_identity

with job(snakemake):
    p = snakemake.params
    recipe = RecipeSettings.model_validate_json(p.recipe)
    seed = int(p.seed.removeprefix("seed="))
    benchmark = load_metadata(snakemake.input.metadata)
    where = environment(snakemake.threads)
    identity = trajectory_identity(recipe, seed, benchmark.digest, where)
    tokens, lengths = token_matrix(load_split(snakemake.input.train))
    decoder = Decoder(recipe.model, benchmark.vocabulary.size)
    stream = BatchStream(tokens, lengths, recipe.batch_size, seed)
    trajectory = Trajectory(decoder, recipe, seed, stream, identity)

    # Unfinished work lies where Snakemake does not delete it; another place, recipe, seed,
    # benchmark, environment or code has another folder.
    place = snakemake.output.manifest
    key = digest_json(
        {"place": place, "identity": identity, "recipe": p.recipe, "code": sorted(code_of(p))}
    )
    work = Path(p.work) / key[:16]
    ledger, metrics = train(trajectory, work)

    folder = Path(snakemake.output.manifest).parent
    files = {step: Path("checkpoints") / checkpoint_name(step) for step in ledger}
    publish(work, {folder / file: work / checkpoint_name(s) for s, file in files.items()})
    write_rows(snakemake.output.metrics, metrics, METRIC_UNITS, "one training step")
    Manifest(
        run=p.run,
        recipe=recipe,
        seed=seed,
        benchmark=p.benchmark,
        benchmark_digest=benchmark.digest,
        vocab_size=benchmark.vocabulary.size,
        environment=where,
        trajectory=identity,
        checkpoints={s: {"file": str(files[s]), "sha256": d} for s, d in ledger.items()},
    ).write(Path(snakemake.output.manifest))
    rmtree(work)
