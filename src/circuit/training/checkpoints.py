"""A run's state on disk: checkpoints, and the manifest that vouches for them.

A checkpoint holds the flat parameters, the optimizer's moments and the number of finished steps,
as safetensors (loading one runs no code). The manifest lists every checkpoint with its SHA-256 and
says which run they belong to; a file with another digest is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.artifacts import read_json, read_tensors, sha256_file, write_json, write_tensors
from circuit.config.recipe import RecipeSettings
from circuit.errors import ArtifactError, CheckpointError, MismatchError
from circuit.model.parameters import entries_of
from circuit.model.transformer import Decoder
from circuit.training.batches import initialisation_generator
from circuit.training.optimizers import moment_names


@dataclass
class TrainState:
    """Parameters and optimizer moments after ``step`` finished steps; updated in place."""

    theta: Float[Tensor, " P"]
    moments: dict[str, Float[Tensor, " P"]]
    step: int

    def clone(self) -> TrainState:
        """An independent copy."""
        moments = {name: value.clone() for name, value in self.moments.items()}
        return TrainState(self.theta.clone(), moments, self.step)

    def not_finite(self) -> str | None:
        """Name of the first vector with a number that is not finite, if there is one."""
        vectors = {"theta": self.theta, **self.moments}
        return next((name for name, v in vectors.items() if not bool(v.isfinite().all())), None)


def initial_state(decoder: Decoder, recipe: RecipeSettings, seed: int) -> TrainState:
    """The state before the first step."""
    theta = decoder.initialise(initialisation_generator(seed))
    moments = {name: torch.zeros_like(theta) for name in moment_names(recipe.optimizer)}
    return TrainState(theta, moments, 0)


def checkpoint_name(step: int) -> str:
    """File name of the checkpoint after ``step`` steps."""
    return f"step_{step:06d}.safetensors"


def checkpoint_metadata(step: int, identity: str) -> dict[str, str]:
    """What a checkpoint's file says about itself; part of its digest."""
    return {"step": str(step), "trajectory": identity}


def write_checkpoint(path: Path, state: TrainState, identity: str) -> str:
    """Write a checkpoint; returns its SHA-256.

    Args:
        identity: digest of the trajectory it belongs to, kept in the file's metadata.
    """
    tensors = {"theta": state.theta, **state.moments}
    write_tensors(path, tensors, checkpoint_metadata(state.step, identity), vouched=True)
    return sha256_file(path)


def read_checkpoint(path: Path, sha256: str) -> TrainState:
    """Read a checkpoint whose digest is known.

    Raises:
        CheckpointError: the file is missing, truncated, not the one the digest belongs to, or no
            checkpoint: its vectors differ in length, or are not finite float32 numbers.
    """
    if not path.is_file():
        raise CheckpointError(
            what="checkpoint is missing",
            where=str(path),
            expected=f"the checkpoint with SHA-256 {sha256[:12]}…",
            do="run snakemake again to remake it by training, or restore the file",
        )
    actual = sha256_file(path)
    if actual != sha256:
        raise CheckpointError(
            what="checkpoint is damaged or was replaced: its digest differs from the manifest's",
            where=str(path),
            expected=f"SHA-256 {sha256[:12]}…, found {actual[:12]}…",
            do="delete the file and run snakemake again; training remakes the same bytes",
        )
    tensors, metadata = read_tensors(path)
    shape = tensors["theta"].shape if "theta" in tensors else torch.Size()
    wrong = [name for name, t in tensors.items() if t.dtype != torch.float32 or t.shape != shape]
    if len(shape) != 1 or wrong or not metadata.get("step", "").isdigit():
        raise CheckpointError(
            f"not a checkpoint: {', '.join(wrong) or 'theta or step'} missing or of another form",
            where=str(path),
            expected="theta and moments as float32 vectors of one length, and their step",
            do="delete the file and run snakemake again; training remakes the same bytes",
        )
    state = TrainState(tensors.pop("theta"), tensors, int(metadata["step"]))
    if name := state.not_finite():
        raise CheckpointError(
            f"the state after step {state.step} is not finite: {name} holds NaN or infinity",
            where=str(path),
            expected="finite numbers",
            do="train the run again; training stops where its numbers stop being finite",
        )
    return state


