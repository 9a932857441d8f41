"""The autoencoder finds the directions that states are sums of."""

import numpy as np
import pytest
import torch

from circuit.kinds.dictionary.settings import Settings
from circuit.measures.features.autoencoder import Weights, _gradient, fit_autoencoder

WIDTH, DIRECTIONS = 12, 20


def settings(**changes):
    small = {"size": 24, "steps": 1500, "batch_size": 128, "learning_rate": 1e-2}
    return Settings.model_validate(
        {"kind": "dictionary", "stage": "embedding", **small, **changes}
    )


def planted_states(seed=0, n=4000):
    """More directions than coordinates, each state a sum of two of them; and the directions."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((DIRECTIONS, WIDTH))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    sizes = np.zeros((n, DIRECTIONS))
    for _ in range(2):
        sizes[np.arange(n), rng.integers(DIRECTIONS, size=n)] += rng.uniform(1, 3, n)
    states = sizes @ directions + 5.0
    return torch.from_numpy(states).float(), torch.from_numpy(directions).float()


@pytest.fixture(scope="module")
def fitted():
    states, directions = planted_states()
    return fit_autoencoder(states, settings(sparsity=0.2)), states, directions


def test_planted_directions_are_found_though_there_are_more_than_coordinates(fitted):
    weights, _, directions = fitted
    cosines = weights.W_dec @ directions.T
    assert float(cosines.amax(0).median()) > 0.95
    held, _ = planted_states(seed=0, n=6000)
    active = weights.activations(held[4000:])
    error = (active @ weights.W_dec + weights.b_dec - held[4000:]).square().sum()
    total = (held[4000:] - held[4000:].mean(0)).square().sum()
    assert float(error / total) < 0.1
    assert float((active > 0).sum(1).double().mean()) < 6


def test_decoder_rows_have_norm_one_and_features_are_in_order(fitted):
    weights, states, _ = fitted
    torch.testing.assert_close(weights.W_dec.norm(dim=1), torch.ones(24))
    squares = weights.activations(states).square().mean(0)
    assert (squares.diff() <= 1e-5 * squares[0]).all()


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not():
    states, _ = planted_states(n=300)
    first, again, other = (
        fit_autoencoder(states, settings(steps=20, seed=seed)).flat() for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_where_states_lie_and_how_large_they_are_changes_nothing_but_the_units():
    states, _ = planted_states(n=500)
    states = states.double()
    plain = fit_autoencoder(states, settings(steps=30))
    moved = fit_autoencoder(100 * states - 7, settings(steps=30))
    close = {"rtol": 1e-6, "atol": 1e-9}
    torch.testing.assert_close(moved.W_enc, plain.W_enc, **close)
    torch.testing.assert_close(moved.W_dec, plain.W_dec, **close)
    torch.testing.assert_close(moved.b_dec, 100 * plain.b_dec - 7, **close)
    torch.testing.assert_close(
        moved.activations(100 * states - 7), 100 * plain.activations(states), **close
    )


def test_more_sparsity_leaves_fewer_features_active():
    states, _ = planted_states(n=1000)
    counts = [
        float(
            (fit_autoencoder(states, settings(steps=300, sparsity=s)).activations(states) > 0).sum()
        )
        for s in (0.0, 0.3, 1.0)
    ]
    assert counts[0] > counts[1] > counts[2]


def test_what_is_minimised_has_the_gradient_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    shapes = ((5, 6), (6,), (6, 5), (5,))
    parts = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    flat = Weights(*parts).flat()

    def loss(at):
        w = Weights.views(at, 5, 6)
        active = torch.relu((x - w.b_dec) @ w.W_enc + w.b_enc)
        error = (x - active @ w.W_dec - w.b_dec).square().sum(1).mean()
        return float(error + 0.3 * active.sum(1).mean())

    gradient = _gradient(flat, x, 0.3, 6)
    direction = torch.randn(flat.shape, generator=generator, dtype=torch.float64)
    slope = (loss(flat + 1e-6 * direction) - loss(flat - 1e-6 * direction)) / 2e-6
    assert float(gradient @ direction) == pytest.approx(slope, rel=1e-6)


def test_states_that_are_all_the_same_give_a_dictionary_without_numbers_gone_wrong():
    weights = fit_autoencoder(torch.full((50, 4), 2.0), settings(steps=5, size=3))
    assert weights.flat().isfinite().all()
    torch.testing.assert_close(weights.b_dec, torch.full((4,), 2.0))
