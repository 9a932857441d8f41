"""Finished tiny runs, one per optimizer, trained once."""

from collections.abc import Callable

import pytest
import torch
from tiny_run import Finished, finish, tiny_recipe, tiny_trajectory

from circuit.task.benchmark import Benchmark
from circuit.training.trajectory import Trajectory


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def trajectory(planted_benchmark: Benchmark) -> Trajectory:
    """The tiny AdamW run; it has no state, so tests share it."""
    return tiny_trajectory(planted_benchmark)


@pytest.fixture(scope="session")
def finished(
    planted_benchmark: Benchmark, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Finished]:
    """Finished runs by optimizer; tests that damage one copy its folder first."""
    runs: dict[str, Finished] = {}

    def get(kind: str) -> Finished:
        if kind not in runs:
            run = tiny_trajectory(planted_benchmark, tiny_recipe(kind))
            runs[kind] = finish(run, tmp_path_factory.mktemp(kind))
        return runs[kind]

    return get
