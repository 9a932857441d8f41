import pytest

from circuit.config.recipe import ModelSettings
from circuit.errors import AnalysisError
from circuit.model.sites import (
    canonical_site,
    every_head,
    head_name,
    parse_head,
    site_axes,
    sites,
    stages,
)
from circuit.model.tap import Tap

B, T, H, D, K, F = 4, 9, 3, 12, 4, 10  # of the fixture `small`
LAYER_SHAPES = {
    "ln1_scale": (B, T, 1),
    "attn_input": (B, T, D),
    "q": (B, T, H, K),
    "k": (B, T, H, K),
    "v": (B, T, H, K),
    "scores": (B, H, T, T),
    "pattern": (B, H, T, T),
    "z": (B, T, H, K),
    "head_write": (B, T, H, D),
    "attn_write": (B, T, D),
    "post_attn": (B, T, D),
    "ln2_scale": (B, T, 1),
    "mlp_input": (B, T, D),
    "neurons_pre": (B, T, F),
    "neurons": (B, T, F),
    "mlp_write": (B, T, D),
    "post_mlp": (B, T, D),
}
AXIS_SIZE = {
    "program": {B},
    "position": {T},
    "key_position": {T},
    "head": {H},
    "vector": {1, D, K, F},
}


def test_the_forward_pass_meets_every_site_once_in_order(small):
    met = []

    class Recorder(Tap):
        def __call__(self, site, value):
            met.append(site)
            return super().__call__(site, value)

    every = sites(2)
    small.logits(Recorder(capture=every))
    assert tuple(met) == every


def test_shapes_are_those_documented(small):
    cache = small.capture(*sites(2))
    shapes = {site: tuple(value.shape) for site, value in cache.items()}
    expected = {f"layer_{n}_{site}": shape for n in (0, 1) for site, shape in LAYER_SHAPES.items()}
    ends = {"embedding": (B, T, D), "final_norm": (B, T, D), "final_norm_scale": (B, T, 1)}
    assert shapes == expected | ends
    for site, shape in shapes.items():
        axes = site_axes(site)
        assert len(axes) == len(shape)
        assert all(size in AXIS_SIZE[axis] for axis, size in zip(axes, shape, strict=True))


def test_stages_are_sites():
    assert set(stages(3)) <= set(sites(3))
    assert stages(1) == ("embedding", "layer_0_post_attn", "layer_0_post_mlp", "final_norm")


@pytest.mark.parametrize(
    ("alias", "site"),
    [
        ("blocks.0.hook_resid_pre", "embedding"),
        ("blocks.2.hook_resid_pre", "layer_1_post_mlp"),
        ("blocks.1.hook_resid_mid", "layer_1_post_attn"),
        ("blocks.1.hook_resid_post", "layer_1_post_mlp"),
        ("blocks.0.ln1.hook_scale", "layer_0_ln1_scale"),
        ("blocks.0.ln2.hook_scale", "layer_0_ln2_scale"),
        ("blocks.2.attn.hook_q", "layer_2_q"),
        ("blocks.2.attn.hook_k", "layer_2_k"),
        ("blocks.2.attn.hook_v", "layer_2_v"),
        ("blocks.2.attn.hook_attn_scores", "layer_2_scores"),
        ("blocks.2.attn.hook_pattern", "layer_2_pattern"),
        ("blocks.2.attn.hook_z", "layer_2_z"),
        ("blocks.2.attn.hook_result", "layer_2_head_write"),
        ("blocks.0.hook_attn_out", "layer_0_attn_write"),
        ("blocks.0.mlp.hook_pre", "layer_0_neurons_pre"),
        ("blocks.0.mlp.hook_post", "layer_0_neurons"),
        ("blocks.0.hook_mlp_out", "layer_0_mlp_write"),
        ("ln_final.hook_scale", "final_norm_scale"),
    ],
)
def test_transformer_lens_names_resolve(alias, site):
    assert canonical_site(alias, n_layers=3) == site


def test_a_canonical_name_resolves_to_itself():
    assert [canonical_site(site, 3) for site in sites(3)] == list(sites(3))


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("layer_0_post_att", "layer_0_post_attn"),
        ("blocks.0.attn.hook_patern", "blocks.0.attn.hook_pattern"),
        ("Layer_1_Z", "layer_1_z"),
    ],
)
def test_unknown_site(name, guess):
    with pytest.raises(AnalysisError) as caught:
        canonical_site(name, n_layers=2)
    assert str(caught.value) == (
        f"unknown site {name!r} — where: a decoder with 2 layers — expected: a site such as "
        f"'embedding' or its TransformerLens name — what to do: did you mean {guess!r}?"
    )


def test_unknown_site_with_nothing_near():
    with pytest.raises(AnalysisError, match=r"see circuit\.model\.sites for all names"):
        canonical_site("?", n_layers=2)


def test_a_layer_that_does_not_exist():
    with pytest.raises(AnalysisError, match="unknown site 'layer_2_z'"):
        canonical_site("layer_2_z", n_layers=2)


@pytest.mark.parametrize("name", ["layer_0_zz", "layer_x_z", "blocks.0.attn.hook_z", "z", ""])
def test_axes_of_no_site(name):
    with pytest.raises(AnalysisError, match="unknown site"):
        site_axes(name)


def test_parse_head():
    assert parse_head("L1H3", n_layers=2, n_heads=4) == (1, 3)


def test_every_head_has_the_name_that_is_parsed():
    heads = every_head(ModelSettings(n_layers=2, n_heads=3, d_model=6, d_ff=3, context=4))
    assert heads == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert [parse_head(head_name(head), 2, 3) for head in heads] == heads


@pytest.mark.parametrize("name", ["L2H0", "L0H4", "L0", "L0MLP", "L0N1", "l0h0", "L1H3x", ""])
def test_parse_head_that_does_not_exist(name):
    with pytest.raises(AnalysisError) as caught:
        parse_head(name, n_layers=2, n_heads=4)
    assert str(caught.value) == (
        f"head {name!r} does not exist — where: a model with 2 layers of 4 heads — expected: "
        "L0H0 to L1H3 — what to do: name an existing head, or winner / runner_up / bottom"
    )
