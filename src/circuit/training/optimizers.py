"""Optimizers whose update is a sum of named components.

With the batch gradient g, the clip coefficient c = min(1, clip / (‖g‖ + 1e-6)) and ĝ = c·g:

- **AdamW** (Loshchilov & Hutter 2019): m' = β₁m + (1-β₁)ĝ, v' = β₂v + (1-β₂)ĝ², b₁ = 1-β₁ᵗ,
  b₂ = 1-β₂ᵗ, D = √(v'/b₂) + ε, θ' = θ - ηλθ - (η/b₁) m'/D.
- **SGD with momentum**: m' = μm + ĝ, θ' = θ - ηλθ - ηm'. Plain **SGD** is μ = 0.

In both, the update is linear in ĝ and in the old moment m once D is given, so one rule covers all:

    current_gradient = a ⊙ ĝ      momentum = b ⊙ m      weight_decay = -ηλθ

with a = -(η/b₁)(1-β₁)/D, b = -(η/b₁)β₁/D for AdamW and a = -η, b = -ημ for SGD. ``rounding`` is
what float32 arithmetic leaves: the actual update minus those three. D contains the current
gradient, so calling the first two "current gradient" and "momentum" is a convention.

:func:`advance` does the float32 arithmetic of training, in place. :func:`components` is computed
beside it, in float64, and only when somebody wants to know.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import OptimizerSettings

Flat = Float[Tensor, " P"]
_MOMENTS = {"adamw": ("exp_avg", "exp_avg_sq"), "sgd": (), "sgd_momentum": ("momentum_buffer",)}


class ClippedGradient(NamedTuple):
    """ĝ with the norm of g before clipping and the coefficient c that was applied."""

    gradient: Flat
    norm: float
    coefficient: float


class Components(NamedTuple):
    """One step's update as a sum, float64 [P] each.

    ``(current_gradient + momentum + weight_decay) + rounding == update`` bit for bit: the update
    is a difference of float32 numbers, so it is exact in float64, and the sum of the first three
    lies so close to it that subtracting and adding back are exact too (Sterbenz). Where an update
    is far below the spacing of its parameter's float32 neighbours (a learning rate times weight
    decay under 2⁻²⁴ with hardly any gradient) single entries can miss by one float64 ulp.
    """

    current_gradient: Flat
    momentum: Flat
    weight_decay: Flat
    rounding: Flat
    update: Flat

    def stacked(self) -> Float[Tensor, "C P"]:
        """The four summands in the order of ``circuit.config.terms.COMPONENTS``."""
        return torch.stack(self[:4])


def moment_names(settings: OptimizerSettings) -> tuple[str, ...]:
    """Names of the optimizer's state vectors."""
    return _MOMENTS[settings.kind]


def learning_rate(settings: OptimizerSettings, step: int) -> float:
    """Learning rate of step ``step`` (counted from 0): linear warm-up, then constant."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    return settings.learning_rate


def clip(settings: OptimizerSettings, gradient: Flat) -> ClippedGradient:
    """Scale the gradient so that its norm is at most ``settings.clip``."""
    norm = torch.linalg.vector_norm(gradient)
    coefficient = 1.0 if settings.clip is None else min(1.0, settings.clip / (float(norm) + 1e-6))
    clipped = gradient if coefficient == 1.0 else gradient * coefficient
    return ClippedGradient(clipped, float(norm), coefficient)


def advance(
    settings: OptimizerSettings,
    theta: Flat,
    moments: dict[str, Tensor],
    gradient: Flat,
    step: int,
) -> None:
    """Apply step ``step`` (counted from 0) to ``theta`` and ``moments``, in place.

    Args:
        gradient: ĝ, already clipped.
    """
    rate = learning_rate(settings, step)
    theta.mul_(1 - rate * settings.weight_decay)
    if settings.kind == "adamw":
        beta1, beta2 = settings.betas
        bias1, bias2 = 1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1)
        moments["exp_avg"].mul_(beta1).add_(gradient, alpha=1 - beta1)
        moments["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        denominator = (moments["exp_avg_sq"] / bias2).sqrt_().add_(settings.eps)
        theta.addcdiv_(moments["exp_avg"], denominator, value=-rate / bias1)
    elif settings.kind == "sgd_momentum":
        moments["momentum_buffer"].mul_(settings.momentum).add_(gradient)
        theta.add_(moments["momentum_buffer"], alpha=-rate)
    else:
        theta.add_(gradient, alpha=-rate)


class Gains(NamedTuple):
    """Factors by which ĝ and the old moment enter the update; float64, [P] or a scalar."""

    gradient: Tensor
    momentum: Tensor


def gains(settings: OptimizerSettings, moments_after: dict[str, Tensor], step: int) -> Gains:
    """a and b of the module docstring for step ``step``; ``moments_after`` are m' and v'."""
    rate = learning_rate(settings, step)
    if settings.kind == "adamw":
        beta1, beta2 = settings.betas
        bias1, bias2 = 1 - beta1 ** (step + 1), 1 - beta2 ** (step + 1)
        denominator = (moments_after["exp_avg_sq"].double() / bias2).sqrt_().add_(settings.eps)
        per_moment = denominator.reciprocal_().mul_(-rate / bias1)
        return Gains(per_moment * (1 - beta1), per_moment * beta1)
    mu = settings.momentum if settings.kind == "sgd_momentum" else 0.0
    a, b = torch.tensor([-rate, -rate * mu], dtype=torch.float64)
    return Gains(a, b)


def components(
    settings: OptimizerSettings,
    theta_before: Flat,
    theta_after: Flat,
    moments_before: dict[str, Tensor],
    moments_after: dict[str, Tensor],
    gradient: Flat,
    step: int,
) -> Components:
    """Split the actual update of step ``step`` into its components, in float64.

    Args:
        gradient: ĝ, already clipped, as it was applied.
    """
    gain = gains(settings, moments_after, step)
    names = moment_names(settings)
    current = gain.gradient * gradient.double()
    first = moments_before[names[0]].double() if names else torch.zeros_like(current)
    momentum = gain.momentum * first
    before = theta_before.double()
    decay = before * (-learning_rate(settings, step) * settings.weight_decay)
    update = theta_after.double() - before
    rounding = update - (current + momentum + decay)
    return Components(current, momentum, decay, rounding, update)


def comparators(
    settings: OptimizerSettings, clipped: ClippedGradient, step: int
) -> dict[str, Flat]:
    """``raw_sgd`` = -ηg and ``clipped_sgd`` = -ηĝ, float64 [P]: never summands of the update."""
    sgd = clipped.gradient.double() * -learning_rate(settings, step)
    return {"raw_sgd": sgd / clipped.coefficient, "clipped_sgd": sgd}
