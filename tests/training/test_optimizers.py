import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuit.config.recipe import OptimizerSettings
from circuit.config.terms import COMPARATORS, COMPONENTS
from circuit.training.optimizers import (
    Components,
    advance,
    clip,
    comparators,
    components,
    gains,
    learning_rate,
    moment_names,
)

KINDS = ("adamw", "sgd", "sgd_momentum")
EPS = torch.finfo(torch.float32).eps


def settings_of(kind, **changes):
    return OptimizerSettings(kind=kind, **{"learning_rate": 0.01, "weight_decay": 0.1, **changes})


def gradients(size, steps, seed=0, dtype=torch.float32):
    """Gradients whose norms lie on both sides of 1."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        direction = torch.randn(size, generator=generator, dtype=torch.float64)
        yield (direction / direction.norm() * 10 ** (-1 + 2 * (step % 5) / 4)).to(dtype)


def start_of(settings, size, seed=1, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)
    return theta, {name: torch.zeros_like(theta) for name in moment_names(settings)}


def steps_of(settings, size=200, steps=12, seed=0, dtype=torch.float32):
    """(step, θ before and after, moments before and after, clipped gradient, g) of a random run."""
    theta, moments = start_of(settings, size, seed + 1, dtype)
    for step, gradient in enumerate(gradients(size, steps, seed, dtype)):
        clipped = clip(settings, gradient)
        before = theta.clone(), {name: value.clone() for name, value in moments.items()}
        advance(settings, theta, moments, clipped.gradient, step)
        after = theta.clone(), {name: value.clone() for name, value in moments.items()}
        yield step, before, after, clipped, gradient


def split(settings, step, before, after, clipped) -> Components:
    return components(settings, before[0], after[0], before[1], after[1], clipped.gradient, step)


@pytest.mark.parametrize("kind", KINDS)
def test_thirty_updates_are_torch_optims(kind):
    """With warm-up and clipping; torch's SGD has no decoupled decay, so it is applied beside it."""
    settings = settings_of(kind, warmup_steps=7, clip=1.0, betas=(0.8, 0.97), momentum=0.85)
    theta, moments = start_of(settings, 300)
    parameter = torch.nn.Parameter(theta.clone())
    if kind == "adamw":
        optimizer = torch.optim.AdamW(
            [parameter], settings.learning_rate, settings.betas, settings.eps, 0.1
        )
    else:
        momentum = 0.85 if kind == "sgd_momentum" else 0.0
        optimizer = torch.optim.SGD([parameter], settings.learning_rate, momentum=momentum)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 7, total_iters=6)
    coefficients = []
    for step, gradient in enumerate(gradients(300, 30)):
        clipped = clip(settings, gradient)
        coefficients.append(clipped.coefficient)
        advance(settings, theta, moments, clipped.gradient, step)

        parameter.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_([parameter], 1.0)
        assert clipped.norm == pytest.approx(float(norm), rel=1e-6)
        if kind != "adamw":
            with torch.no_grad():
                parameter.mul_(1 - warmup.get_last_lr()[0] * 0.1)
        optimizer.step()
        warmup.step()
        torch.testing.assert_close(theta, parameter.data, rtol=1e-5, atol=1e-6)
        for name, value in moments.items():
            theirs = optimizer.state[parameter][name]
            torch.testing.assert_close(value, theirs, rtol=1e-5, atol=1e-7)
    assert min(coefficients) < 0.2  # both branches of clipping were met
    assert coefficients.count(1.0) > 5


def test_moments_have_torchs_names():
    assert moment_names(settings_of("adamw")) == ("exp_avg", "exp_avg_sq")
    assert moment_names(settings_of("sgd_momentum")) == ("momentum_buffer",)
    assert moment_names(settings_of("sgd")) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_is_made_in_place(kind):
    settings = settings_of(kind)
    theta, moments = start_of(settings, 5)
    places = [theta.data_ptr(), *(value.data_ptr() for value in moments.values())]
    advance(settings, theta, moments, torch.ones(5), 0)
    assert places == [theta.data_ptr(), *(value.data_ptr() for value in moments.values())]


@given(
    kind=st.sampled_from(KINDS),
    rate=st.floats(1e-4, 1.0),
    decay=st.just(0.0) | st.floats(0.01, 0.9),
    betas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.9999)),
    momentum=st.floats(0, 0.99),
    limit=st.none() | st.floats(0.01, 20),
    warmup=st.integers(0, 6),
    seed=st.integers(0, 999),
)
def test_components_sum_to_the_update_bit_for_bit(
    kind, rate, decay, betas, momentum, limit, warmup, seed
):
    settings = OptimizerSettings(
        kind=kind,
        learning_rate=rate,
        weight_decay=decay,
        betas=betas,
        momentum=momentum,
        clip=limit,
        warmup_steps=warmup,
    )
    for step, before, after, clipped, _ in steps_of(settings, size=100, steps=8, seed=seed):
        part = split(settings, step, before, after, clipped)
        total = ((part.current_gradient + part.momentum) + part.weight_decay) + part.rounding
        assert torch.equal(total, part.update)
        assert torch.equal(part.update, after[0].double() - before[0].double())
        assert all(value.dtype == torch.float64 for value in part)
        # A few float32 roundings of whatever the step handles.
        size = before[0].abs().double() + part.stacked()[:3].abs().sum(0)
        assert (part.rounding.abs() <= 8 * EPS * size).all()


