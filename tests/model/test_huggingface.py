import sys

import pytest
import torch

from circuit.config.recipe import ModelSettings
from circuit.errors import CircuitError, MismatchError
from circuit.model.huggingface import from_huggingface, to_huggingface
from circuit.model.transformer import Decoder

transformers = pytest.importorskip("transformers")


def random_gpt2(**changes):
    """A Hugging Face GPT-2 drawn by Hugging Face, every parameter away from 0 and 1."""
    config = transformers.GPT2Config(
        **{
            "vocab_size": 13,
            "n_positions": 9,
            "n_embd": 12,
            "n_layer": 2,
            "n_head": 3,
            "n_inner": 10,
            "activation_function": "gelu",
            "bos_token_id": None,
            "eos_token_id": None,
        }
        | changes
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = transformers.GPT2LMHeadModel(config).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_logits_equal_those_of_hugging_face_at_reference_size(dtype, atol):
    settings = ModelSettings(
        n_layers=3, n_heads=4, d_model=128, d_ff=512, context=96, initialisation="gpt2"
    )
    decoder = Decoder(settings, 146)
    generator = torch.Generator().manual_seed(1)
    flat = decoder.initialise(generator)
    flat = (flat + 0.02 * torch.randn(flat.shape, generator=generator)).to(dtype)
    tokens = torch.randint(146, (2, 96), generator=generator)
    model = to_huggingface(decoder, flat)
    with torch.no_grad():
        theirs = model(tokens).logits
    ours = decoder.forward(decoder.layout.views(flat), tokens)
    assert theirs.dtype == ours.dtype == dtype
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)


def test_hidden_states_and_attentions_equal_those_of_hugging_face(small):
    cache = small.capture(
        "embedding", "layer_0_post_mlp", "final_norm", "layer_0_pattern", "layer_1_pattern"
    )
    with torch.no_grad():
        out = to_huggingface(small.decoder, small.flat)(
            small.tokens, output_hidden_states=True, output_attentions=True
        )
    for state, site in zip(
        out.hidden_states, ("embedding", "layer_0_post_mlp", "final_norm"), strict=True
    ):
        torch.testing.assert_close(cache[site], state, rtol=0, atol=1e-10)
    for layer, pattern in enumerate(out.attentions):
        torch.testing.assert_close(cache[f"layer_{layer}_pattern"], pattern, rtol=0, atol=1e-10)


def test_our_parameters_survive_a_round_trip_bitwise(small):
    settings, vocab_size, flat = from_huggingface(to_huggingface(small.decoder, small.flat))
    assert settings == small.decoder.settings.model_copy(update={"initialisation": "gpt2"})
    assert vocab_size == small.decoder.vocab_size
    assert flat.dtype == small.flat.dtype
    assert torch.equal(flat, small.flat)


@pytest.mark.parametrize("n_inner", [10, None])
def test_a_hugging_face_model_survives_a_round_trip_bitwise(n_inner):
    model = random_gpt2(n_inner=n_inner)
    settings, vocab_size, flat = from_huggingface(model)
    decoder = Decoder(settings, vocab_size)
    assert not flat.requires_grad
    tokens = torch.arange(9)[None] % 13
    with torch.no_grad():
        theirs = model(tokens).logits
    ours = decoder.forward(decoder.layout.views(flat), tokens)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)

    back = to_huggingface(decoder, flat).state_dict()
    assert back.keys() == model.state_dict().keys()
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())


def test_conversion_copies(small):
    flat = small.flat.clone()
    model = to_huggingface(small.decoder, flat)
    with torch.no_grad():
        model.transformer.wte.weight.fill_(1.0)
    assert torch.equal(flat, small.flat)
    _, _, back = from_huggingface(model)
    with torch.no_grad():
        model.transformer.wpe.weight.fill_(2.0)
    assert not (back == 2.0).any()


