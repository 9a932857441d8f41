"""Dictionaries of planted states are the planted ones, over seeds and architectures."""

import pytest
import torch

from circuit.kinds.dictionary.settings import Settings
from circuit.measures.features.autoencoder import Rows, fit_autoencoder
from circuit.measures.features.matching import cosines, matched_cosine, mean_max_cosine
from circuit.toys.planted_dictionary import planted_dictionary

SEEDS = range(5)


def mccs(architecture, seed, steps=800):
    """Of a dictionary fitted to planted states, and of one with a frozen decoder."""
    planted = planted_dictionary(48, 24, 3, 5000, seed)
    asked = Settings(
        kind="dictionary",
        stage="embedding",
        architecture=architecture,
        size=64,
        k=3,
        sparsity=1.0 if architecture == "jumprelu" else 0.1,
        steps=steps,
        learning_rate=1e-2,
    )
    begun = asked.model_copy(update={"steps": 1})  # a frozen decoder stays as it begins
    states = Rows.of(planted.states)
    found = fit_autoencoder(states, asked, seed, stage="embedding")
    frozen = fit_autoencoder(states, begun, seed, stage="embedding", frozen=True)
    return [matched_cosine(planted.directions, one.W_dec) for one in (found, frozen)]


def test_planted_states_are_sums_of_few_directions_that_are_apart():
    planted = planted_dictionary(48, 24, 3, 100, 0)
    assert ((planted.sizes > 0).sum(1) == 3).all()
    rest = planted.states - planted.sizes @ planted.directions
    torch.testing.assert_close(rest, rest[:1].expand_as(rest))
    near = cosines(planted.directions, planted.directions) - torch.eye(48).numpy()
    assert near.max() < 0.25


def test_a_planted_dictionary_is_found():
    found, frozen = mccs("topk", 0, steps=600)
    assert found >= 0.95
    assert frozen < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["relu", "topk", "batchtopk", "jumprelu", "matryoshka"])
def test_it_is_found_over_five_seeds_by_every_architecture(architecture):
    every = [mccs(architecture, seed, steps=2000) for seed in SEEDS]
    assert min(found for found, _ in every) >= 0.95, every
    assert max(frozen for _, frozen in every) < 0.6, every


def test_matching_is_one_to_one_and_knows_signs():
    a = torch.eye(4)[:3]
    b = torch.stack([a[0], a[0], -a[1], a[2]])
    assert mean_max_cosine(a, b) == pytest.approx(2 / 3)
    assert matched_cosine(a, b) == pytest.approx(2 / 3)
    assert mean_max_cosine(b, a) == pytest.approx(3 / 4)
    assert matched_cosine(b[:2], a) == pytest.approx(1 / 2)  # both are nearest to the same one