def test_an_update_below_float32s_resolution_is_met_within_one_unit_in_the_last_place():
    """Decay and gradient of half a unit each: the only place where the sum is not exact."""
    settings = settings_of("sgd", learning_rate=2**-24 * 0.51, weight_decay=1.0, clip=None)
    generator = torch.Generator().manual_seed(0)
    theta = 1 + torch.rand(50_000, generator=generator)
    gradient = 2 * torch.randn(50_000, generator=generator)
    before = theta.clone()
    advance(settings, theta, {}, gradient, 0)
    part = components(settings, before, theta, {}, {}, gradient, 0)
    total = ((part.current_gradient + part.momentum) + part.weight_decay) + part.rounding
    unit = torch.nextafter(part.update.abs(), torch.tensor(math.inf).double()) - part.update.abs()
    assert ((total - part.update).abs() <= unit).all()


@pytest.mark.parametrize(
    "kind",
    [
        "adamw",
        "sgd",
        "sgd_momentum",
    ],
)
def test_rounding_vanishes_when_training_in_float64(kind):
    """So rounding is floating point's and holds no part of the update's formula."""
    settings = settings_of(kind)
    for step, before, after, clipped, _ in steps_of(settings, dtype=torch.float64):
        part = split(settings, step, before, after, clipped)
        assert part.rounding.abs().max() < 1e-14


def by_definition(settings, step, theta, moments, clipped):
    """Components as written in the definitions, one parameter at a time, in Python floats."""
    warm = settings.warmup_steps
    rate = settings.learning_rate * min(1.0, (step + 1) / warm if warm else 1.0)
    rows = []
    for i, (g, x) in enumerate(zip(clipped.tolist(), theta.tolist(), strict=True)):
        decay = -rate * settings.weight_decay * x
        if settings.kind == "adamw":
            (beta1, beta2), t = settings.betas, step + 1
            m, v = float(moments["exp_avg"][i]), float(moments["exp_avg_sq"][i])
            v = beta2 * v + (1 - beta2) * g * g
            d = math.sqrt(v / (1 - beta2**t)) + settings.eps
            scale = -rate / (1 - beta1**t) / d
            rows.append((scale * (1 - beta1) * g, scale * beta1 * m, decay))
        else:
            mu = settings.momentum if settings.kind == "sgd_momentum" else 0.0
            m = float(moments["momentum_buffer"][i]) if mu else 0.0
            rows.append((-rate * g, -rate * mu * m, decay))
    return np.array(rows).T


@pytest.mark.parametrize("kind", KINDS)
def test_components_are_those_of_the_definitions(kind):
    settings = settings_of(kind, warmup_steps=4, clip=1.0)
    for step, before, after, clipped, _ in steps_of(settings, size=50):
        part = split(settings, step, before, after, clipped)
        expected = by_definition(settings, step, *before, clipped.gradient)
        for name, values in zip(COMPONENTS, expected, strict=False):
            np.testing.assert_allclose(getattr(part, name), values, rtol=3e-6, atol=1e-12)
    assert (part.momentum != 0).any() == (kind != "sgd")


@pytest.mark.parametrize("kind", KINDS)
def test_gains_are_the_derivatives_of_the_update(kind):
    """Once the denominator is given, the update is linear in the gradient and the old moment."""
    settings = settings_of(kind, weight_decay=0.0)
    *_, (step, before, after, clipped, _) = steps_of(settings, dtype=torch.float64)
    gain = gains(settings, after[1], step)
    first = moment_names(settings)[0] if moment_names(settings) else None
    old = before[1][first] if first else torch.zeros(200).double()
    linear = gain.gradient * clipped.gradient + gain.momentum * old
    torch.testing.assert_close(linear, after[0] - before[0], rtol=1e-6, atol=1e-9)


def test_names_of_components_are_their_fields():
    assert Components._fields == (*COMPONENTS, "update")
    *_, (step, before, after, clipped, _) = steps_of(settings_of("adamw"))
    part = split(settings_of("adamw"), step, before, after, clipped)
    assert torch.equal(part.stacked(), torch.stack([getattr(part, n) for n in COMPONENTS]))


@pytest.mark.parametrize("kind", KINDS)
def test_comparators_are_plain_gradient_steps(kind):
    settings = settings_of(kind, warmup_steps=3)
    for step, _, _, clipped, gradient in steps_of(settings):
        found = comparators(settings, clipped, step)
        assert tuple(found) == COMPARATORS
        rate = learning_rate(settings, step)
        torch.testing.assert_close(found["raw_sgd"], -rate * gradient.double(), rtol=2e-7, atol=0)
        assert torch.equal(found["clipped_sgd"], -rate * clipped.gradient.double())


def test_clipping_leaves_a_short_gradient_alone_and_shortens_a_long_one():
    settings = settings_of("adamw", clip=0.5)
    short, long = torch.tensor([0.3, 0.3]), torch.tensor([3.0, 4.0])
    assert clip(settings, short).coefficient == 1.0
    assert clip(settings, short).gradient is short
    clipped = clip(settings, long)
    assert clipped.norm == 5.0
    assert clipped.coefficient == pytest.approx(0.1, rel=1e-6)
    torch.testing.assert_close(clipped.gradient, torch.tensor([0.3, 0.4]))
    assert clip(settings_of("adamw", clip=None), long).coefficient == 1.0


def test_warm_up_is_linear_from_the_first_step_and_then_constant():
    settings = settings_of("adamw", learning_rate=0.8, warmup_steps=4)
    assert [learning_rate(settings, t) for t in range(6)] == [
        0.2,
        0.4,
        0.6000000000000001,
        *[0.8] * 3,
    ]
    assert learning_rate(settings_of("adamw", learning_rate=0.8), 0) == 0.8
