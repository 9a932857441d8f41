"""Training with checkpoints that survives being killed, and goes on from what there is.

1. State is kept in a work folder whose name is a digest of everything the bits depend on. Every
   attempt has a folder of its own in it, so that two at once do not disturb each other; an attempt
   goes on in the folder of a dead one.
2. At every checkpoint step the loop writes the metrics of the steps since the last one, then the
   checkpoint, then the ledger that vouches for both. Each file appears whole or not at all, so
   whatever the ledger names is sound.
3. A rerun finds the ledger, checks the digests, trains the stretches that are missing, each from
   the checkpoint before it, and ends with the same bytes as a run that was never interrupted,
   because a step depends on nothing but the state and its number. So do a longer run and one with
   further checkpoints, which adopt what the shorter one published.
4. Finished files are published (linked, or copied across file systems) to where they were asked
   for; the attempt's folder goes last.
"""

from __future__ import annotations

import fcntl
import math
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from circuit.artifacts import atomic_path, read_json, read_rows, sha256_file, write_json, write_rows
from circuit.config.terms import METRIC_UNITS
from circuit.errors import CircuitError, TrainingError
from circuit.training.checkpoints import (
    Manifest,
    checkpoint_name,
    initial_state,
    read_checkpoint,
    write_checkpoint,
)
from circuit.training.optimizers import learning_rate
from circuit.training.trajectory import StepTaken, Trajectory

_LEDGER = "ledger.json"


def train(
    trajectory: Trajectory, work: Path, progress: bool = True
) -> tuple[dict[int, str], pd.DataFrame]:
    """Train to the recipe's last step, resuming from whatever the work folder holds.

    Args:
        trajectory: the run.
        work: folder of this trajectory's unfinished state; created if missing.
        progress: show a bar on stderr.

    Returns:
        SHA-256 of every checkpoint by step (files lie in ``work``), and the metrics: one row per
        step with the columns of ``METRIC_UNITS``.

    Raises:
        TrainingError: the loss, a parameter or a moment is not finite after a step.
    """
    work.mkdir(parents=True, exist_ok=True)
    steps = trajectory.recipe.checkpoint_steps
    ledger, stretches = _sound(work, steps), [*pairwise((0, *steps))]
    bar = tqdm(
        total=steps[-1],
        initial=sum(step - start for start, step in stretches if str(step) in ledger),
        unit="step",
        desc=f"train {trajectory.identity[:8]}",
        disable=not progress,
        mininterval=0.5 if sys.stderr.isatty() else 15,
    )
    state = initial_state(trajectory.decoder, trajectory.recipe, trajectory.seed)
    for start, step in stretches:
        if str(step) in ledger:
            continue
        if state.step != start:
            entry = ledger[str(start)]["checkpoint"]
            state = read_checkpoint(work / checkpoint_name(start), entry)
        rows = []
        while state.step < step:
            number, taken = state.step, trajectory.take_step(state)
            diverged = "loss" if not math.isfinite(taken.loss) else state.not_finite()
            if diverged:
                bar.close()
                raise _divergence(trajectory, diverged, number, start)
            rows.append(metrics_row(trajectory, number, taken))
            bar.update()
            bar.set_postfix(loss=f"{taken.loss:.3f}", refresh=False)
        write_checkpoint(work / checkpoint_name(step), state, trajectory.identity)
        _vouch(work, step, pd.DataFrame(rows), ledger)
    bar.close()
    parts = [read_rows(_metrics_path(work, step)) for step in steps[1:]]
    digests = {step: ledger[str(step)]["checkpoint"] for step in steps}
    return digests, pd.concat(parts, ignore_index=True)


@contextmanager
def attempt(work: Path) -> Iterator[Path]:
    """A folder in ``work`` that no other living attempt uses: a dead one's, else a new one.

    An attempt lives as long as it holds the lock of its folder, which goes with its process.
    """
    work.mkdir(parents=True, exist_ok=True)
    # The furthest first: it has the most checkpoints.
    found = sorted(work.iterdir(), key=lambda folder: -len(list(folder.glob("step_*"))))
    for folder in [*found, work / secrets.token_hex(4)]:
        folder.mkdir(exist_ok=True)
        with (folder / "lock").open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            if not Path(lock.name).exists():  # its attempt has just ended, and the folder with it
                continue
            yield folder
            shutil.rmtree(folder)
            with suppress(OSError):  # another attempt's folder is still there
                work.rmdir()
            return


