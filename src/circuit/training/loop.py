"""Training with checkpoints that survives being killed.

1. State is kept in a work folder whose name is a digest of everything the bits depend on.
2. At every checkpoint step the loop writes the metrics of the steps since the last one, then the
   checkpoint, then the ledger that vouches for both. Each file appears whole or not at all, so
   whatever the ledger names is sound.
3. A rerun finds the ledger, checks the digests, continues from the last checkpoint, and ends with
   the same bytes as a run that was never interrupted, because a step depends on nothing but the
   state and its number.
4. Finished files are published (linked, or copied across file systems) to where they were asked
   for; the work folder goes last.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from circuit.artifacts import atomic_path, read_json, read_rows, sha256_file, write_json, write_rows
from circuit.config.terms import METRIC_UNITS
from circuit.errors import CircuitError, TrainingError
from circuit.training.checkpoints import (
    TrainState,
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
    ledger, state = _resume(trajectory, work)
    kept = {int(step) for step in ledger}
    bar = tqdm(
        total=steps[-1],
        initial=state.step,
        unit="step",
        desc=f"train {trajectory.identity[:8]}",
        disable=not progress,
        mininterval=0.5 if sys.stderr.isatty() else 15,
    )
    rows: list[dict[str, float]] = []
    while True:
        if state.step in steps and state.step not in kept:
            if rows:
                write_rows(_metrics_path(work, state.step), pd.DataFrame(rows), METRIC_UNITS)
                rows = []
            write_checkpoint(work / checkpoint_name(state.step), state, trajectory.identity)
            ledger[str(state.step)] = _digests(work, state.step) or {}
            kept.add(state.step)
            write_json(work / _LEDGER, ledger)
        if state.step >= steps[-1]:
            break
        number = state.step
        taken = trajectory.take_step(state)
        diverged = "loss" if not math.isfinite(taken.loss) else state.not_finite()
        if diverged:
            bar.close()
            raise _divergence(trajectory, diverged, number, max(kept))
        rows.append(metrics_row(trajectory, number, taken))
        bar.update()
        bar.set_postfix(loss=f"{taken.loss:.3f}", refresh=False)
    bar.close()
    parts = [read_rows(_metrics_path(work, step)) for step in steps[1:]]
    digests = {int(step): entry["checkpoint"] for step, entry in ledger.items()}
    return digests, pd.concat(parts, ignore_index=True)


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
    """Put finished files (target → file in ``work``) where they belong, whole or not at all."""
    for target, source in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            try:
                os.link(source, temporary)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, temporary)


def _resume(trajectory: Trajectory, work: Path) -> tuple[dict[str, dict[str, str]], TrainState]:
    """The longest sound prefix of an interrupted run: its ledger and its last state.

    The ledger maps a step to the digests of what was written at it; whatever does not match it, and
    a ledger that is damaged itself, counts as never written.
    """
    try:
        ledger = dict(read_json(work / _LEDGER))
    except (CircuitError, TypeError, ValueError):
        ledger = {}
    sound: dict[str, dict[str, str]] = {}
    for step in trajectory.recipe.checkpoint_steps:
        entry = ledger.get(str(step))
        if entry is None or entry != _digests(work, step):
            break
        sound[str(step)] = entry
    if not sound:
        return {}, initial_state(trajectory.decoder, trajectory.recipe, trajectory.seed)
    last = max(map(int, sound))
    return sound, read_checkpoint(work / checkpoint_name(last), sound[str(last)]["checkpoint"])


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
