import pytest
import torch

from circuit.errors import AnalysisError
from circuit.model.sites import sites
from circuit.model.tap import Tap


def test_edits_apply_in_order_and_capture_comes_after(small):
    tap = Tap(
        capture=["layer_0_attn_write"],
        edits={"layer_0_attn_write": [lambda x: x + 1, lambda x: 2 * x]},
    )
    small.logits(tap)
    clean = small.capture("layer_0_attn_write")["layer_0_attn_write"]
    torch.testing.assert_close(tap.cache["layer_0_attn_write"], 2 * (clean + 1))


@pytest.mark.parametrize("site", sites(2))
def test_the_model_goes_on_with_what_an_edit_returns(small, site):
    """An edit at any site changes the logits, and the identity edit does not."""
    same = small.logits(Tap(edits={site: [lambda x: x]}))
    torch.testing.assert_close(same, small.logits(), rtol=0, atol=1e-12)
    generator = torch.Generator().manual_seed(1)
    other = small.logits(
        Tap(edits={site: [lambda x: x + torch.randn(x.shape, generator=generator)]})
    )
    assert (other - small.logits()).abs().max() > 1e-3


def test_an_edit_does_not_reach_what_was_computed_before_it(small):
    later = Tap(capture=["layer_0_post_attn"], edits={"layer_0_mlp_write": [torch.zeros_like]})
    small.logits(later)
    clean = small.capture("layer_0_post_attn")
    assert torch.equal(later.cache["layer_0_post_attn"], clean["layer_0_post_attn"])


def test_gradients_at_a_captured_site(small):
    tap = Tap(capture=["layer_1_post_attn"])
    flat = small.flat.clone().requires_grad_()
    logits = small.decoder.forward(small.decoder.layout.views(flat), small.tokens, tap)
    state = tap.cache["layer_1_post_attn"]
    (gradient,) = torch.autograd.grad(logits[:, -1, 3].sum(), state)
    step = 1e-6 * torch.randn(state.shape, generator=torch.Generator().manual_seed(0)).double()

    def value(sign):
        edited = small.logits(Tap(edits={"layer_1_post_attn": [lambda x: x + sign * step]}))
        return edited[:, -1, 3].sum()

    torch.testing.assert_close(
        (value(1) - value(-1)) / 2, (gradient * step).sum(), rtol=1e-6, atol=1e-14
    )


def test_stop_ends_the_pass_at_the_last_wanted_site(small):
    met = []

    class Recorder(Tap):
        def __call__(self, site, value):
            met.append(site)
            return super().__call__(site, value)

    tap = Recorder(capture=["layer_0_z", "embedding"], stop=True)
    assert small.decoder.forward(small.views, small.tokens, tap) is None
    assert met[-1] == "layer_0_z"
    assert tap.cache.keys() == {"embedding", "layer_0_z"}


def test_stop_waits_for_edits_too(small):
    scale = {"layer_1_z": [lambda z: 2 * z]}
    tap = Tap(capture=["layer_0_z", "layer_1_z"], edits=scale, stop=True)
    small.decoder.forward(small.views, small.tokens, tap)
    expected = small.capture("layer_1_z")["layer_1_z"]
    torch.testing.assert_close(tap.cache["layer_1_z"], 2 * expected)


def test_a_stopping_tap_serves_several_passes(small):
    wanted = ["embedding", "layer_1_post_mlp"]
    tap = Tap(capture=wanted, stop=True)
    for rows in (slice(0, 2), slice(2, 4)):
        assert small.decoder.forward(small.views, small.tokens[rows], tap) is None
        whole = small.capture(*wanted)
        for site in wanted:
            torch.testing.assert_close(tap.cache[site], whole[site][rows])


def test_a_tap_of_nothing_changes_nothing(small):
    assert torch.equal(small.logits(Tap()), small.logits())
    assert small.decoder.forward(small.views, small.tokens, Tap(stop=True)) is not None


@pytest.mark.parametrize("tap", [Tap(capture=["layer_0_zz"]), Tap(edits={"layer_0_zz": []})])
def test_a_site_that_does_not_exist_is_refused(small, tap):
    with pytest.raises(AnalysisError, match=r"unknown site 'layer_0_zz'.*did you mean 'layer_0_z'"):
        small.decoder.forward(small.views, small.tokens, tap)


def test_an_alias_at_the_tap_is_refused_with_its_site(small):
    tap = Tap(capture=["blocks.1.attn.hook_z"])
    with pytest.raises(AnalysisError, match="did you mean 'layer_1_z'"):
        small.decoder.forward(small.views, small.tokens, tap)


def test_only_what_is_wanted_leaves_the_fused_kernel(small, monkeypatch):
    """Scores and patterns cost memory; a tap that asks for neither must not pay for them."""
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def counting(*args, **kwargs):
        calls.append(1)
        return fused(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counting)
    small.logits(Tap(capture=["layer_0_z", "layer_1_q", "layer_1_pattern"]))
    assert len(calls) == 1