def adopt(trajectory: Trajectory, work: Path, manifest: Manifest, metrics: pd.DataFrame) -> None:
    """Put into the work folder what a published run of the same trajectory has of this one.

    Args:
        manifest: of the published run; ``metrics``: its rows.
    """
    ledger, steps = _sound(work, trajectory.recipe.checkpoint_steps), manifest.checkpoints
    for start, step in pairwise((0, *trajectory.recipe.checkpoint_steps)):
        rows = metrics[metrics["step"].between(start, step, inclusive="left")]
        if str(step) in ledger or step not in steps or len(rows) != step - start:
            continue
        source = manifest.folder / steps[step]["file"]
        if source.is_file() and sha256_file(source) == steps[step]["sha256"]:
            publish(work, {work / checkpoint_name(step): source})
            _vouch(work, step, rows.reset_index(drop=True), ledger)


def _vouch(work: Path, step: int, rows: pd.DataFrame, ledger: dict[str, dict[str, str]]) -> None:
    """Write the metrics before a checkpoint that is there, and take both into the ledger."""
    if step:
        write_rows(_metrics_path(work, step), rows, METRIC_UNITS)
    ledger[str(step)] = _digests(work, step) or {}
    write_json(work / _LEDGER, ledger)


def _divergence(trajectory: Trajectory, what: str, step: int, sound: int) -> TrainingError:
    optimizer = trajectory.recipe.optimizer
    return TrainingError(
        f"training diverged: {what} is not finite after step {step}",
        where=f"seed {trajectory.seed}, learning rate {optimizer.learning_rate:g}, clip "
        f"{'none' if optimizer.clip is None else format(optimizer.clip, 'g')}",
        expected=f"finite numbers; the last sound checkpoint is that of step {sound}",
        do="lower the recipe's learning_rate, or set or lower its clip; nothing was published",
    )


def metrics_row(trajectory: Trajectory, step: int, taken: StepTaken) -> dict[str, float]:
    """The metrics of one step, under the names of ``METRIC_UNITS``."""
    return {
        "step": step,
        "loss": taken.loss,
        "token_accuracy": taken.token_accuracy,
        "learning_rate": learning_rate(trajectory.recipe.optimizer, step),
        "gradient_norm": taken.clipped.norm,
        "clip_coefficient": taken.clipped.coefficient,
    }


def publish(work: Path, targets: Mapping[Path, Path]) -> None:
    """Put finished files (target → file in ``work``) where they belong, whole or not at all.

    A target that holds the same already stays as it is, with its time.
    """
    for target, source in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and sha256_file(target) == sha256_file(source):
            continue
        with atomic_path(target) as temporary:
            try:
                os.link(source, temporary)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, temporary)


def _sound(work: Path, steps: Sequence[int]) -> dict[str, dict[str, str]]:
    """What an earlier attempt left that its ledger vouches for.

    The ledger maps a step to the digests of what was written at it; whatever does not match it, and
    a ledger that is damaged itself, counts as never written.
    """
    try:
        ledger = read_json(work / _LEDGER)
    except CircuitError:
        return {}
    entries = {str(step): _digests(work, step) for step in steps}
    return {step: entry for step, entry in entries.items() if entry and entry == ledger.get(step)}


def _digests(work: Path, step: int) -> dict[str, str] | None:
    """SHA-256 of the checkpoint of a step and of the metrics before it; None if one is missing."""
    files = {"checkpoint": work / checkpoint_name(step)}
    if step:
        files["metrics"] = _metrics_path(work, step)
    if not all(file.is_file() for file in files.values()):
        return None
    return {name: sha256_file(file) for name, file in files.items()}


def _metrics_path(work: Path, step: int) -> Path:
    return work / f"metrics_{step:06d}.parquet"
