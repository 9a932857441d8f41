"""Activation functions of dictionaries against their definitions, in float64."""

import pytest
import torch
from torch import Tensor

from circuit.measures.features.activations import (
    aux_k,
    batch_top_k,
    count_above,
    jump_relu,
    nested_error,
    prefixes,
    running_threshold,
    top_k,
)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_topk_keeps_as_many_of_every_state():
    drive = _normal(50, 12)
    active = top_k(drive, 3)
    for row, kept in zip(drive, active, strict=True):
        expected = {i for i in row.argsort(descending=True)[:3].tolist() if row[i] > 0}
        assert set(kept.nonzero()[:, 0].tolist()) == expected
    assert torch.equal(active[active > 0], drive[active > 0])


def test_batchtopk_keeps_as_many_of_a_batch_by_weighted_drive():
    drive, weight = _normal(50, 12), _normal(12, seed=1).abs()
    active = batch_top_k(drive, 2.5, weight)
    cut = (drive.relu() * weight).flatten().sort(descending=True).values[124]
    assert torch.equal(active, torch.where(drive.relu() * weight >= cut, drive.relu(), 0))
    assert int((active > 0).sum()) == 125
    assert torch.equal(batch_top_k(drive, 12), drive.relu())  # more than are positive


def test_batchtopk_of_one_state_is_topk():
    drive = _normal(1, 20)
    assert torch.equal(batch_top_k(drive, 4), top_k(drive, 4))


def test_jumprelu_is_zero_up_to_its_threshold_and_never_negative():
    drive = torch.tensor([[-1.0, 0.2, 0.5, 0.9]], dtype=torch.float64)
    threshold = torch.tensor([-2.0, 0.5, 0.5, 0.5], dtype=torch.float64)
    assert jump_relu(drive, threshold).tolist() == [[0, 0, 0, 0.9]]
    assert count_above(drive, threshold, 1e-3).tolist() == [1]
    assert torch.equal(jump_relu(drive, threshold * 0), drive.relu())


def test_a_threshold_has_the_gradient_of_the_mean_activation():
    """Mean activation of many drives: its derivative by t is -t · p(t), p their density at t."""
    drive = torch.linspace(0, 2, 20_001, dtype=torch.float64)[:, None]  # density 1/2
    threshold = torch.full((1,), 0.8, dtype=torch.float64, requires_grad=True)
    (mean,) = torch.autograd.grad(jump_relu(drive, threshold, 0.1).mean(), threshold)
    (count,) = torch.autograd.grad(count_above(drive, threshold, 0.1).mean(), threshold)
    assert mean.item() == pytest.approx(-0.8 / 2, rel=2e-3)
    assert count.item() == pytest.approx(-1 / 2, rel=2e-3)


def test_the_threshold_is_a_running_mean_of_the_smallest_activation():
    first, second = torch.tensor([[0.0, 0.5, 0.7]]), torch.tensor([[0.3, 0.0, 0.9]])
    after = running_threshold(running_threshold(None, first), second)
    assert after.item() == pytest.approx(0.99 * 0.5 + 0.01 * 0.3)
    assert torch.equal(running_threshold(after, torch.zeros(1, 3)), after)


def test_prefixes_are_nested_halves():
    assert prefixes(64, 4) == (8, 16, 32, 64)
    assert prefixes(3, 4) == (1, 3)
    assert prefixes(5, 1) == (5,)


def test_the_nested_error_is_the_mean_of_every_prefixs_error():
    x, active, b_dec = _normal(9, 5), _normal(9, 8).relu(), _normal(5, seed=3)
    W_dec = _normal(8, 5, seed=2)
    apart = [(x - active[:, :n] @ W_dec[:n] - b_dec).square().sum(1).mean() for n in prefixes(8, 3)]
    found = nested_error(x, active, W_dec, b_dec, prefixes(8, 3))
    torch.testing.assert_close(found, torch.stack(apart).mean(), rtol=1e-12, atol=0)


def test_auxk_leaves_nothing_where_dead_features_span_the_residual_whatever_the_bias():
    """x̂ holds the bias already; a decoder that added it again would leave all of it over."""
    W_dec = torch.eye(6, dtype=torch.float64)
    dead = torch.tensor([False, False, False, True, True, True])
    x, b_dec = _normal(40, 6), 10 * _normal(6, seed=4)
    alive = torch.where(dead, 0, x - b_dec)
    residual = x - (alive @ W_dec + b_dec)
    assert aux_k(residual, x - b_dec, dead, W_dec).item() == pytest.approx(0, abs=1e-20)
    assert aux_k(residual, x, dead, W_dec).item() > 1


def test_auxk_is_about_dead_features_alone_and_leaves_the_residual_alone():
    residual, drive = _normal(20, 6).requires_grad_(), _normal(20, 8, seed=1).requires_grad_()
    dead = torch.tensor([True] * 2 + [False] * 6)
    loss = aux_k(residual, drive, dead, _normal(8, 6, seed=2))
    loss.backward()
    assert residual.grad is None
    assert drive.grad is not None
    assert (drive.grad[:, :2] != 0).all()
    assert (drive.grad[:, 2:] == 0).all()
    assert aux_k(residual, drive, torch.zeros_like(dead), _normal(8, 6)).item() == 0
