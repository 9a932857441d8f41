"""Files of dictionaries: what is written comes back, and what is no dictionary is refused."""

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scalar_cases import random_dictionary

from circuit.artifacts import sha256_file
from circuit.errors import AnalysisError, ArtifactError, CheckpointError
from circuit.model.sites import canonical_site, sites, state_site
from circuit.scalars.dictionary_files import (
    AXES,
    load_dictionaries,
    load_dictionary,
    write_dictionary,
)
from circuit.scalars.features import FeatureScore

WIDTH = 6
RULES = {
    "standard": {},
    "topk": {"k": 3},
    "jumprelu": {"threshold": torch.linspace(-0.5, 2, 12, dtype=torch.float64)},
}


def state_sites():
    """Sites of residual states of a model of two layers."""
    found = []
    for site in sites(2):
        with contextlib.suppress(AnalysisError):
            found.append(state_site(site, 2))
    return found


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


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_what_is_written_comes_back(tmp_path, rule):
    made = {"settings": {"size": 12}, "trajectory": "a" * 8}
    it = random_dictionary(WIDTH, made=made, scale=2.5, **rule)
    paths = [write_dictionary(tmp_path / name, it) for name in ("one", "two")]
    asking = {
        "routes": {"fires": {"scalar": "feature_score", "dictionary": "it"}},
        "window": [0, 5],
    }
    found = load_dictionaries(asking, paths[:1], "a" * 8)["it"]
    for name in AXES:
        assert torch.equal(getattr(found, name), getattr(it, name).float()), name
    for name in ("stage", "families", "made", "scale", "k", "architecture"):
        assert getattr(found, name) == getattr(it, name), name
    x = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.rebuild(x), it.rebuild(x))
    assert sha256_file(paths[0]) == sha256_file(paths[1])


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_encoding_and_decoding_are_their_formulas(rule):
    it = random_dictionary(WIDTH, **rule)
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 5, WIDTH)))
    pre = (x.numpy() - it.b_dec.numpy()) @ it.W_enc.numpy() + it.b_enc.numpy()
    least = np.zeros(12)
    if it.threshold is not None:
        least = np.maximum(it.threshold.numpy(), 0)
    if it.k is not None:
        least = np.maximum(np.sort(pre, -1)[..., [-4]], 0)
    active = it.encode(x)
    np.testing.assert_allclose(active, np.where(pre > least, pre, 0), rtol=1e-12)
    torch.testing.assert_close(it.encode(x, (7, 0)), active[..., [7, 0]], rtol=1e-12, atol=0)
    rebuilt = active.numpy() @ it.W_dec.numpy() + it.b_dec.numpy()
    np.testing.assert_allclose(it.decode(active), rebuilt, rtol=1e-12)
    np.testing.assert_allclose(it.rebuild(x), rebuilt, rtol=1e-12)
    assert it.encode(x.float()).dtype == torch.float32


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_score_held_on_its_branch_is_the_score_where_the_branch_was_taken(rule):
    """Whichever rule says what fires; elsewhere the same features count with their drives."""
    it = random_dictionary(WIDTH, **rule)
    score = FeatureScore("layer_0_post_mlp", "all", it, (7, 0, 3))
    mask = torch.tensor([[True, True, False], [True, False, False]])
    events = SimpleNamespace(role_mask=lambda role: mask)

    def seen(seed):
        x = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, 3, WIDTH)))
        return SimpleNamespace(sites={"layer_0_post_mlp": x}, events=events), x

    here, x = seen(1)
    plain = score.measure(None).function(here)
    mean = it.encode(x)[..., [7, 0, 3]].mean(-1)
    torch.testing.assert_close(plain, torch.stack([mean[0, :2].mean(), mean[1, 0]]))
    held = score.measure(score.active(here))
    assert torch.equal(held.function(here), plain)
    there, y = seen(2)
    drives = torch.where(it.encode(x) > 0, it.drive(y), 0)[..., [7, 0, 3]].mean(-1)
    torch.testing.assert_close(held.function(there)[1], drives[1, 0])


