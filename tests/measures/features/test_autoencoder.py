"""The autoencoder finds the directions that states are sums of, by every architecture."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from circuit.errors import AnalysisError
from circuit.kinds.dictionary.settings import Settings
from circuit.measures.features import autoencoder
from circuit.measures.features.autoencoder import Rows, Weights, fit_autoencoder, minimised
from circuit.measures.features.matching import matched_cosine
from circuit.scalars.features import Dictionary

WIDTH, DIRECTIONS = 12, 20
ARCHITECTURES = ("relu", "topk", "batchtopk", "jumprelu", "matryoshka")


def settings(**changes):
    small = {"size": 24, "steps": 1500, "batch_size": 128, "learning_rate": 1e-2, "k": 2}
    return Settings.model_validate({"kind": "dictionary", "stage": "embedding", **small, **changes})


def fit(states, seed=0, keep=None, frozen=False, **changes):
    return fit_autoencoder(
        Rows.of(states), settings(**changes), seed, stage="embedding", keep=keep, frozen=frozen
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


def same(a: Dictionary, b: Dictionary) -> bool:
    every = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    pairs = [(getattr(a, name), getattr(b, name)) for name in every]
    return all((x is y is None) or torch.equal(x, y) for x, y in pairs)


@pytest.fixture(scope="module")
def fitted():
    states, directions = planted_states()
    return fit(states, sparsity=0.2, steps=1000), states, directions


def test_planted_directions_are_found_though_there_are_more_than_coordinates(fitted):
    found, _, directions = fitted
    cosines = found.W_dec @ directions.T
    assert float(cosines.amax(0).median()) > 0.95
    held, _ = planted_states(seed=0, n=6000)
    error = (found.rebuild(held[4000:]) - held[4000:]).square().sum()
    total = (held[4000:] - held[4000:].mean(0)).square().sum()
    assert float(error / total) < 0.1
    assert float((found.encode(held[4000:]) > 0).sum(1).double().mean()) < 6


@pytest.mark.parametrize("architecture", ARCHITECTURES[1:])
def test_every_architecture_finds_them_with_as_many_features_as_asked(architecture):
    states, directions = planted_states()
    changes = {"architecture": architecture, "sparsity": 1.0, "steps": 300}
    found = fit(states, **changes)
    active = found.encode(states)
    assert float((active > 0).sum(1).double().mean()) == pytest.approx(2, abs=0.5)
    frozen = fit(states, frozen=True, **{**changes, "steps": 1})  # it stays as it begins
    mcc = matched_cosine(directions, found.W_dec)
    assert mcc > 0.8 > matched_cosine(directions, frozen.W_dec) + 0.2


def test_the_threshold_of_a_batchtopk_lets_as_many_features_fire_as_the_fit_did():
    """SAELens' inference: one number for all features, estimated while fitting."""
    states, _ = planted_states(n=1000)
    found = fit(states, architecture="batchtopk", steps=300)
    assert found.architecture == "jumprelu"
    assert found.threshold.unique().shape == (1,)
    assert float(found.threshold[0]) > 0
    assert fit(states, architecture="topk", steps=3).architecture == "topk"
    assert fit(states, steps=3).architecture == "standard"


def test_decoder_rows_have_norm_one_and_features_are_in_order(fitted):
    found, states, _ = fitted
    torch.testing.assert_close(found.W_dec.norm(dim=1), torch.ones(24))
    squares = found.encode(states).square().mean(0)
    assert (squares.diff() <= 1e-5 * squares[0]).all()


def test_features_of_a_matryoshka_are_in_order_within_what_each_prefix_adds():
    states, _ = planted_states(n=500)
    found = fit(states, architecture="matryoshka", steps=50)
    squares = found.encode(states).square().mean(0)
    for begin, end in ((0, 3), (3, 6), (6, 12), (12, 24)):
        assert (squares[begin:end].diff() <= 1e-5 * squares.max()).all()


def test_a_frozen_decoder_stays_at_random_directions():
    states, _ = planted_states(n=500)
    short, long = (fit(states, frozen=True, steps=steps) for steps in (1, 40))
    nearest = (short.W_dec @ long.W_dec.T).amax(1)
    torch.testing.assert_close(nearest, torch.ones(24))
    assert not torch.allclose(short.W_enc.sort().values, long.W_enc.sort().values)


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not():
    states, _ = planted_states(n=300)
    first, again, other = (fit(states, seed=seed, steps=20) for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)


