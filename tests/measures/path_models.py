"""Models and passes for the tests of paths: nothing planted, nothing zero, three layers."""

from __future__ import annotations

import torch

from circuit.config.recipe import ModelSettings
from circuit.experiments.edits import removal_sites
from circuit.measures.paths.direct import Readout, readout
from circuit.measures.paths.second_order import matching_sites, second_order_sites
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look
from circuit.task.events import ReadEvents
from circuit.task.vocabulary import Vocabulary


def three_layers(vocabulary: Vocabulary) -> tuple[Decoder, torch.Tensor]:
    """A decoder whose every parameter matters: biases and LayerNorms are random too."""
    settings = ModelSettings(n_layers=3, n_heads=2, d_model=16, d_ff=24, context=64)
    decoder = Decoder(settings, vocabulary.size)
    generator = torch.Generator().manual_seed(3)
    flat = torch.zeros(decoder.layout.size, dtype=torch.float64)
    for name, view in decoder.layout.views(flat).items():
        view.normal_(1.0 if name.endswith("gain") else 0.0, 0.4, generator=generator)
    return decoder, flat


def whole_pass(
    decoder: Decoder, flat: torch.Tensor, events: ReadEvents, vocabulary: Vocabulary
) -> tuple[Seen, Readout]:
    """A float64 pass with every site that paths need, and its readout."""
    layers = decoder.settings.n_layers
    sites = second_order_sites(layers) | removal_sites(layers) | matching_sites(layers)
    with torch.no_grad():
        seen = look(decoder, flat, events, vocabulary.value_ids, sites)
        return seen, readout(seen)
