"""Files of dictionaries: what is written comes back, and what is no dictionary is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scalar_cases import random_dictionary

from circuit.artifacts import sha256_file
from circuit.errors import CheckpointError
from circuit.scalars.features import AXES, load_dictionaries, load_dictionary, write_dictionary

WIDTH = 6


def tensors(**changes):
    it = random_dictionary(WIDTH)
    found = {name: getattr(it, name).float().contiguous() for name in AXES} | changes
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def refused(path, **arguments):
    with pytest.raises(CheckpointError) as caught:
        load_dictionary(path, **arguments)
    return str(caught.value)


SAELENS = {
    "architecture": "standard",
    "d_in": WIDTH,
    "d_sae": 12,
    "dtype": "float32",
    "device": "cpu",
    "apply_b_dec_to_input": True,
    "normalize_activations": "none",
    "reshape_activations": "none",
    "metadata": {"model_name": "gpt2", "hook_name": "blocks.0.hook_resid_post"},
}


def configured(path, content):
    path.with_name("cfg.json").write_text(json.dumps(content))


def test_what_is_written_comes_back(tmp_path):
    it = random_dictionary(WIDTH, made={"settings": {"size": 12}, "trajectory": "a" * 8})
    paths = [tmp_path / name / "dictionary.safetensors" for name in ("one", "two")]
    for path in paths:
        write_dictionary(path, it)
    asking = {
        "routes": {"fires": {"scalar": "feature_score", "dictionary": "it"}},
        "window": [0, 5],
    }
    found = load_dictionaries(asking, paths[:1])["it"]
    for name in AXES:
        assert torch.equal(getattr(found, name), getattr(it, name).float()), name
    assert (found.stage, found.families, found.made) == (it.stage, it.families, it.made)
    assert sha256_file(paths[0]) == sha256_file(paths[1])


def test_encoding_and_decoding_are_their_formulas():
    it = random_dictionary(WIDTH)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 5, WIDTH)))
    pre = (x.numpy() - it.b_dec.numpy()) @ it.W_enc.numpy() + it.b_enc.numpy()
    active = it.encode(x)
    np.testing.assert_allclose(active, np.maximum(pre, 0), rtol=1e-12)
    torch.testing.assert_close(it.encode(x, (7, 0)), active[..., [7, 0]], rtol=1e-12, atol=0)
    rebuilt = active.numpy() @ it.W_dec.numpy() + it.b_dec.numpy()
    np.testing.assert_allclose(it.decode(active), rebuilt, rtol=1e-12)
    assert it.encode(x.float()).dtype == torch.float32


def test_a_dictionary_of_saelens_is_read_once_its_stage_is_said(tmp_path):
    """Its weights have the same names; which states they read stands in a file beside."""
    path = tmp_path / "sae_weights.safetensors"
    save_file(tensors(), path)
    configured(path, SAELENS)
    found = load_dictionary(path, stage="layer_0_post_mlp")
    assert found.stage == "layer_0_post_mlp"
    assert found.families == {}
    assert refused(path) == (
        f"the file does not say whose states its dictionary reads — where: {path} — expected: "
        "finite tensors W_enc [d, F], b_enc [F], W_dec [F, d], b_dec [d], and metadata with a "
        "stage — what to do: let snakemake make the dictionary again, or give another file, and "
        "its stage"
    )


def without(name):
    return {key: value for key, value in SAELENS.items() if key != name}


OTHERS = {
    "top k": ({"architecture": "topk", "k": 4}, 'architecture is "topk", not "standard"'),
    "k": ({"k": 4}, "k is 4, not null"),
    "activation": ({"activation_fn": "topk"}, 'activation_fn is "topk", not "relu"'),
    "older name": ({"activation_fn_str": "tanh-relu"}, 'activation_fn_str is "tanh-relu", not'),
    "its arguments": ({"activation_fn_kwargs": {"k": 4}}, 'activation_fn_kwargs is {"k": 4}, not'),
    "state as it is": ({"apply_b_dec_to_input": False}, "apply_b_dec_to_input is false, not true"),
    "no truth": ({"apply_b_dec_to_input": 1}, "apply_b_dec_to_input is 1, not true"),
    "norm": ({"normalize_activations": "layer_norm"}, 'normalize_activations is "layer_norm", not'),
    "shape": ({"reshape_activations": "hook_z"}, 'reshape_activations is "hook_z", not "none"'),
    "scale": ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor is true, not false"),
    "decoder's norm": ({"rescale_acts_by_decoder_norm": True}, "rescale_acts_by_decoder_norm is"),
    "one head": ({"metadata": {"hook_head_index": 3}}, "hook_head_index is 3, not null"),
    "another file's": ({"d_sae": 24}, "d_sae is 24, not 12"),
}


@pytest.mark.parametrize(("changes", "problem"), OTHERS.values(), ids=OTHERS)
def test_a_dictionary_of_another_formula_is_refused_by_its_field(tmp_path, changes, problem):
    path = tmp_path / "sae_weights.safetensors"
    save_file(tensors(), path)
    configured(path, SAELENS | changes)
    message = refused(path, stage="embedding")
    assert message.startswith(f"not known to be a dictionary of relu features: {problem}")
    assert f"where: {path.with_name('cfg.json')}" in message


@pytest.mark.parametrize("name", ["architecture", "apply_b_dec_to_input"])
def test_what_its_configuration_leaves_open_is_refused(tmp_path, name):
    path = tmp_path / "sae_weights.safetensors"
    save_file(tensors(), path)
    configured(path, without(name))
    assert f"{name} is not said" in refused(path, stage="embedding")


@pytest.mark.parametrize("content", [None, "{", "[]", "null", '{"metadata": 3}', "\xff"])
def test_a_dictionary_without_a_readable_configuration_is_refused(tmp_path, content):
    path = tmp_path / "sae_weights.safetensors"
    save_file(tensors(), path)
    if content is not None:
        path.with_name("cfg.json").write_bytes(content.encode("latin-1"))
    assert "its configuration cannot be read" in refused(path, stage="embedding")


BROKEN = {
    "one tensor less": (tensors(b_enc=None), "b_enc missing"),
    "another activation": (
        tensors(threshold=torch.zeros(12)),
        "threshold would change its activations",
    ),
    "another width": (
        tensors(W_dec=torch.zeros(12, 5)),
        "W_dec [12, 5] does not fit the tensors before it",
    ),
    "an axis more": (
        tensors(b_dec=torch.zeros(1, 6)),
        "b_dec [1, 6] does not fit the tensors before it",
    ),
    "no numbers": (
        tensors(b_enc=torch.full((12,), torch.nan)),
        "b_enc has entries that are no numbers",
    ),
}


@pytest.mark.parametrize(("content", "problem"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_dictionary_is_refused(tmp_path, content, problem):
    path = tmp_path / "dictionary.safetensors"
    save_file(content, path)
    message = refused(path, stage="embedding")
    assert message.startswith(f"not a dictionary of relu features: {problem} — where: {path} — ")


def test_a_missing_or_damaged_file_is_refused(tmp_path):
    path = tmp_path / "dictionary.safetensors"
    assert refused(path).startswith("tensor file is missing — ")
    write_dictionary(path, random_dictionary(WIDTH))
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(path).startswith("tensor file is not whole, valid safetensors ")
