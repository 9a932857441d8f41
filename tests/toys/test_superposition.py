"""The toy model of superposition arrives at its analytic optimum, and a dictionary sees through."""

import math

import pytest
import torch

from circuit.kinds.dictionary.settings import Settings
from circuit.measures.features.autoencoder import Rows, fit_autoencoder
from circuit.measures.features.matching import matched_cosine
from circuit.toys.superposition import dimensions, optimal_dimensions, sample, train


@pytest.fixture(scope="module")
def pentagon():
    return train(5, 2, "sparse", seed=0)


def test_five_features_in_a_plane_form_a_pentagon(pentagon):
    expected = optimal_dimensions(5, 2, "sparse")
    assert pentagon.dimensions.tolist() == pytest.approx(expected, abs=1e-3)
    angles = torch.atan2(*pentagon.W.flip(0)).sort().values
    assert angles.diff().tolist() == pytest.approx([2 * math.pi / 5] * 4, abs=1e-2)


def test_the_pentagons_loss_is_that_of_the_best_regular_one(pentagon):
    """Of norm r and bias b, by quadrature on a grid: no training."""
    r, b, t = torch.meshgrid(
        torch.linspace(0.8, 1.3, 101),
        torch.linspace(-0.4, 0.1, 101),
        (torch.arange(200) + 0.5) / 200,
        indexing="ij",
    )
    left = (t - torch.relu(r**2 * t + b)).square()
    for turn in range(1, 5):
        left += torch.relu(r**2 * t * math.cos(2 * math.pi * turn / 5) + b).square()
    best = 5 * left.mean(-1).min()
    assert pentagon.loss == pytest.approx(float(best), rel=5e-3)  # two quadratures, with kinks
    assert pentagon.loss < 1 / 3  # that of four features in pairs, and none of the fifth


def test_twice_as_many_features_as_dimensions_form_antipodal_pairs_without_loss():
    toy = train(4, 2, "sparse", seed=0)
    assert toy.dimensions.tolist() == pytest.approx(optimal_dimensions(4, 2, "sparse"), abs=1e-3)
    assert toy.loss < 1e-9
    cosines = torch.nn.functional.normalize(toy.W, dim=0).T @ torch.nn.functional.normalize(
        toy.W, dim=0
    )
    assert cosines.amin(0).tolist() == pytest.approx([-1] * 4, abs=1e-3)


def test_dense_features_share_nothing_and_the_most_important_ones_are_kept():
    toy = train(5, 2, "dense", seed=0)
    assert toy.dimensions.tolist() == pytest.approx(optimal_dimensions(5, 2, "dense"), abs=1e-2)


def test_dimensions_are_those_of_known_arrangements():
    assert dimensions(torch.eye(3)).tolist() == [1, 1, 1]
    assert dimensions(torch.tensor([[1.0, -1.0, 0.0]])).tolist() == [0.5, 0.5, 0]
    with pytest.raises(ValueError, match="no known optimum of 7 features in 3 dimensions"):
        optimal_dimensions(7, 3, "sparse")


def test_a_dictionary_of_the_hidden_states_recovers_the_features(pentagon):
    x = sample(5, 0.9, 6000, seed=1)
    hidden = pentagon.hidden(x[(x > 0).sum(1) == 1]).float()
    asked = Settings(
        kind="dictionary",
        stage="embedding",
        architecture="topk",
        k=1,
        size=8,
        steps=300,
        batch_size=128,
        learning_rate=2e-2,
    )
    found, frozen = (
        fit_autoencoder(Rows.of(hidden), asked, 0, stage="embedding", frozen=frozen)
        for frozen in (False, True)
    )
    mcc = matched_cosine(pentagon.W.T, found.W_dec)
    assert mcc > 0.98 > matched_cosine(pentagon.W.T, frozen.W_dec)
