"""One training run as a pure function: the step that training and replay both take.

A :class:`Trajectory` is everything a run's bits depend on. ``take_step`` is the only place where a
model is trained; the loop and the replay call it and so cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from circuit.artifacts import digest_json
from circuit.config.recipe import RecipeSettings
from circuit.model.transformer import Decoder
from circuit.training.batches import Batch, BatchStream
from circuit.training.checkpoints import TrainState
from circuit.training.optimizers import ClippedGradient, advance, clip


class Gradient(NamedTuple):
    """Loss in nats per token, next-token accuracy, and the loss's gradient [P]."""

    loss: float
    token_accuracy: float
    gradient: Float[Tensor, " P"]


class StepTaken(NamedTuple):
    """What one step saw: its batch, its loss and its clipped gradient."""

    batch: Batch
    loss: float
    token_accuracy: float
    clipped: ClippedGradient


@dataclass(frozen=True)
class Trajectory:
    """A run's model, recipe, seed and data.

    ``identity`` is the digest of all that decides its bits (not of what is kept of it).
    """

    decoder: Decoder
    recipe: RecipeSettings
    seed: int
    stream: BatchStream
    identity: str

    def take_step(self, state: TrainState) -> StepTaken:
        """Train one step, updating ``state`` in place."""
        batch = self.stream.batch(state.step)
        result = batch_gradient(self.decoder, state.theta, batch)
        clipped = clip(self.recipe.optimizer, result.gradient)
        advance(self.recipe.optimizer, state.theta, state.moments, clipped.gradient, state.step)
        state.step += 1
        return StepTaken(batch, result.loss, result.token_accuracy, clipped)


def batch_gradient(decoder: Decoder, theta: Float[Tensor, " P"], batch: Batch) -> Gradient:
    """Mean next-token cross-entropy over all tokens of the batch, and its gradient in theta."""
    theta = theta.detach().requires_grad_()
    logits = decoder.forward(decoder.layout.views(theta), batch.tokens[:, :-1])
    assert logits is not None  # nothing can stop a forward pass without a tap
    flat, targets = logits.flatten(0, 1), batch.targets.reshape(-1)
    loss = F.cross_entropy(flat, targets, ignore_index=-100)
    (gradient,) = torch.autograd.grad(loss, theta)
    hit = (flat.detach().argmax(-1) == targets).sum()
    return Gradient(float(loss.detach()), float(hit / (targets >= 0).sum()), gradient)


def environment(threads: int) -> dict[str, Any]:
    """The numerical environment that a run's bits depend on."""
    return {
        "torch": torch.__version__,
        "device": "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
    }


def trajectory_identity(
    recipe: RecipeSettings, seed: int, data: Mapping[str, Any], where: dict[str, Any]
) -> str:
    """Digest of a run's recipe (less its checkpoint schedule), seed, data and environment.

    The number of steps is left out: a longer run passes through the same states. ``data`` is what
    training reads of its benchmark (``BenchmarkMetadata.trained_on``).
    """
    schedule = {"steps", "checkpoint_every", "early_checkpoints", "replay_tolerance"}
    settings = recipe.model_dump(mode="json", exclude=schedule)
    return digest_json({"recipe": settings, "seed": seed, "data": data, "environment": where})
