"""Values and gradients of several scalars at one θ from one shared forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.model.transformer import Decoder
from circuit.scalars.base import Scalar, look
from circuit.task.events import ReadEvents


class Evaluation(NamedTuple):
    """``values`` [S, E] per scalar and event; ``gradients`` [S, P] of each scalar's mean."""

    values: Float[Tensor, "S E"]
    gradients: Float[Tensor, "S P"]

    @property
    def means(self) -> Float[Tensor, " S"]:
        """Mean over events of each scalar, float64."""
        return self.values.double().mean(-1)


def scalar_values(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    value_ids: range,
    scalars: Mapping[str, Scalar],
) -> Float[Tensor, "S E"]:
    """Every scalar on every event, from one forward pass; no gradient."""
    with torch.no_grad():
        seen = look(decoder, theta.detach(), events, value_ids, _sites(scalars))
        return torch.stack([scalar(seen) for scalar in scalars.values()])


def scalar_gradients(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    value_ids: range,
    scalars: Mapping[str, Scalar],
) -> Evaluation:
    """Every scalar on every event and the gradient of its mean: one forward pass, S backward."""
    theta = theta.detach().requires_grad_()
    seen = look(decoder, theta, events, value_ids, _sites(scalars))
    values = [scalar(seen) for scalar in scalars.values()]
    gradients = [
        torch.autograd.grad(v.mean(), theta, retain_graph=i + 1 < len(values))[0]
        for i, v in enumerate(values)
    ]
    return Evaluation(torch.stack([v.detach() for v in values]), torch.stack(gradients))


def _sites(scalars: Mapping[str, Scalar]) -> frozenset[str]:
    return frozenset().union(*(scalar.sites for scalar in scalars.values()))
