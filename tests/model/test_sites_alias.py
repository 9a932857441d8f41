"""TransformerLens names are accepted where a model makes a tap."""

import torch

from circuit.config.recipe import ModelSettings
from circuit.model.transformer import Decoder


def test_a_tap_of_the_model_takes_transformerlens_names():
    decoder = Decoder(ModelSettings(n_layers=2, n_heads=2, d_model=8, d_ff=16, context=8), 12)
    params = decoder.layout.views(decoder.initialise(torch.Generator().manual_seed(0)))
    tokens = torch.arange(8)[None]
    zeroed = {"blocks.1.attn.hook_z": [torch.zeros_like]}
    tap = decoder.tap(["blocks.0.attn.hook_pattern", "blocks.0.hook_resid_mid"], zeroed)
    with_tap = decoder.forward(params, tokens, tap)
    assert set(tap.cache) == {"layer_0_pattern", "layer_0_post_attn"}
    assert torch.allclose(tap.cache["layer_0_pattern"].sum(-1), torch.ones(1, 2, 8))
    assert not torch.allclose(with_tap, decoder.forward(params, tokens))
