"""A tiny run in float64, step by step, and the scalars that are followed along it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scalar_cases import DICTIONARIES, World
from torch import Tensor

from circuit.attribution.engine import Engine, StepAttribution
from circuit.config.scalar import ScalarSettings
from circuit.config.terms import COMPARATORS
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import Evaluator
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.task.events import ReadEvents
from circuit.training.checkpoints import TrainState, initial_state
from circuit.training.replay import ReplayedStep
from circuit.training.trajectory import Trajectory


def float64_steps(trajectory: Trajectory, count: int) -> list[ReplayedStep]:
    """The first steps of a run whose state is float64: the same code, finer numbers."""
    state = initial_state(trajectory.decoder, trajectory.recipe, trajectory.seed)
    moments = {name: value.double() for name, value in state.moments.items()}
    state = TrainState(state.theta.double(), moments, 0)
    steps = []
    for number in range(count):
        before = state.clone()
        taken = trajectory.take_step(state)
        steps.append(ReplayedStep(trajectory, number, before, state.clone(), taken))
    return steps


def updates_of(step: ReplayedStep) -> Tensor:
    """Components and comparators of a step, as observers hand them to the engine."""
    others = step.comparators
    return torch.cat(
        [step.components.stacked(), torch.stack([others[name] for name in COMPARATORS])]
    )


def world_of(steps: list[ReplayedStep], events: ReadEvents, value_ids: range) -> World:
    """A world whose states are those of the steps, by step number."""
    states = {step.step: step.before.theta for step in steps}
    states[steps[-1].step + 1] = steps[-1].after.theta
    return World(steps[0].trajectory.decoder, states, events, value_ids)


def scalars_along(world: World, cases: Mapping[str, Mapping[str, object]]) -> dict[str, Scalar]:
    """Scalars for the window from the world's first to its last state."""
    steps = sorted(world.states)
    context = ScalarContext(
        world.decoder,
        world.events,
        world.value_ids,
        {},
        world.states.__getitem__,
        (steps[0], steps[-1]),
        steps[-1],
        DICTIONARIES,
    )
    return {
        name: build_scalar(ScalarSettings.model_validate(settings), context)
        for name, settings in cases.items()
    }


def attribute(
    world: World, steps: list[ReplayedStep], scalars: Mapping[str, Scalar], rules: tuple[str, ...]
) -> list[StepAttribution]:
    """Every step attributed by one engine."""
    engine = Engine(
        world.decoder.layout,
        Evaluator(world.decoder, world.events, world.value_ids),
        scalars,
        rules,
    )
    return [engine.step(s.before.theta, s.after.theta, updates_of(s)) for s in steps]
