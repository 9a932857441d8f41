"""Values of several scalars at one θ, and how they change with θ, from one shared forward pass.

*Reverse mode* gives the gradient of each scalar, a backward pass each, whatever the directions that
are asked about afterwards. *Forward mode* carries directions in parameter space along with the pass
(Jacobian-vector products) and gives every scalar's derivative along each, however many scalars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

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


class Slopes(NamedTuple):
    """``values`` [S, E] per scalar and event; ``slopes`` [S, C, E] along each direction."""

    values: Float[Tensor, "S E"]
    slopes: Float[Tensor, "S C E"]


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


def scalar_slopes(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    value_ids: range,
    scalars: Mapping[str, Scalar],
    directions: Float[Tensor, "C P"],
) -> Slopes:
    """Every scalar on every event and its derivative along every direction, from one pass.

    Their means over events are the products of :func:`scalar_gradients` with the directions. The
    fused attention kernel has no forward mode, so attention runs unfused.
    """
    sites = _sites(scalars)

    def values(at: Float[Tensor, " P"]) -> Float[Tensor, "S E"]:
        seen = look(decoder, at, events, value_ids, sites)
        return torch.stack([scalar(seen) for scalar in scalars.values()])

    def along(direction: Float[Tensor, " P"]) -> tuple[Tensor, Tensor]:
        found, slope, *_ = torch.func.jvp(values, (theta,), (direction,))
        return found, slope

    theta = theta.detach()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        # The pass itself is made once: no direction changes it.
        found, slopes = torch.vmap(along)(directions.to(theta.dtype))
    return Slopes(found[0], slopes.transpose(0, 1))


@dataclass(frozen=True)
class Evaluator:
    """Evaluates scalars, whichever they are, on the same read events."""

    decoder: Decoder
    events: ReadEvents
    value_ids: range

    def values(
        self, theta: Float[Tensor, " P"], scalars: Mapping[str, Scalar]
    ) -> Float[Tensor, "S E"]:
        """:func:`scalar_values`."""
        return scalar_values(self.decoder, theta, self.events, self.value_ids, scalars)

    def __call__(self, theta: Float[Tensor, " P"], scalars: Mapping[str, Scalar]) -> Evaluation:
        """:func:`scalar_gradients`."""
        return scalar_gradients(self.decoder, theta, self.events, self.value_ids, scalars)

    def along(
        self,
        theta: Float[Tensor, " P"],
        scalars: Mapping[str, Scalar],
        directions: Float[Tensor, "C P"],
    ) -> Slopes:
        """:func:`scalar_slopes`."""
        where = (self.decoder, theta, self.events, self.value_ids)
        return scalar_slopes(*where, scalars, directions)


def _sites(scalars: Mapping[str, Scalar]) -> frozenset[str]:
    return frozenset().union(*(scalar.sites for scalar in scalars.values()))
