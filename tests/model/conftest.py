"""A small decoder whose every parameter matters: no gain is 1 and no bias 0."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.model.tap import Tap
from circuit.model.transformer import Decoder

SMALL = ModelSettings(n_layers=2, n_heads=3, d_model=12, d_ff=10, context=9)
VOCAB = 11


class SmallModel(NamedTuple):
    """A decoder, its float64 parameters and a batch of streams [4, 9]."""

    decoder: Decoder
    flat: Tensor
    tokens: Tensor

    @property
    def views(self) -> dict[str, Tensor]:
        return self.decoder.layout.views(self.flat)

    def logits(self, tap: Tap | None = None) -> Tensor:
        logits = self.decoder.forward(self.views, self.tokens, tap)
        assert logits is not None
        return logits

    def capture(self, *sites: str) -> dict[str, Tensor]:
        tap = Tap(capture=sites)
        self.logits(tap)
        return tap.cache


@pytest.fixture(scope="session")
def small() -> SmallModel:
    decoder = Decoder(SMALL, VOCAB)
    generator = torch.Generator().manual_seed(11)
    flat = decoder.initialise(generator).double()
    flat += 0.3 * torch.randn(flat.shape, generator=generator, dtype=torch.float64)
    tokens = torch.randint(VOCAB, (4, SMALL.context), generator=generator)
    return SmallModel(decoder, flat, tokens)
