"""A training run small enough to make inside a test, and the same run in another process.

Two layers of width 16 on the planted circuit's benchmark: a step takes a few milliseconds. Run as a
program, this file trains or replays a pickled run, so that tests can kill it or run it twice:

    python tiny_run.py train  RUN WORK
    python tiny_run.py replay RUN MANIFEST START STOP
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

from circuit.artifacts import write_rows
from circuit.config.recipe import RecipeSettings
from circuit.config.terms import METRIC_UNITS
from circuit.model.transformer import Decoder
from circuit.task.benchmark import Benchmark
from circuit.task.events import token_matrix
from circuit.training.batches import BatchStream
from circuit.training.checkpoints import Manifest, TrainState, checkpoint_name
from circuit.training.loop import publish, train
from circuit.training.replay import Verification, replay
from circuit.training.trajectory import StepTaken, Trajectory, environment, trajectory_identity

DIGEST = "b" * 64  # the benchmark is not on disk, so it has no digest of its own
MODEL = {"n_layers": 2, "n_heads": 2, "d_model": 16, "d_ff": 12, "context": 64}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"kind": "adamw", "learning_rate": 3e-3, "weight_decay": 0.1},
    "sgd": {"kind": "sgd", "learning_rate": 0.3, "weight_decay": 0.01},
    "sgd_momentum": {"kind": "sgd_momentum", "learning_rate": 0.05, "weight_decay": 0.01},
}


def tiny_recipe(kind: str = "adamw", **changes: Any) -> RecipeSettings:
    """30 steps of 8 programs with checkpoints at 0, 3, 10, 20 and 30, unless changed."""
    optimizer = {**OPTIMIZERS[kind], "clip": 1.0, "warmup_steps": 5, **changes.pop("optimizer", {})}
    plain = {
        "model": MODEL,
        "optimizer": optimizer,
        "batch_size": 8,
        "steps": 30,
        "checkpoint_every": 10,
        "early_checkpoints": (3,),
        **changes,
    }
    return RecipeSettings.model_validate(plain)


def tiny_trajectory(
    benchmark: Benchmark, recipe: RecipeSettings | None = None, seed: int = 3, digest: str = DIGEST
) -> Trajectory:
    """The run that a recipe and a seed describe."""
    recipe = recipe or tiny_recipe()
    tokens, lengths = token_matrix(benchmark.splits["train"])
    where = environment(torch.get_num_threads())
    identity = trajectory_identity(recipe, seed, {"split": digest}, where)
    decoder = Decoder(recipe.model, benchmark.vocabulary.size)
    return Trajectory(
        decoder, recipe, seed, BatchStream(tokens, lengths, recipe.batch_size, seed), identity
    )


class Finished(NamedTuple):
    """A finished run: what trained it, the manifest as read from disk, and its metrics."""

    trajectory: Trajectory
    manifest: Manifest
    metrics: pd.DataFrame


def finish(trajectory: Trajectory, folder: Path, digest: str = DIGEST) -> Finished:
    """Train a run and publish it into a folder, as the workflow does."""
    ledger, metrics = train(trajectory, folder / "work", progress=False)
    files = {step: Path("checkpoints") / checkpoint_name(step) for step in ledger}
    publish(
        folder / "work",
        {folder / file: folder / "work" / file.name for file in files.values()},
    )
    Manifest(
        run="tiny",
        recipe=trajectory.recipe,
        seed=trajectory.seed,
        benchmark="planted",
        benchmark_digest=digest,
        vocab_size=trajectory.decoder.vocab_size,
        environment=environment(torch.get_num_threads()),
        trajectory=trajectory.identity,
        code="",
        checkpoints={s: {"file": str(files[s]), "sha256": d} for s, d in ledger.items()},
    ).write(folder / "manifest.json")
    return Finished(trajectory, Manifest.read(folder / "manifest.json"), metrics)


def outcome(trajectory: Trajectory, work: Path) -> tuple[dict[int, str], bytes]:
    """Train (or go on) and return the checkpoints' digests and the metrics file's bytes."""
    ledger, metrics = train(trajectory, work, progress=False)
    write_rows(work / "all.parquet", metrics, METRIC_UNITS, "one training step")
    return ledger, (work / "all.parquet").read_bytes()


@dataclass(frozen=True)
class SlowTrajectory(Trajectory):
    """The same run with a pause in every step, so that somebody can kill it meanwhile."""

    pause: float = 0.002

    def take_step(self, state: TrainState) -> StepTaken:
        time.sleep(self.pause)
        return super().take_step(state)


def start(mode: str, trajectory: Trajectory, folder: Path, *arguments: object) -> subprocess.Popen:
    """Start this file as a program on a run."""
    folder.mkdir(parents=True, exist_ok=True)
    run = folder / "run.pickle"
    run.write_bytes(pickle.dumps(trajectory))
    command = [sys.executable, __file__, mode, str(run), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _main(mode: str, run: str, *arguments: str) -> None:
    torch.set_num_threads(1)
    trajectory = pickle.loads(Path(run).read_bytes())
    if mode == "train":
        train(trajectory, Path(arguments[0]), progress=False)
        return
    verified: list[Verification] = []
    manifest = Manifest.read(Path(arguments[0]))
    for _ in replay(trajectory, manifest, int(arguments[1]), int(arguments[2]), verified.append):
        pass
    print(*(f"{v.step}:{v.replayed_sha256}" for v in verified))


if __name__ == "__main__":
    # Pickled objects name the module they come from, so its functions must not be __main__'s.
    from tiny_run import _main as main

    main(*sys.argv[1:])
