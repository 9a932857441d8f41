"""What every neuron's own change between checkpoints gave a scalar, event by event.

A neuron's *drive* over an interval from θ to θ' = θ + Δ is the part of the scalar's line integral
∫⟨∇S, Δ⟩ along the chord that belongs to its in-row, its in-bias and its out-column. For all neurons
and events at once it needs no gradient of parameters. With x̂ what the MLP reads, a its activation
and g the gradient of S at what the MLP writes,

    drive = Σ over positions of  φ'(pre) (w_out·g) (Δw_in·x̂ + Δb_in)  +  a (Δw_out·g).

Drives and what all other parameters gave sum to the growth up to the path rule's residual, which is
a part of its own, as is what a scalar's choices made anew at θ' change (a rival, a basis).

*Random read-outs* are the control: the same with g turned, at every state by one random rotation.
What is read there has the same norm at the same positions, and another direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from circuit.attribution.engine import PATH_RULES
from circuit.model.transformer import Decoder, Params
from circuit.scalars.base import Scalar, Seen, look
from circuit.scalars.evaluate import scalar_values
from circuit.task.events import ReadEvents


class Drives(NamedTuple):
    """One interval's, for scalars S, events E, neurons N (all layers') and random rotations K.

    All float64. ``whole`` is ⟨Ḡ, Δ⟩ over all parameters, ``rebound`` what choices made anew change
    at θ', both of the mean over events; ``before`` and ``after`` are values at θ and, bound anew,
    at θ'.
    """

    neurons: Float[Tensor, "S E N"]
    random: Float[Tensor, "K S E N"]
    whole: Float[Tensor, " S"]
    rebound: Float[Tensor, " S"]
    before: Float[Tensor, "S E"]
    after: Float[Tensor, "S E"]

    @property
    def growth(self) -> Float[Tensor, " S"]:
        """S(θ') − S(θ) of the mean over events."""
        return self.after.mean(-1) - self.before.mean(-1)

    @property
    def parts(self) -> dict[str, Float[Tensor, " S"]]:
        """What neurons, other parameters, choices made anew and the residual sum to: growth."""
        own = self.neurons.mean(1).sum(-1)
        return {
            "neurons": own,
            "other parameters": self.whole - own,
            "choices made anew": self.rebound,
            "residual": self.growth - self.whole - self.rebound,
        }


def random_rotations(width: int, count: int, seed: int) -> Float[Tensor, "K d d"]:
    """Uniformly distributed orthogonal matrices (QR of normal entries, signs fixed)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, width, width, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    turned: Tensor = q * r.diagonal(dim1=1, dim2=2).sign()[:, None, :]
    return turned


def neuron_drives(
    decoder: Decoder,
    before: Float[Tensor, " P"],
    after: Float[Tensor, " P"],
    events: ReadEvents,
    value_ids: range,
    scalars: Mapping[str, Scalar],
    rule: str,
    rotations: Float[Tensor, "K d d"],
) -> Drives:
    """Every neuron's drive for every scalar over one interval; see the module.

    A forward pass over the events at every node of the path rule, and a backward pass for each
    scalar there. Scalars read the MLPs through the pass alone (none runs on by itself).
    """
    change, layers = after - before, range(decoder.settings.n_layers)
    start, moved = decoder.layout.views(before), decoder.layout.views(change)
    about, shape = (events, value_ids), (len(events), decoder.settings.d_ff)
    bound = _bound(scalars, before)
    values = scalar_values(decoder, before, *about, bound)
    # What meets the out-column's change, and its value at θ: sums over nodes and positions of g.
    columns = before.new_zeros(2, len(scalars), len(layers), *shape, decoder.settings.d_model)
    whole = torch.zeros(len(scalars), dtype=torch.float64)
    for node, weight in sorted(PATH_RULES[rule].items()):
        theta = torch.lerp(before, after, node)
        bound = {name: scalar.along(theta) for name, scalar in bound.items()}
        sites = frozenset(f"layer_{layer}_{site}" for layer in layers for site in _SITES)
        read = sites.union(*(scalar.sites for scalar in bound.values()))
        seen = look(decoder, theta.requires_grad_(), *about, read)
        inner = [_inner(seen, moved, layer) for layer in layers]
        written = [seen.sites[f"layer_{layer}_mlp_write"] for layer in layers]
        for s, scalar in enumerate(bound.values()):
            total, *gradients = torch.autograd.grad(
                scalar(seen).sum(), [theta, *written], retain_graph=True, allow_unused=True
            )
            whole[s] += weight / len(events) * (total.double() @ change.double())
            for layer, g in enumerate(gradients):
                if g is not None:  # else nothing of this layer reaches the scalar
                    of_in, of_out = (torch.einsum("etn,etd->end", a, g) for a in inner[layer])
                    columns[0, s, layer] += weight * (of_out + node * of_in)
                    columns[1, s, layer] += weight * of_in
    ends = ({n: scalar.along(after) for n, scalar in bound.items()}, _bound(scalars, after))
    held, arrived = (scalar_values(decoder, after, *about, some).double() for some in ends)
    turned = torch.cat(
        [torch.eye(len(rotations[0]), dtype=before.dtype)[None], rotations.to(before)]
    )
    drives = torch.zeros(len(turned), len(scalars), shape[0], len(layers), shape[1]).double()
    for layer in layers:
        for grown, weights in zip(columns[:, :, layer], (moved, start), strict=True):
            rows = weights[f"layer_{layer}.mlp.W_out"] @ turned  # (Q g)·w = g·(Qᵀ w)
            drives[:, :, :, layer] += torch.einsum("send,knd->ksen", grown, rows).double()
    flat = drives.flatten(3)
    rebound = (arrived - held).mean(1)
    return Drives(flat[0], flat[1:], whole, rebound, values.double(), arrived)


_SITES = ("mlp_input", "neurons_pre", "neurons", "mlp_write")


def _bound(scalars: Mapping[str, Scalar], theta: Float[Tensor, " P"]) -> dict[str, Scalar]:
    return {name: scalar.at(theta) for name, scalar in scalars.items()}


@torch.no_grad()
def _inner(
    seen: Seen, moved: Params, layer: int
) -> tuple[Float[Tensor, "E T N"], Float[Tensor, "E T N"]]:
    """What an in-row's change does to the activation, to first order, and the activation."""
    x, pre, active = (seen.sites[f"layer_{layer}_{site}"] for site in _SITES[:3])
    step = F.linear(x, moved[f"layer_{layer}.mlp.W_in"], moved[f"layer_{layer}.mlp.b_in"])
    normal = torch.distributions.Normal(0.0, 1.0)
    slope = normal.cdf(pre) + pre * normal.log_prob(pre).exp()  # of the exact GELU
    return slope * step, active.detach()
