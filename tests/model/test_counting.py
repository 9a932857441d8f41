"""Counted passes are the ones that were run, and counting changes nothing that is computed."""

import pytest
import torch

from circuit.config.recipe import ModelSettings
from circuit.errors import AnalysisError
from circuit.model.counting import CountingDecoder
from circuit.model.passes import Passes
from circuit.model.transformer import Decoder

BATCH, LENGTH, LAYERS = 5, 7, 3
SETTINGS = ModelSettings(n_layers=LAYERS, n_heads=2, d_model=8, d_ff=12, context=LENGTH)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(SETTINGS, 11)


@pytest.fixture(scope="module")
def params(decoder):
    return decoder.layout.views(decoder.initialise(torch.Generator().manual_seed(0)).double())


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(11, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def halves_run(monkeypatch):
    """Half layers times the programs they ran on, seen where the model runs them."""
    ran = []
    for half in ("_attention", "_mlp"):
        real = getattr(Decoder, half)

        def watched(self, params, layer, x, *args, real=real):
            ran.append(len(x) / 2)
            return real(self, params, layer, x, *args)

        monkeypatch.setattr(Decoder, half, watched)
    return ran


def test_a_whole_pass_is_counted_and_is_the_same_pass(decoder, params, tokens, halves_run):
    counting = CountingDecoder(decoder)
    torch.testing.assert_close(
        counting.forward(params, tokens), decoder.forward(params, tokens), rtol=0, atol=0
    )
    assert counting.passes == Passes(1, 0, BATCH, BATCH * LAYERS)
    assert counting.passes.program_layers == sum(halves_run) / 2  # the plain one ran as many


@pytest.mark.parametrize(
    ("stage", "layers"),
    [
        ("layer_0_post_attn", 2.5),
        ("layer_0_post_mlp", 2),
        ("layer_2_post_attn", 0.5),
        ("layer_2_post_mlp", 0),
    ],
)
@pytest.mark.parametrize("everywhere", [True, False])
def test_a_pass_that_continues_counts_the_layers_that_it_runs(
    decoder, params, stage, layers, everywhere, halves_run
):
    counting = CountingDecoder(decoder)
    x = torch.randn(BATCH, LENGTH, 8, dtype=torch.float64)
    counting.onward(params, stage, x, at=None if everywhere else torch.arange(BATCH))
    assert counting.passes == Passes(0, 1, 0, BATCH * layers)
    assert sum(halves_run) == BATCH * layers


def test_passes_add_up_to_equivalents_of_whole_ones(decoder, params, tokens):
    counting = CountingDecoder(decoder)
    counting.forward(params, tokens)
    counting.forward(params, tokens[:2])
    counting.onward(params, "layer_1_post_attn", torch.zeros(BATCH, LENGTH, 8).double())
    assert counting.passes == Passes(2, 1, BATCH + 2, 3 * BATCH + 3 * 2 + 1.5 * BATCH)
    assert counting.passes.equivalent(BATCH, LAYERS) == pytest.approx(1 + 2 / 5 + 0.5)


def test_each_counting_decoder_starts_at_nothing_and_a_wrong_stage_is_refused(decoder, params):
    counting = CountingDecoder(CountingDecoder(decoder))
    with pytest.raises(AnalysisError, match="layer_3_post_mlp"):
        counting.onward(params, "layer_3_post_mlp", torch.zeros(1, 1, 8).double())
    assert CountingDecoder(counting).passes == Passes()
