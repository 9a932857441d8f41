import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuit.config.recipe import ModelSettings
from circuit.errors import AnalysisError, MismatchError
from circuit.model.sites import sites, stages
from circuit.model.tap import NoTap, Tap
from circuit.model.transformer import Decoder

REFERENCE = {"n_layers": 3, "n_heads": 4, "d_model": 128, "d_ff": 512, "context": 96}


def test_the_fast_path_equals_the_tapped_path(small):
    torch.testing.assert_close(
        small.logits(Tap(capture=sites(2))), small.logits(), rtol=0, atol=1e-12
    )


def test_the_fast_path_equals_the_tapped_path_in_float32(small):
    views = small.decoder.layout.views(small.flat.float())
    fast = small.decoder.forward(views, small.tokens)
    tapped = small.decoder.forward(views, small.tokens, Tap(capture=sites(2)))
    assert fast.dtype == torch.float32
    torch.testing.assert_close(tapped, fast, rtol=0, atol=2e-5)


@given(row=st.integers(0, 3), cut=st.integers(1, 8), seed=st.integers(0, 99))
def test_later_tokens_change_no_earlier_logits(small, row, cut, seed):
    tokens = small.tokens[row : row + 1].clone()
    generator = torch.Generator().manual_seed(seed)
    tokens[:, cut:] = torch.randint(
        small.decoder.vocab_size, tokens[:, cut:].shape, generator=generator
    )
    changed = small.decoder.forward(small.views, tokens)
    whole = small.logits()[row : row + 1]
    torch.testing.assert_close(changed[:, :cut], whole[:, :cut], rtol=0, atol=1e-12)
    if not torch.equal(tokens[:, cut:], small.tokens[row : row + 1, cut:]):
        assert not torch.equal(changed[:, cut:], whole[:, cut:])


def test_a_shorter_stream_has_the_same_logits(small):
    """Padding a program on the right, or not, is the same to it."""
    short = small.decoder.forward(small.views, small.tokens[:, :5])
    torch.testing.assert_close(short, small.logits()[:, :5], rtol=0, atol=1e-12)


def test_forward_is_a_pure_function(small):
    before = small.flat.clone()
    assert torch.equal(small.logits(), small.logits())
    assert torch.equal(small.flat, before)


def test_gradient_in_the_flat_vector_against_finite_differences(small):
    """Along a random direction in every named tensor, one by one."""
    layout = small.decoder.layout
    generator = torch.Generator().manual_seed(2)

    def loss(flat):
        logits = small.decoder.forward(layout.views(flat), small.tokens[:, :-1])
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), small.tokens[:, 1:].flatten()
        )

    flat = small.flat.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(flat), flat)
    for entry in layout.entries:
        direction = torch.zeros(layout.size, dtype=torch.float64)
        part = slice(entry.offset, entry.offset + entry.size)
        direction[part] = torch.randn(entry.size, generator=generator, dtype=torch.float64)
        h = 1e-5
        slope = (loss(small.flat + h * direction) - loss(small.flat - h * direction)) / (2 * h)
        assert float(gradient @ direction) == pytest.approx(float(slope), rel=1e-6, abs=1e-9), (
            entry.name
        )


def test_the_residual_stream_is_the_sum_of_the_writes(small):
    c = small.capture(*sites(2))
    state = c["embedding"]
    for layer in ("layer_0", "layer_1"):
        state = state + c[f"{layer}_attn_write"]
        torch.testing.assert_close(state, c[f"{layer}_post_attn"])
        state = state + c[f"{layer}_mlp_write"]
        torch.testing.assert_close(state, c[f"{layer}_post_mlp"])
    torch.testing.assert_close(
        small.decoder.unembed(small.views, small.decoder.final_norm(small.views, state)),
        small.logits(),
    )
    torch.testing.assert_close(small.decoder.residual(small.views, small.tokens, NoTap()), state)