def test_the_files_are_in_saelens_format(tmp_path):
    """Its fields and names, TransformerLens' name of the site, and f by its formula."""
    it = random_dictionary(WIDTH, scale=2.5, made={"trajectory": "abc"}, **RULES["jumprelu"])
    path = write_dictionary(tmp_path, it)
    said = json.loads((tmp_path / "cfg.json").read_text())
    expected = SAELENS | {"architecture": "jumprelu", "metadata": said["metadata"]}
    assert {name: said[name] for name in expected} == expected
    assert said["metadata"]["hook_name"] == "blocks.0.hook_resid_post"
    assert said["metadata"]["scale"] == 2.5
    assert said["metadata"]["circuit"]["made"] == {"trajectory": "abc"}
    w = load_file(path)
    assert set(w) == {"W_enc", "b_enc", "W_dec", "b_dec", "threshold"}
    x = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(0))
    drive = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    f = drive.relu() * (drive > w["threshold"].relu())
    torch.testing.assert_close(it.encode(x), f, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(it.rebuild(x), f @ w["W_dec"] + w["b_dec"], rtol=1e-5, atol=1e-5)


def test_a_dictionary_of_saelens_is_read_once_its_stage_is_said(tmp_path):
    """Its weights have the same names; which states they read stands in a file beside."""
    path = tmp_path / "sae_weights.safetensors"
    save_file(tensors(), path)
    configured(path, SAELENS)
    found = load_dictionary(path, stage="layer_0_post_mlp")
    assert found.stage == "layer_0_post_mlp"
    assert found.families == {}
    assert load_dictionary(path).stage == "layer_0_post_mlp"  # by its hook's name
    assert refused(path, stage="layer_0_post_attn") == (
        f"the dictionary reads states at layer_0_post_mlp — where: {path} — expected: one of "
        "states at layer_0_post_attn — what to do: name a dictionary of that stage, or make one "
        "there"
    )
    configured(path, SAELENS | {"metadata": {"model_name": "gpt2"}})
    assert refused(path) == (
        f"the file does not say whose states its dictionary reads — where: {path} — expected: "
        "metadata with a hook_name of this model's sites — what to do: give its stage, or another "
        "file"
    )


def test_what_saelens_does_differently_is_folded_in_where_it_is_an_identity(tmp_path):
    """A bias that stays in the state, decoder norms that rank features, logarithms."""
    path = tmp_path / "sae_weights.safetensors"
    w = tensors()
    x = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(0)).double()
    w64 = {name: tensor.double() for name, tensor in w.items()}
    norm, plain = w64["W_dec"].norm(dim=1), x @ w64["W_enc"] + w64["b_enc"]

    def found(changes, **further):
        save_file({**w, **further}, path)
        configured(path, SAELENS | changes)
        return load_dictionary(path, stage="layer_0_post_mlp")

    close = {"rtol": 1e-5, "atol": 1e-5}
    it = found({"apply_b_dec_to_input": False})
    torch.testing.assert_close(it.encode(x), plain.relu(), **close)
    less = (x - w64["b_dec"]) @ w64["W_enc"] + w64["b_enc"]
    it = found({"architecture": "topk", "k": 2, "rescale_acts_by_decoder_norm": True})
    ranked = (less * norm).topk(2)
    f = torch.zeros_like(less).scatter(-1, ranked.indices, ranked.values.relu())
    torch.testing.assert_close(it.encode(x), f, **close)
    rebuilt = f / norm @ w64["W_dec"] + w64["b_dec"]
    torch.testing.assert_close(it.rebuild(x), rebuilt, **close)
    it = found({"architecture": "jumprelu"}, log_threshold=torch.full((12,), -0.5))
    torch.testing.assert_close(it.encode(x), torch.where(less > np.exp(-0.5), less, 0), **close)
    it = found(
        {"architecture": "topk", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}}
    )
    assert it.k == 5


@pytest.mark.parametrize("site", state_sites())
def test_every_site_with_a_name_in_transformer_lens_is_read_by_it(tmp_path, site):
    path = write_dictionary(tmp_path, random_dictionary(WIDTH, stage=site))
    said = json.loads((tmp_path / "cfg.json").read_text())
    hook = said["metadata"]["hook_name"]
    assert hook is None or canonical_site(hook, 2) == site
    assert (hook is None) == (site.endswith("input") or site == "final_norm")
    assert load_dictionary(path).stage == site


