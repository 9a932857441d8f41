"""How every single target token pushes along a direction in parameter space, in forward mode.

A direction v (a scalar's gradient, an update's mean gradient) and a target t with loss L_t of n in
the batch: its push is the derivative of its share of the batch's loss along v, ⟨v, ∇L_t⟩ / n.
Summed over targets, pushes give ⟨v, g⟩ with the batch's gradient g; one pass gives them all, where
reverse mode needs a backward pass per target.

1. Carry v forward through the model beside θ (a Jacobian-vector product): the motion of every
   logit. Each linear map needs two products more than a plain pass, so this costs about three
   forward passes, as much as a plain training step. The fused attention kernel has no forward mode,
   so attention runs unfused.
2. A target's loss moves by (softmax - one-hot) · motion of its logits. Several lots of targets can
   be asked about one motion.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from circuit.attribution.data_labels import SUPPORTS_OPPOSES, DataLabels
from circuit.errors import AnalysisError
from circuit.model.transformer import Decoder
from circuit.training.batches import Batch

_PROGRAMS = 32  # at a time: more outgrow the processor's cache


class Motion(NamedTuple):
    """Log-probabilities [B, T, V] at θ, and how fast they change along a direction."""

    log_probability: Float[Tensor, "B T V"]
    rate: Float[Tensor, "B T V"]

    def pushes(self, targets: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """Derivative of every target's loss over their number; 0 where there is no target."""
        exists = targets >= 0
        rate = self.rate.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
        return torch.where(exists, -rate, 0) / exists.sum()


def motion(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    tokens: Int[Tensor, "B T"],
    direction: Float[Tensor, " P"],
) -> Motion:
    """Log-probabilities of the next token at every position, and their motion along a direction."""

    def predicted(theta: Tensor, some: Tensor) -> Tensor:
        logits = decoder.forward(decoder.layout.views(theta), some)
        assert logits is not None  # nothing can stop a forward pass without a tap
        return logits.log_softmax(-1)

    theta, direction = theta.detach(), direction.to(theta.dtype)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        parts = [
            torch.func.jvp(lambda at, some=some: predicted(at, some), (theta,), (direction,))
            for some in tokens.split(_PROGRAMS)
        ]
    values, rates = zip(*parts, strict=True)
    return Motion(torch.cat(values), torch.cat(rates))


def program_pushes(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    batch: Batch,
    direction: Float[Tensor, " P"],
) -> Float[Tensor, "B T-1"]:
    """Push of every target of a batch: derivative of its share of the batch's loss; they sum to
    ⟨direction, gradient of the batch's loss⟩. 0 where there is no target."""
    return motion(decoder, theta, batch.tokens[:, :-1], direction).pushes(batch.targets)


def label_batch(
    labels: DataLabels,
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    batch: Batch,
    gradient: Float[Tensor, " P"] | None,
) -> Int[Tensor, "B T-1"]:
    """Number of the group of every target of a batch; -1 where there is none.

    Where labels depend on θ: a program ``supports`` a scalar whose gradient is given if descending
    the program's own loss raises the scalar, -⟨gradient, ∇L⟩ > 0; else it ``opposes`` it.

    Args:
        gradient: of the scalar at θ; labels known beforehand need none.

    Raises:
        AnalysisError: the labels need a gradient and there is none.
    """
    if labels.labels is not None:
        return labels.of(batch)
    if gradient is None:
        raise AnalysisError(
            what="supports and opposes are not defined without a scalar's gradient",
            where="data: supports_opposes",
            expected="the gradient of the first scalar at the step's start",
            do="evaluate the scalar at this step too, or group the data by something else",
        )
    pushes = program_pushes(decoder, theta, batch, gradient)
    groups = torch.where(
        pushes.sum(1) < 0, SUPPORTS_OPPOSES.index("supports"), SUPPORTS_OPPOSES.index("opposes")
    )
    return torch.where(batch.targets >= 0, groups[:, None], -1)
