"""The tiny float64 world that scalars are evaluated in."""

import pytest
from scalar_cases import World, make_world

from circuit.task.benchmark import Benchmark
from circuit.task.events import ReadEvents


@pytest.fixture(scope="session")
def world(planted_benchmark: Benchmark, planted_events: ReadEvents) -> World:
    vocabulary = planted_benchmark.vocabulary
    return make_world(planted_events, vocabulary.size, vocabulary.value_ids)
