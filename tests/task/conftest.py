import pytest
from benchmark_examples import SMALL, SYMBOLIC_KV_BASE

from circuit.config.benchmark import BenchmarkSettings
from circuit.task.benchmark import Benchmark, build_benchmark


@pytest.fixture(scope="session")
def small() -> Benchmark:
    return build_benchmark(BenchmarkSettings.model_validate(SMALL))


@pytest.fixture(scope="session")
def base() -> Benchmark:
    """The reference benchmark at full size; builds in about two seconds."""
    return build_benchmark(BenchmarkSettings.model_validate(SYMBOLIC_KV_BASE))
