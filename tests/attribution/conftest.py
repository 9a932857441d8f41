"""Twelve float64 steps of a tiny run, and scalars of every kind along them."""

import pytest
import torch
from scalar_cases import CASES, World
from tiny_run import tiny_recipe, tiny_trajectory
from tiny_steps import float64_steps, scalars_along, world_of

from circuit.scalars.base import Scalar
from circuit.task.benchmark import Benchmark
from circuit.task.events import ReadEvents
from circuit.training.replay import ReplayedStep
from circuit.training.trajectory import Trajectory


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def curved(planted_benchmark: Benchmark) -> Trajectory:
    """A run whose steps are large, so that the path's rule matters."""
    recipe = tiny_recipe(optimizer={"learning_rate": 1e-2}, batch_size=16)
    return tiny_trajectory(planted_benchmark, recipe)


@pytest.fixture(scope="session")
def steps(curved: Trajectory) -> list[ReplayedStep]:
    return float64_steps(curved, 12)


@pytest.fixture(scope="session")
def world(
    steps: list[ReplayedStep], planted_benchmark: Benchmark, planted_events: ReadEvents
) -> World:
    events = planted_events.select(range(0, 171, 28))
    return world_of(steps, events, planted_benchmark.vocabulary.value_ids)


@pytest.fixture(scope="session")
def scalars(world: World) -> dict[str, Scalar]:
    """Every case that fits the window (its checkpoints are 0 to 12)."""
    return scalars_along(world, CASES)
