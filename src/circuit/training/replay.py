"""Exact replay: any stretch of a finished run, again, with everything it computed in reach.

1. Read the checkpoint at the stretch's start (verified by digest).
2. Take the same steps that training took.
3. At every checkpoint on the way, and at the end, compare the replayed state with the recorded
   one by digest. A difference is an error, unless the recipe states a tolerance (for another
   device); then the largest absolute difference is reported and the replay goes on from the
   recorded state.

Nothing is stored while replaying: observers look at each step as it passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.artifacts import digest_tensors
from circuit.errors import ReplayError
from circuit.training.checkpoints import Manifest, TrainState, checkpoint_metadata
from circuit.training.optimizers import Components, comparators, components
from circuit.training.trajectory import StepTaken, Trajectory, environment


@dataclass
class ReplayedStep:
    """One step, seen from outside.

    ``step`` counts from 0; ``before`` and ``after`` are whole states. ``after`` is only valid
    until the next step is taken (it is updated in place); ``before`` stays as it is.
    """

    trajectory: Trajectory
    step: int
    before: TrainState
    after: TrainState
    taken: StepTaken

    @cached_property
    def components(self) -> Components:
        """The update as a sum of named components, float64."""
        return components(
            self.trajectory.recipe.optimizer,
            self.before.theta,
            self.after.theta,
            self.before.moments,
            self.after.moments,
            self.taken.clipped.gradient,
            self.step,
        )

    @cached_property
    def comparators(self) -> dict[str, Float[Tensor, " P"]]:
        """``raw_sgd`` and ``clipped_sgd``, float64."""
        return comparators(self.trajectory.recipe.optimizer, self.taken.clipped, self.step)


@dataclass(frozen=True)
class Verification:
    """The comparison at one checkpoint on the way."""

    step: int
    recorded_sha256: str
    replayed_sha256: str
    max_abs_difference: float

    @property
    def exact(self) -> bool:
        """Whether the replay arrived bit for bit."""
        return self.recorded_sha256 == self.replayed_sha256


def require_replayable(manifest: Manifest) -> None:
    """Refuse a run recorded in another numerical environment, unless its recipe has a tolerance.

    Raises:
        ReplayError: torch, device, CPU capability or thread count differ from the recorded ones.
    """
    here = environment(torch.get_num_threads())
    if here != manifest.environment and manifest.recipe.replay_tolerance is None:
        differing = [
            f"{k}: recorded {manifest.environment.get(k)!r}, here {here.get(k)!r}"
            for k in sorted(here.keys() | manifest.environment.keys())
            if here.get(k) != manifest.environment.get(k)
        ]
        raise ReplayError(
            what=f"run {manifest.run} cannot be replayed exactly here ({'; '.join(differing)})",
            where=str(manifest.folder / "manifest.json"),
            expected="the numerical environment the run was trained in",
            do="train the run here, or set replay_tolerance in its recipe to accept a stated "
            "difference",
        )


def replay(
    trajectory: Trajectory,
    manifest: Manifest,
    start: int,
    stop: int,
    verified: Callable[[Verification], None],
) -> Iterator[ReplayedStep]:
    """Yield every step from ``start`` to ``stop``, verifying each checkpoint on the way.

    Args:
        start, stop: checkpoint steps, start < stop.
        verified: called with the comparison at each checkpoint after ``start``.

    Raises:
        CheckpointError: the ends are not checkpoints, or a checkpoint is missing or damaged.
        ReplayError: the replay does not arrive at a checkpoint and no tolerance is configured.
    """
    manifest.require_window(start, stop)
    require_replayable(manifest)
    state = manifest.state(start)
    while state.step < stop:
        before, number = state.clone(), state.step
        taken = trajectory.take_step(state)
        yield ReplayedStep(trajectory, number, before, state, taken)
        if state.step in manifest.checkpoints:
            verified(_verify(trajectory, manifest, state))


def _verify(trajectory: Trajectory, manifest: Manifest, state: TrainState) -> Verification:
    """Compare with the recorded checkpoint; go on from it if a tolerance allows a difference."""
    recorded_sha256 = manifest.checkpoints[state.step]["sha256"]
    metadata = checkpoint_metadata(state.step, trajectory.identity)
    replayed_sha256 = digest_tensors({"theta": state.theta, **state.moments}, metadata)
    if replayed_sha256 == recorded_sha256:
        return Verification(state.step, recorded_sha256, replayed_sha256, 0.0)
    recorded = manifest.state(state.step)
    pairs = [(state.theta, recorded.theta)]
    pairs += [(state.moments[name], value) for name, value in recorded.moments.items()]
    difference = max(float((here - there).abs().max()) for here, there in pairs)
    tolerance = manifest.recipe.replay_tolerance
    # Written so that a difference that is not a number is no match either.
    if tolerance is None or not difference <= tolerance:
        raise ReplayError(
            what=f"replay of run {manifest.run} does not arrive at its checkpoint: parameters "
            f"or moments differ by up to {difference:.3g}",
            where=f"step {state.step}",
            expected=f"SHA-256 {recorded_sha256[:12]}… ("
            + ("bit for bit" if tolerance is None else f"or within {tolerance:g}")
            + f"), found {replayed_sha256[:12]}…",
            do="train the run again with the present code and environment",
        )
    state.theta.copy_(recorded.theta)
    for name, value in recorded.moments.items():
        state.moments[name].copy_(value)
    return Verification(state.step, recorded_sha256, replayed_sha256, difference)
