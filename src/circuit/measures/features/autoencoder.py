"""A sparse autoencoder: directions that states are sums of, few at a time (Bricken et al. 2023).

1. States are centred on their mean and divided by one number, their root mean square distance to
   it. So the squared error is the share of variance that is left over, and the sparsity weighs the
   same at every stage; what states owe to their checkpoint stays in them.
2. The encoder is f = relu((x - b_dec) W_enc + b_enc), the decoder f W_dec + b_dec with rows of norm
   1: an activation is the length of its feature's part of the state. Minimised is the mean over
   states of  |x - x̂|² + sparsity · Σ f.
3. Decoder rows begin as the directions of states drawn at random, and encoder columns as the same
   directions: features start where states are.
4. Adam without weight decay, on batches drawn with replacement. The sparsity rises from 0 over the
   first tenth of the steps, the learning rate falls to 0 over the last half.
5. The division is undone in b_enc and b_dec, so the result reads and writes states as they are.
   Features are numbered by their mean squared activation, the largest first.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from circuit.config.recipe import OptimizerSettings
from circuit.training.optimizers import advance, moment_names

_WARM_UP, _DECAY = 0.1, 0.5  # shares of the steps
_JITTER = 1e-3  # of a state's length: the same state may be drawn twice
_TINY = 1e-12
_BATCH = 8192  # states whose activations are held at once


class Weights(NamedTuple):
    """An autoencoder's tensors, in the order in which they lie in its flat vector."""

    W_enc: Float[Tensor, "d F"]
    b_enc: Float[Tensor, " F"]
    W_dec: Float[Tensor, "F d"]
    b_dec: Float[Tensor, " d"]

    def flat(self) -> Float[Tensor, " P"]:
        """All entries as one vector."""
        return torch.cat([part.reshape(-1) for part in self])

    @classmethod
    def views(cls, flat: Float[Tensor, " P"], width: int, size: int) -> Weights:
        """The tensors that a flat vector stands for; decoder rows are brought to norm 1."""
        shapes = ((width, size), (size,), (size, width), (width,))
        parts = flat.split([torch.Size(shape).numel() for shape in shapes])
        found = cls(*(part.view(shape) for part, shape in zip(parts, shapes, strict=True)))
        return found._replace(W_dec=normalize(found.W_dec, dim=1))

    def activations(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n F"]:
        """Step 2 of the module."""
        return torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)


class Fit(Protocol):
    """How large a dictionary is, and how it is fitted."""

    size: int
    sparsity: float
    steps: int
    batch_size: int
    learning_rate: float
    seed: int


def fit_autoencoder(states: Float[Tensor, "n d"], settings: Fit) -> Weights:
    """Fit an autoencoder of ``settings.size`` features to states; the same seed, the same bits."""
    generator = torch.Generator().manual_seed(settings.seed)
    mean = states.mean(0)
    scale = (states - mean).square().sum(1).mean().sqrt().clamp(min=_TINY)
    width, size = states.shape[1], settings.size

    def draw(count: int) -> Float[Tensor, "count d"]:
        return (states[torch.randint(len(states), (count,), generator=generator)] - mean) / scale

    rows = draw(size)
    noise = torch.randn(rows.shape, generator=generator, dtype=rows.dtype)
    directions = normalize(rows + _JITTER * noise, dim=1)
    zeros = rows.new_zeros
    flat = Weights(directions.T, zeros(size), directions, zeros(width)).flat()
    adam = OptimizerSettings(
        learning_rate=settings.learning_rate, betas=(0.9, 0.999), weight_decay=0
    )
    moments = {name: torch.zeros_like(flat) for name in moment_names(adam)}
    for step in range(settings.steps):
        done = step / settings.steps
        sparsity = settings.sparsity * min(1.0, done / _WARM_UP)
        gradient = _gradient(flat, draw(settings.batch_size), sparsity, size)
        rate = settings.learning_rate * min(1.0, (1 - done) / _DECAY)
        advance(adam.model_copy(update={"learning_rate": rate}), flat, moments, gradient, step)
    found = Weights.views(flat, width, size)
    found = found._replace(b_enc=found.b_enc * scale, b_dec=found.b_dec * scale + mean)
    squares = torch.stack([found.activations(x).square().sum(0) for x in states.split(_BATCH)])
    order = squares.sum(0).argsort(descending=True, stable=True)
    return found._replace(
        W_enc=found.W_enc[:, order], b_enc=found.b_enc[order], W_dec=found.W_dec[order]
    )


def _gradient(
    flat: Float[Tensor, " P"], x: Float[Tensor, "n d"], sparsity: float, size: int
) -> Float[Tensor, " P"]:
    """Of what is minimised, on a batch."""
    with torch.enable_grad():
        leaf = flat.detach().requires_grad_()
        weights = Weights.views(leaf, x.shape[1], size)
        active = weights.activations(x)
        error = (x - active @ weights.W_dec - weights.b_dec).square().sum(1).mean()
        loss = error + sparsity * active.sum(1).mean()
        return torch.autograd.grad(loss, leaf)[0]