def test_conversion_leaves_the_global_random_state_alone(small):
    before = torch.random.get_rng_state()
    to_huggingface(small.decoder, small.flat)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("activation_function", "gelu_new", "activation_function='gelu'"),
        ("layer_norm_epsilon", 1e-6, "layer_norm_epsilon=1e-05"),
        ("scale_attn_weights", False, "scale_attn_weights=True"),
        ("scale_attn_by_inverse_layer_idx", True, "scale_attn_by_inverse_layer_idx=False"),
        ("add_cross_attention", True, "add_cross_attention=False"),
        ("tie_word_embeddings", False, "tie_word_embeddings=True"),
    ],
)
def test_a_model_of_another_function_is_refused(field, value, expected):
    with pytest.raises(MismatchError) as caught:
        from_huggingface(random_gpt2(**{field: value}))
    assert str(caught.value) == (
        f"this GPT-2 cannot be expressed as a Decoder: its config has {field}={value!r} — where: "
        f"from_huggingface — expected: {expected} — what to do: train or convert a model with "
        "that setting; its weights alone do not carry over"
    )


def test_a_head_untied_behind_the_configuration_is_refused():
    model = random_gpt2()
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with pytest.raises(MismatchError, match=r"its lm_head\.weight is not the token embedding"):
        from_huggingface(model)


def _another_activation(model):
    model.transformer.h[0].mlp.act = torch.nn.ReLU()


def _another_epsilon(model):
    model.transformer.h[1].ln_2.eps = 1e-6


def _an_activation_behind_the_configuration(model):
    """A model of ``gelu_new`` whose configuration was edited afterwards."""
    for block in model.transformer.h:
        block.mlp.act = torch.nn.GELU(approximate="tanh")


def _fewer_positions(model):
    model.transformer.wpe = torch.nn.Embedding(5, model.config.n_embd).double()


def _a_layer_less(model):
    del model.transformer.h[-1]


@pytest.mark.parametrize(
    ("replace", "reason"),
    [
        (_another_activation, "its logits differ by up to"),
        (_another_epsilon, r"its transformer\.h\.1\.ln_2 has eps=1e-06"),
        (_an_activation_behind_the_configuration, "its logits differ by up to"),
        (_fewer_positions, r"its transformer\.wpe\.weight has [\d,]+ numbers"),
        (_a_layer_less, r"its transformer\.h\.\d\.\S+ is missing"),
    ],
)
def test_modules_that_are_not_what_the_configuration_says_are_refused(replace, reason):
    model = random_gpt2()
    from_huggingface(model)
    replace(model)
    with pytest.raises(MismatchError, match=f"cannot be expressed as a Decoder: {reason}"):
        from_huggingface(model)


def test_further_parameters_are_refused():
    model = random_gpt2()
    model.adapter = torch.nn.Linear(2, 2, bias=False).double()
    with pytest.raises(MismatchError, match=r"it has the further parameter 'adapter\.weight'"):
        from_huggingface(model)


def test_mixed_dtypes_are_refused():
    model = random_gpt2()
    model.transformer.ln_f.float()
    with pytest.raises(MismatchError, match=r"dtypes torch\.float32, torch\.float64"):
        from_huggingface(model)


def test_a_vector_of_another_model_is_refused(small):
    with pytest.raises(MismatchError) as caught:
        to_huggingface(small.decoder, small.flat[:-1])
    size = small.decoder.layout.size
    assert str(caught.value) == (
        f"a parameter vector of shape [{size - 1}] — where: to_huggingface — expected: [{size}], "
        "the size of the decoder's layout — what to do: give the vector of this decoder"
    )


def test_without_transformers_the_error_says_what_to_install(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CircuitError) as caught:
        to_huggingface(small.decoder, small.flat)
    assert str(caught.value) == (
        "the package transformers is not installed — where: conversion to Hugging Face — "
        "expected: transformers, a development dependency — what to do: "
        "pip install 'circuit-formation[dev]'"
    )