@dataclass(frozen=True)
class Manifest:
    """What a run is and which checkpoints it left (``manifest.json`` in its ``train`` folder).

    ``trajectory`` is the digest of what decides its bits, ``code`` of the code that trained it.
    """

    run: str
    recipe: RecipeSettings
    seed: int
    benchmark: str
    benchmark_digest: str
    vocab_size: int
    environment: dict[str, Any]
    trajectory: str
    code: str
    checkpoints: dict[int, dict[str, str]]
    folder: Path = field(default=Path())

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps with a checkpoint, ascending."""
        return tuple(sorted(self.checkpoints))

    def decoder(self) -> Decoder:
        """The run's model."""
        return Decoder(self.recipe.model, self.vocab_size)

    def state(self, step: int) -> TrainState:
        """The verified state after ``step`` steps.

        Raises:
            CheckpointError: no such checkpoint, its file is missing or damaged, or it is not of
                this run's model and optimizer.
        """
        if step not in self.checkpoints:
            near = min(self.steps, key=lambda s: abs(s - step))
            raise CheckpointError(
                what=f"run {self.run} has no checkpoint at step {step}",
                where=str(self.folder / "manifest.json"),
                expected=f"one of {len(self.steps)} steps from {self.steps[0]} to {self.steps[-1]}",
                do=f"use a step with a checkpoint (the nearest is {near})",
            )
        entry = self.checkpoints[step]
        state = read_checkpoint(self.folder / entry["file"], entry["sha256"])
        names, size = set(moment_names(self.recipe.optimizer)), self._size
        if (state.step, set(state.moments), len(state.theta)) != (step, names, size):
            raise CheckpointError(
                f"checkpoint is not one of run {self.run}",
                where=str(self.folder / entry["file"]),
                expected=f"step {step}, {size:,} parameters, moments {sorted(names)}; found step "
                f"{state.step}, {len(state.theta):,}, {sorted(state.moments)}",
                do="delete the file and run snakemake again; training remakes the same bytes",
            )
        return state

    @cached_property
    def _size(self) -> int:
        return sum(entry.size for entry in entries_of(self.recipe.model, self.vocab_size))

    def write(self, path: Path) -> None:
        """Write ``manifest.json``."""
        write_json(
            path,
            {
                "run": self.run,
                "recipe": self.recipe.model_dump(mode="json"),
                "seed": self.seed,
                "benchmark": self.benchmark,
                "benchmark_digest": self.benchmark_digest,
                "vocab_size": self.vocab_size,
                "environment": self.environment,
                "trajectory": self.trajectory,
                "code": self.code,
                "checkpoints": [
                    {"step": step, **self.checkpoints[step]} for step in sorted(self.checkpoints)
                ],
            },
        )

    @staticmethod
    def read(path: Path) -> Manifest:
        """Read ``manifest.json``; checkpoint files are looked for relative to its folder.

        Raises:
            ArtifactError: the file is missing, damaged, or no manifest of this version.
        """
        record = read_json(path)
        try:
            entries = record.pop("checkpoints")
            checkpoints = {e["step"]: {"file": e["file"], "sha256": e["sha256"]} for e in entries}
            recipe = RecipeSettings.model_validate(record.pop("recipe"))
            return Manifest(recipe=recipe, checkpoints=checkpoints, folder=path.parent, **record)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"manifest is not usable ({str(error).splitlines()[0]})",
                where=path,
                expected="what training writes with the present version",
                do="delete the file and run snakemake again",
            ) from error

    def require_benchmark(self, digest: str, where: str) -> None:
        """Refuse a benchmark other than the one the run was trained on.

        Raises:
            MismatchError: the digests differ.
        """
        if digest != self.benchmark_digest:
            raise MismatchError(
                what=f"wrong benchmark for run {self.run}",
                where=where,
                expected=f"benchmark {self.benchmark} with digest {self.benchmark_digest[:12]}…, "
                f"found {digest[:12]}…",
                do="use the benchmark the run was trained on, or train the run again",
            )

    def require_window(self, start: int, stop: int) -> None:
        """Refuse a window whose ends are not checkpoints of this run.

        Raises:
            CheckpointError: an end has no checkpoint, or the window is empty.
        """
        outside = [s for s in (start, stop) if s not in self.checkpoints]
        if outside or start >= stop:
            raise CheckpointError(
                what=f"window {start}..{stop} does not lie between checkpoints of run {self.run}",
                where=str(self.folder / "manifest.json"),
                expected=f"two checkpoint steps, the first smaller, out of {_short(self.steps)}",
                do="choose a window that starts and ends on checkpoints",
            )


def _short(steps: Iterable[int]) -> str:
    """List many steps without filling a screen."""
    steps = list(steps)
    shown = [*map(str, steps[:4]), "…", *map(str, steps[-2:])] if len(steps) > 7 else steps
    return ", ".join(map(str, shown))