@pytest.mark.parametrize("layer", [0, 1])
def test_head_writes_and_the_bias_are_the_attention_write(small, layer):
    c = small.capture(f"layer_{layer}_head_write", f"layer_{layer}_attn_write", f"layer_{layer}_z")
    bias = small.views[f"layer_{layer}.attn.b_O"]
    write = c[f"layer_{layer}_head_write"]
    torch.testing.assert_close(write.sum(2) + bias, c[f"layer_{layer}_attn_write"])
    for head in range(3):
        w_o = small.views[f"layer_{layer}.attn.W_O"][head]
        torch.testing.assert_close(write[:, :, head], c[f"layer_{layer}_z"][:, :, head] @ w_o)


@pytest.mark.parametrize("layer", [0, 1])
def test_attention_by_hand(small, layer):
    """Scores, pattern and z from the LayerNorm'd state, one head and one query at a time."""
    at = f"layer_{layer}"
    c = small.capture(*sites(2))
    w, b = small.views[f"{at}.attn.W_QKV"], small.views[f"{at}.attn.b_QKV"]
    x = c[f"{at}_attn_input"][1]
    for head in range(3):
        q, k, v = (x @ w[i, head].T + b[i, head] for i in range(3))
        torch.testing.assert_close(q, c[f"{at}_q"][1, :, head])
        torch.testing.assert_close(k, c[f"{at}_k"][1, :, head])
        torch.testing.assert_close(v, c[f"{at}_v"][1, :, head])
        for query in range(len(x)):
            scores = k[: query + 1] @ q[query] / math.sqrt(4)
            pattern = scores.softmax(0)
            torch.testing.assert_close(scores, c[f"{at}_scores"][1, head, query, : query + 1])
            torch.testing.assert_close(pattern, c[f"{at}_pattern"][1, head, query, : query + 1])
            torch.testing.assert_close(pattern @ v[: query + 1], c[f"{at}_z"][1, query, head])
        assert (c[f"{at}_pattern"][1, head].triu(1) == 0).all()
        assert c[f"{at}_scores"][1, head].isneginf().sum() == 9 * 8 // 2


