import pytest
import torch
from scalar_cases import CASES

from circuit.model.sites import sites
from circuit.scalars import base
from circuit.scalars.evaluate import scalar_gradients, scalar_values


def mean(world, scalar, theta):
    return float(world.values(scalar, theta).mean())


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_the_gradient_is_the_means_by_finite_differences(world, settings):
    """In float64, along random directions; a fixed basis, rival or readout stays fixed."""
    scalar = world.build(**settings)
    gradient = world.gradient(scalar)
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        up = mean(world, scalar, world.theta + 1e-6 * direction)
        down = mean(world, scalar, world.theta - 1e-6 * direction)
        slope = (up - down) / 2e-6
        size = float(gradient.norm())
        assert float(gradient @ direction) == pytest.approx(slope, rel=1e-6, abs=1e-6 * size)
    assert size > 1e-3


def test_the_own_basis_turns_with_the_parameters_and_a_fixed_one_does_not(world):
    """The gradients differ by the motion of the basis, even where the values agree."""
    own = world.build(**CASES["qk_separation rank 3 own"])
    frozen = world.build(**CASES["qk_separation rank 3 source"]).at(world.theta)
    torch.testing.assert_close(world.values(own), world.values(frozen), rtol=0, atol=1e-12)
    motion = world.gradient(own) - world.gradient(frozen)
    assert motion.norm() > 0.01 * world.gradient(own).norm()
    entries = {e.name: e for e in world.decoder.layout.entries}
    at = entries["layer_1.attn.W_QKV"]
    outside = motion.clone()
    outside[at.offset : at.offset + at.size] = 0
    assert outside.abs().max() < 1e-12  # only the head's own matrices turn its basis


@pytest.mark.parametrize("name", ["qk_separation", "ov_value_margin moving", "support_attention"])
def test_a_head_does_not_depend_on_what_comes_after_it(world, name):
    gradient = world.gradient(world.build(**CASES[name]))
    later = [
        entry.name
        for entry in world.decoder.layout.entries
        if gradient[entry.offset : entry.offset + entry.size].any()
        and entry.name.startswith(("layer_1.ln2", "layer_1.mlp", "layer_1.attn.b_O"))
    ]
    assert later == []


def test_one_shared_pass_gives_what_separate_ones_give(world, monkeypatch):
    scalars = {name: world.build(**settings) for name, settings in CASES.items()}
    passes = []
    forward = type(world.decoder).forward
    monkeypatch.setattr(type(world.decoder), "forward", lambda *a: passes.append(1) or forward(*a))
    together = scalar_gradients(world.decoder, world.theta, world.events, world.value_ids, scalars)
    assert len(passes) == 1
    assert together.values.shape == (len(CASES), len(world.events))
    for row, scalar in enumerate(scalars.values()):
        torch.testing.assert_close(
            together.values[row], world.values(scalar), rtol=1e-11, atol=1e-12
        )
        torch.testing.assert_close(
            together.gradients[row], world.gradient(scalar), rtol=1e-9, atol=1e-11
        )


def test_values_without_gradients_are_the_same(world):
    scalars = {name: world.build(**settings) for name, settings in CASES.items()}
    arguments = (world.decoder, world.theta, world.events, world.value_ids, scalars)
    both = scalar_gradients(*arguments)
    values = scalar_values(*arguments)
    assert torch.equal(both.values, values)
    assert not values.requires_grad
    assert not both.gradients.requires_grad
    assert torch.equal(both.means, values.mean(1))


def test_evaluating_changes_no_parameters(world):
    before = world.theta.clone()
    world.gradient(world.build(**CASES["qk_separation rank 3 own"]))
    assert torch.equal(world.theta, before)
    assert not world.theta.requires_grad


class SiteLog(base.Tap):
    """A tap that notes the sites the forward pass came to."""

    visited: list[str]

    def __call__(self, site, value):
        self.visited.append(site)
        return super().__call__(site, value)


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_the_pass_ends_at_the_last_site_that_is_read(world, monkeypatch, settings):
    scalar = world.build(**settings)
    monkeypatch.setattr(SiteLog, "visited", [], raising=False)
    monkeypatch.setattr(base, "Tap", SiteLog)
    world.values(scalar)
    order = sites(2)
    last = max(scalar.sites, key=order.index)
    if settings["scalar"] == "rescue":
        last = "final_norm"  # it goes on from its stage to the answer
    assert SiteLog.visited[-1] == last
    assert max(map(order.index, SiteLog.visited)) == order.index(last)


def test_later_layers_are_never_computed(world):
    """Parameters that are not numbers spoil only what reads them."""
    spoiled = world.theta.clone()
    for name, view in world.decoder.layout.views(spoiled).items():
        if name.startswith(("layer_1", "final_norm")):
            view.fill_(torch.nan)
    scalar = world.build(scalar="qk_separation", head="L0H1")
    assert torch.equal(world.values(scalar, spoiled), world.values(scalar))
    assert torch.equal(world.gradient(scalar, spoiled), world.gradient(scalar))
    assert world.values(world.build(scalar="answer_margin"), spoiled).isnan().all()
