"""A tiny float64 model at three states of an invented run, and a few read events."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from tiny_run import MODEL
from torch import Tensor

from circuit.config.analysis import ScalarSettings
from circuit.config.recipe import ModelSettings
from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar
from circuit.scalars.evaluate import scalar_gradients, scalar_values
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.task.benchmark import Benchmark
from circuit.task.events import ReadEvents


class World(NamedTuple):
    """``states`` are the run's parameters by step; the window is 0..10, the last step 20."""

    decoder: Decoder
    states: dict[int, Tensor]
    events: ReadEvents
    value_ids: range

    @property
    def theta(self) -> Tensor:
        """A state inside the window, at which scalars are evaluated."""
        return self.states[5]

    def context(self) -> ScalarContext:
        heads = {"winner": "L1H0", "runner_up": "L0H1", "bottom": "L1H1"}
        return ScalarContext(
            self.decoder, self.events, self.value_ids, heads, self.states.__getitem__, (0, 10), 20
        )

    def build(self, **settings: object) -> Scalar:
        return build_scalar(ScalarSettings.model_validate(settings), self.context())

    def values(self, scalar: Scalar, theta: Tensor | None = None) -> Tensor:
        theta = self.theta if theta is None else theta
        named = {"it": scalar}
        return scalar_values(self.decoder, theta, self.events, self.value_ids, named)[0]

    def gradient(self, scalar: Scalar, theta: Tensor | None = None) -> Tensor:
        theta = self.theta if theta is None else theta
        named = {"it": scalar}
        found = scalar_gradients(self.decoder, theta, self.events, self.value_ids, named)
        return found.gradients[0]


@pytest.fixture(scope="session")
def world(planted_benchmark: Benchmark, planted_events: ReadEvents) -> World:
    torch.set_num_threads(1)
    decoder = Decoder(ModelSettings.model_validate(MODEL), planted_benchmark.vocabulary.size)
    generator = torch.Generator().manual_seed(21)
    theta = decoder.initialise(generator).double()
    states = {}
    for step in (0, 5, 10, 20):
        noise = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
        theta = theta + 0.15 * noise
        states[step] = theta
    # Streams of different lengths, and reads with different numbers of distractors.
    events = planted_events.select([0, 3, 50, 101, 170])
    return World(decoder, states, events, planted_benchmark.vocabulary.value_ids)
