"""Quality of a dictionary against NumPy, on hand-made states."""

import numpy as np
import pytest
import torch

from circuit.estimates import over
from circuit.measures.features.reconstruction import (
    COMPONENTS,
    EXPLAINED,
    FROZEN,
    PooledStates,
    lives,
    reconstruction,
)
from circuit.measures.sweep.behaviour import SplitReads
from circuit.scalars.features import Dictionary
from circuit.statistics import resamples

WIDTH = 5


@pytest.fixture(scope="module")
def pooled(planted_benchmark):
    """States of three checkpoints: small, middle and large, in two strong directions."""
    split = SplitReads(planted_benchmark.splits["train"], planted_benchmark.vocabulary, 12)
    rng = np.random.default_rng(0)
    strength = np.array([3.0, 2.0, 0.3, 0.2, 0.1])
    n = len(PooledStates(split, (), torch.zeros(0, 0, WIDTH)).program)
    states = [
        torch.from_numpy(size * strength * rng.standard_normal((n, WIDTH)) + 1.0)
        for size in (0.1, 1.0, 2.0)
    ]
    return PooledStates(split, (0, 10, 20), torch.stack(states))


def both_ways(width=WIDTH):
    """A dictionary of every axis in both directions, which leaves nothing over."""
    axes = torch.eye(width, dtype=torch.float64)
    rows = torch.cat([axes, -axes])
    none = torch.zeros(2 * width, dtype=torch.float64)
    return Dictionary(rows.T, none, rows, torch.ones(width, dtype=torch.float64), "embedding")


def silent(pooled, step=2):
    """No feature ever fires, so it predicts the mean of a checkpoint's states that score."""
    it, held = both_ways(), pooled.every[step][~pooled.fits]
    return Dictionary(it.W_enc, it.b_enc - 1e6, it.W_dec, held.mean(0), it.stage)


def measured(rows, measure, against=""):
    return rows[(rows["measure"] == measure) & (rows["against"] == against)].set_index("step")


def test_states_and_their_places_are_those_of_the_programs(pooled):
    tokens = pooled.split.tokens
    assert pooled.lengths.tolist() == [int((row != 0).sum()) for row in tokens]
    for row, position in ((0, 0), (3, 7), (11, int(pooled.lengths[11]) - 1)):
        at = int(pooled.place(torch.tensor([row]), torch.tensor([position])))
        assert pooled.token[at] == tokens[row, position]
        assert pooled.program[at] == row
    assert torch.equal(pooled.fits, pooled.program % 2 == 0)
    assert pooled.fitting.count == 3 * int(pooled.fits.sum())


def test_a_dictionary_that_leaves_nothing_over_explains_everything(pooled):
    rows, rates = reconstruction(both_ways(), silent(pooled), pooled, 1e-3)
    explained = measured(rows, EXPLAINED)
    np.testing.assert_allclose(explained[["mean", "low", "high"]], 1.0, atol=1e-12)
    active = measured(rows, "active_features")
    np.testing.assert_allclose(active["mean"], WIDTH)
    assert (explained["count"] == int((~pooled.fits).sum())).all()
    np.testing.assert_allclose(rates.sum(1), WIDTH)
    assert (measured(rows, "dead_share")["mean"] == 0).all()
    # As many principal components as coordinates leave nothing over either.
    np.testing.assert_allclose(measured(rows, EXPLAINED, over(COMPONENTS))["mean"], 0, atol=1e-9)


def test_predicting_the_mean_explains_exactly_nothing(pooled):
    """0 for all programs; in resamples of them the mean is another one, and explains less."""
    rows, _ = reconstruction(silent(pooled), both_ways(), pooled, 1e-3)
    own = measured(rows, EXPLAINED).loc[20]
    assert own["mean"] == 0.0
    assert own["high"] <= 1e-12
    assert measured(rows, EXPLAINED, FROZEN).loc[20, "mean"] == pytest.approx(1)
    assert measured(rows, EXPLAINED, over(FROZEN)).loc[20, "mean"] == pytest.approx(-1)
    assert (measured(rows, EXPLAINED)["mean"].loc[[0, 10]] < 0).all()


def test_measures_are_numpys(pooled):
    """With half of the features taken away, on the states of odd programs."""
    whole = both_ways()
    kept = [0, 5, 1]  # both ways of the first axis, one of the second
    it = Dictionary(
        whole.W_enc[:, kept], whole.b_enc[kept], whole.W_dec[kept], whole.b_dec, whole.stage
    )
    rows, _ = reconstruction(it, silent(pooled), pooled, 1e-3)
    fits, program = pooled.fits.numpy(), pooled.program.numpy()
    fitted = np.concatenate([x.numpy()[fits] for x in pooled.states.values()])
    mean = fitted.mean(0)
    axes = np.linalg.svd(fitted - mean, full_matrices=False)[2]
    for step, states in pooled.states.items():
        x = states.numpy()[~fits]
        total = ((x - x.mean(0)) ** 2).sum()
        rebuilt = np.ones_like(x)
        rebuilt[:, 0] = x[:, 0]
        rebuilt[:, 1] = np.maximum(x[:, 1], 1)
        active = (x[:, 0] != 1).astype(float) + (x[:, 1] > 1)
        k = int(np.ceil(active.mean()))
        flat = mean + (x - mean) @ axes[:k].T @ axes[:k]
        expected = {
            (EXPLAINED, ""): 1 - ((x - rebuilt) ** 2).sum() / total,
            (EXPLAINED, COMPONENTS): 1 - ((x - flat) ** 2).sum() / total,
            ("active_features", ""): active.mean(),
        }
        expected[EXPLAINED, over(COMPONENTS)] = (
            expected[EXPLAINED, ""] - expected[EXPLAINED, COMPONENTS]
        )
        for names, value in expected.items():
            row = measured(rows, *names).loc[step]
            assert row["mean"] == pytest.approx(value, rel=1e-9), names
            assert row["low"] <= row["mean"] <= row["high"]
    # Of the last one's R², with programs resampled whole.
    errors = [
        np.array([part[program[~fits] == name].sum() for name in np.unique(program[~fits])])
        for part in (((x - rebuilt) ** 2).sum(1), ((x - x.mean(0)) ** 2).sum(1))
    ]
    drawn = [1 - counts @ errors[0] / (counts @ errors[1]) for counts in resamples(6, 0)]
    row = measured(rows, EXPLAINED).loc[20]
    np.testing.assert_allclose(
        row[["low", "high"]].astype(float), np.quantile(drawn, [0.025, 0.975])
    )


def test_a_dictionary_far_off_is_worse_than_the_mean(pooled):
    it = both_ways()
    off = Dictionary(it.W_enc, it.b_enc - 100, it.W_dec, it.b_dec + 3, it.stage)
    rows, _ = reconstruction(off, silent(pooled), pooled, 1e-3)
    assert (measured(rows, EXPLAINED)["mean"] < 0).all()
    assert (measured(rows, "dead_share")["mean"] == 1).all()
    assert (measured(rows, "dead_share")["count"] == 10).all()


def test_features_live_from_the_first_checkpoint_they_are_active_at_to_the_last():
    rates = np.array([[0.0, 0.5, 0.0, 0.2], [0.1, 0.0, 0.0, 0.3], [0.2, 0.4, 5e-4, 0.0]])
    found = lives(rates, [0, 10, 30], 1e-3)
    np.testing.assert_array_equal(found["born"], [10, 0, np.nan, 0])
    np.testing.assert_array_equal(found["gone"], [np.nan, np.nan, np.nan, 30])