@pytest.mark.parametrize("architecture", ["relu", "batchtopk", "jumprelu"])
def test_a_fit_that_was_killed_goes_on_and_ends_with_the_same_bits(
    tmp_path, monkeypatch, architecture
):
    states, _ = planted_states(n=300)
    changes = {"architecture": architecture, "steps": 30}
    whole = fit(states, **changes)
    monkeypatch.setattr(autoencoder, "KEEP_EVERY", 10)
    plain, calls = autoencoder.advance, []

    def advance(*about):
        if len(calls) == 17:
            raise KeyboardInterrupt
        calls.append(about[-1])
        plain(*about)

    monkeypatch.setattr(autoencoder, "advance", advance)
    keep = tmp_path / "fit.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(states, keep=keep, **changes)
    calls.clear()
    monkeypatch.setattr(
        autoencoder, "advance", lambda *about: (calls.append(about[-1]), plain(*about))
    )
    assert same(fit(states, keep=keep, **changes), whole)
    assert calls == list(range(10, 30))
    calls.clear()
    assert same(fit(states, keep=keep, **changes), whole)
    assert calls == []
    fit(states, seed=1, keep=keep, **changes)  # another fit's state is none of its own
    assert calls == list(range(30))


def test_states_on_disk_are_those_of_their_numbers():
    every = torch.arange(24.0).view(2, 6, 2)
    rows = Rows(every, torch.tensor([1, 4, 5]))
    assert rows.count == 6
    assert torch.equal(rows.pick(torch.tensor([0, 2, 4])), every[[0, 0, 1], [1, 5, 4]])
    assert torch.equal(torch.cat([*rows.chunks()]), rows.pick(torch.arange(6)))


def test_where_states_lie_and_how_large_they_are_changes_nothing_but_the_units():
    states, _ = planted_states(n=500)
    states = states.double()
    for architecture in ("relu", "batchtopk"):
        changes = {"steps": 30, "architecture": architecture}
        plain, moved = fit(states, **changes), fit(100 * states - 7, **changes)
        close = {"rtol": 1e-6, "atol": 1e-9}
        torch.testing.assert_close(moved.W_enc, plain.W_enc, **close)
        torch.testing.assert_close(moved.W_dec, plain.W_dec, **close)
        torch.testing.assert_close(moved.b_dec, 100 * plain.b_dec - 7, **close)
        active = moved.encode(100 * states - 7)
        torch.testing.assert_close(active, 100 * plain.encode(states), **close)
        assert moved.scale == pytest.approx(100 * plain.scale)


def test_folding_the_scale_changes_nothing(fitted):
    """A dictionary of states divided by it, its activations and states multiplied again."""
    plain, states, _ = fitted
    for found in (plain, replace(plain, threshold=torch.full((24,), 0.4)), replace(plain, k=2)):
        of_scaled = found.of_scaled(found.scale)
        assert of_scaled.scale == 1
        x, scale = states.double(), found.scale
        close = {"rtol": 1e-6, "atol": 1e-6}
        torch.testing.assert_close(scale * of_scaled.encode(x / scale), found.encode(x), **close)
        torch.testing.assert_close(scale * of_scaled.rebuild(x / scale), found.rebuild(x), **close)


def test_more_sparsity_leaves_fewer_features_active():
    states, _ = planted_states(n=1000)
    counts = [
        float((fit(states, steps=300, sparsity=s).encode(states) > 0).sum())
        for s in (0.0, 0.3, 1.0)
    ]
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("architecture", ["relu", "topk", "batchtopk", "matryoshka"])
def test_what_is_minimised_has_the_gradient_of_finite_differences(architecture):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    shapes = ((5, 6), (6,), (6, 5), (5,), (6,))
    parts = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    ways = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    asked = settings(architecture=architecture, size=6, sparsity=0.3)
    dead = torch.zeros(6, dtype=torch.bool)

    def loss(by):
        moved = Weights(*(part + by * way for part, way in zip(parts, ways, strict=True)))
        return minimised(moved, x, asked, 1.0, dead)[0]

    by = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(by), by)
    assert float(slope) == pytest.approx(float(loss(1e-6) - loss(-1e-6)) / 2e-6, rel=1e-6)
    if architecture == "relu":
        active = torch.relu((x - parts[3]) @ parts[0] + parts[1])
        error = (x - active @ parts[2] - parts[3]).square().sum(1).mean()
        assert float(loss(0.0)) == pytest.approx(float(error + 0.3 * active.sum(1).mean()))


def test_states_that_are_all_the_same_give_a_dictionary_without_numbers_gone_wrong():
    found = fit(torch.full((50, 4), 2.0), steps=5, size=3)
    assert all(getattr(found, name).isfinite().all() for name in ("W_enc", "b_enc", "W_dec"))
    torch.testing.assert_close(found.b_dec, torch.full((4,), 2.0))


def test_a_dictionary_wider_than_its_data_supports_is_refused():
    with pytest.raises(AnalysisError) as caught:
        fit(torch.zeros(23, 4), size=24)
    assert str(caught.value) == (
        "a dictionary of 24 features is wider than 23 states support — where: the fit at embedding "
        "— expected: at least as many states as features — what to do: lower size, or take more "
        "programs or checkpoints"
    )
