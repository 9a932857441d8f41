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

from circuit.model.transformer import Decoder

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