@pytest.mark.parametrize(
    ("scale", "state", "output", "name"),
    [
        ("layer_0_ln1_scale", "embedding", "layer_0_attn_input", "layer_0.ln1"),
        ("layer_1_ln2_scale", "layer_1_post_attn", "layer_1_mlp_input", "layer_1.ln2"),
        ("final_norm_scale", "layer_1_post_mlp", "final_norm", "final_norm"),
    ],
)
def test_a_scale_is_the_standard_deviation_that_layernorm_divides_by(
    small, scale, state, output, name
):
    c = small.capture(scale, state, output)
    x = c[state]
    torch.testing.assert_close(c[scale], (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt())
    gain, bias = small.views[f"{name}.gain"], small.views[f"{name}.bias"]
    tap = Tap(capture=[output], edits={scale: [lambda s: 2 * s]})
    small.logits(tap)
    halved = (x - x.mean(-1, keepdim=True)) / c[scale] / 2 * gain + bias
    torch.testing.assert_close(tap.cache[output], halved)


@pytest.mark.parametrize("head", [0, 2])
@pytest.mark.parametrize("site", ["layer_1_z", "layer_1_head_write", "layer_0_z"])
def test_ablating_a_head_equals_zeroing_its_output_map(small, site, head):
    layer = int(site.split("_")[1])

    def ablate(value):
        keep = torch.arange(value.shape[2]) != head
        return value * keep[:, None]

    flat = small.flat.clone()
    small.decoder.layout.views(flat)[f"layer_{layer}.attn.W_O"][head] = 0
    without = small.decoder.forward(small.decoder.layout.views(flat), small.tokens)
    ablated = small.logits(Tap(edits={site: [ablate]}))
    torch.testing.assert_close(ablated, without, rtol=0, atol=1e-12)
    assert (without - small.logits()).abs().max() > 1e-3


def test_a_stream_longer_than_the_context(small):
    with pytest.raises(MismatchError) as caught:
        small.decoder.forward(small.views, torch.zeros(1, 10, dtype=torch.long))
    assert str(caught.value) == (
        "streams of 10 tokens — where: Decoder.forward — expected: at most 9, the model's context "
        "— what to do: raise model.context in the recipe, or cut the streams"
    )


@pytest.fixture(scope="module")
def initial():
    """Named initial tensors of a model of reference size, by kind of initialisation."""
    named = {}
    for kind in ("torch_default", "gpt2"):
        decoder = Decoder(ModelSettings(**REFERENCE, initialisation=kind), 146)
        flat = decoder.initialise(torch.Generator().manual_seed(7))
        assert flat.dtype == torch.float32
        assert len(flat) == 626_048
        named[kind] = decoder.layout.views(flat)
    return named


def fan_in(name):
    return 512 if name.endswith((".W_out", ".b_out")) else 128


def test_torch_default_initialisation(initial):
    for name, value in initial["torch_default"].items():
        if name.startswith("embedding."):
            assert abs(float(value.mean())) < 0.03, name
            assert float(value.std()) == pytest.approx(1.0, rel=0.02), name
        elif ".W_" in name or ".b_" in name:
            bound = 1 / math.sqrt(fan_in(name))
            assert float(value.abs().max()) <= bound, name
            assert float(value.abs().max()) > 0.93 * bound, name
            assert float(value.std()) == pytest.approx(bound / math.sqrt(3), rel=0.2), name
            if ".W_" in name:
                assert float(value.std()) == pytest.approx(bound / math.sqrt(3), rel=0.01), name


def test_torch_default_is_what_torch_modules_draw():
    """The bound is nn.Linear's, weight and bias, not a formula of our own."""
    linear = torch.nn.Linear(512, 128)
    bound = 1 / math.sqrt(512)
    for value in (linear.weight.detach(), linear.bias.detach()):
        assert bound * 0.9 < float(value.abs().max()) <= bound * (1 + 1e-6)


def test_gpt2_initialisation(initial):
    for name, value in initial["gpt2"].items():
        if name.startswith("embedding.") or ".W_" in name:
            assert abs(float(value.mean())) < 6e-4, name
            assert float(value.std()) == pytest.approx(0.02, rel=0.02), name
        elif ".b_" in name:
            assert (value == 0).all(), name


@pytest.mark.parametrize("kind", ["torch_default", "gpt2"])
def test_layernorm_starts_as_the_identity(initial, kind):
    for name, value in initial[kind].items():
        if name.endswith(".gain"):
            assert (value == 1).all(), name
        if name.endswith("ln1.bias") or name == "final_norm.bias":
            assert (value == 0).all(), name


def test_initialisation_is_a_function_of_the_generator():
    decoder = Decoder(ModelSettings(n_layers=1, n_heads=2, d_model=4, d_ff=3, context=4), 5)
    draw = [decoder.initialise(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])


@pytest.mark.parametrize("n_layers", [1, 3])
def test_going_on_from_a_stage_gives_what_the_whole_pass_gives(n_layers: int) -> None:
    settings = ModelSettings(n_layers=n_layers, n_heads=2, d_model=16, d_ff=32, context=16)
    decoder = Decoder(settings, vocab_size=20)
    generator = torch.Generator().manual_seed(0)
    params = decoder.layout.views(decoder.initialise(generator).double())
    tokens = torch.randint(20, (5, 12), generator=generator)
    at = torch.tensor([11, 3, 0, 7, 5])
    inner = [name for name in stages(n_layers) if name != "final_norm"]
    tap = Tap(capture=inner)
    whole = decoder.residual(params, tokens, tap)
    for stage in inner:
        x = tap.cache[stage]
        torch.testing.assert_close(decoder.onward(params, stage, x), whole, rtol=1e-12, atol=1e-12)
        one = decoder.onward(params, stage, x, at=at)
        torch.testing.assert_close(one[:, 0], whole[torch.arange(5), at], rtol=1e-12, atol=1e-12)
        slow = Tap(capture=[f"layer_{n_layers - 1}_pattern"])
        one = decoder.onward(params, stage, x, slow, at=at)
        torch.testing.assert_close(one[:, 0], whole[torch.arange(5), at], rtol=1e-12, atol=1e-12)


def test_going_on_from_no_stage_is_refused() -> None:
    decoder = Decoder(ModelSettings(n_layers=1, n_heads=2, d_model=16, d_ff=32, context=16), 20)
    with pytest.raises(AnalysisError, match="layer_4_post_attn"):
        decoder.onward({}, "layer_4_post_attn", torch.zeros(1, 1, 16))