def test_a_dictionary_of_another_run_is_refused(tmp_path):
    path = write_dictionary(tmp_path, random_dictionary(WIDTH, made={"trajectory": "a" * 64}))
    assert load_dictionary(path, trajectory="a" * 64).size == 12
    assert refused(path, trajectory="b" * 64) == (
        f"the dictionary was made of another run's states (trajectory {'a' * 12}) — where: {path} "
        f"— expected: one of the run with trajectory {'b' * 12} — what to do: let snakemake make "
        "the dictionary again, or name one of this run"
    )


def test_a_dictionary_wider_than_its_data_supports_is_refused(tmp_path):
    path = write_dictionary(tmp_path, random_dictionary(WIDTH, made={"states": 11}))
    assert refused(path) == (
        f"the dictionary has 12 features, but was fitted to 11 states — where: {path} — expected: "
        "at least as many states as features — what to do: make it of more programs, or with "
        "fewer features"
    )


def test_a_configuration_that_was_edited_or_is_anothers_is_refused(tmp_path):
    path = write_dictionary(tmp_path, random_dictionary(WIDTH))
    config = tmp_path / "cfg.json"
    whole = config.read_text()
    config.write_text(whole.replace('"standard"', '"topk"'))
    with pytest.raises(ArtifactError):
        load_dictionary(path)
    config.write_text(whole)
    save_file(tensors(b_enc=torch.zeros(12)), path)
    assert "it was written for other weights" in refused(path)


def without(name):
    return {key: value for key, value in SAELENS.items() if key != name}


OTHERS = {
    "gated": ({"architecture": "gated"}, 'architecture is "gated", not "jumprelu" or "standard"'),
    "no k": ({"architecture": "topk"}, "k is null, not a number of features"),
    "k": ({"k": 4}, "k is 4, not null"),
    "activation": ({"activation_fn": "topk"}, 'activation_fn is "topk", not "relu"'),
    "older name": ({"activation_fn_str": "tanh-relu"}, 'activation_fn_str is "tanh-relu", not'),
    "its arguments": ({"activation_fn_kwargs": {"k": 4}}, 'activation_fn_kwargs is {"k": 4}, not'),
    "no truth": ({"apply_b_dec_to_input": 1}, "apply_b_dec_to_input is 1, not true or false"),
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
    message = refused(path, stage="layer_0_post_mlp")
    assert message.startswith(f"not known to be a dictionary of such features: {problem}")
    assert f"where: {path.with_name('cfg.json')}" in message


@pytest.mark.parametrize("name", ["architecture", "apply_b_dec_to_input"])
def test_what_its_configuration_leaves_open_is_refused(tmp_path, name):
    path = tmp_path / "sae_weights.safetensors"
    save_file(tensors(), path)
    configured(path, without(name))
    assert f"{name} is not said" in refused(path, stage="layer_0_post_mlp")


@pytest.mark.parametrize("content", [None, "{", "[]", "null", '{"metadata": 3}', "\xff"])
def test_a_dictionary_without_a_readable_configuration_is_refused(tmp_path, content):
    path = tmp_path / "sae_weights.safetensors"
    save_file(tensors(), path)
    if content is not None:
        path.with_name("cfg.json").write_bytes(content.encode("latin-1"))
    assert "its configuration cannot be read" in refused(path, stage="layer_0_post_mlp")


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
    path = tmp_path / "sae_weights.safetensors"
    save_file(content, path)
    configured(path, SAELENS)
    message = refused(path, stage="layer_0_post_mlp")
    assert message.startswith(f"not a dictionary of standard features: {problem} — where: {path}")


def test_a_missing_or_damaged_file_is_refused(tmp_path):
    path = tmp_path / "sae_weights.safetensors"
    assert refused(path).startswith("tensor file is missing — ")
    write_dictionary(tmp_path, random_dictionary(WIDTH))
    path.write_bytes(path.read_bytes()[:-20])
    assert refused(path).startswith("tensor file is not whole, valid safetensors ")
