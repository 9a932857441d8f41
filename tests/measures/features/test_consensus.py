"""Consensus families: what was planted to agree is together, and nothing else is."""

import numpy as np
import pytest
import torch

from circuit.errors import AnalysisError
from circuit.measures.features.consensus import Traits, coassociation, consensus, matched
from circuit.measures.features.family_effects import Rates, random_features

GROUPS = (0, 0, 0, 1, 1, 2)
SAME = np.equal.outer(GROUPS, GROUPS)


def traits(noise, seed=0, order=slice(None)):
    """Six features of three groups, each a group's own activation and cost and some noise."""
    rng = np.random.default_rng(seed)
    program = np.repeat(np.arange(40), 5)
    active = rng.normal(size=(200, 3))[:, GROUPS] + noise * rng.normal(size=(200, 6))
    cost = rng.normal(size=(40, 3))[:, GROUPS] + noise * rng.normal(size=(40, 6))
    return Traits(SAME.astype(float), active, program, cost)


def test_agreement_is_the_mean_of_a_cosine_and_two_correlations():
    one = traits(1.0)
    weight = np.random.default_rng(1).integers(0, 3, 40).astype(float)
    again = np.repeat(np.arange(40), weight.astype(int))
    states = np.concatenate([np.flatnonzero(one.program == i) for i in again])
    due = (one.cosine + np.corrcoef(one.active[states].T) + np.corrcoef(one.cost[again].T)) / 3
    np.testing.assert_allclose(one.agreement(weight), due, atol=1e-12)


def test_what_does_not_vary_agrees_with_nothing():
    one = traits(0.1)
    one.cost[:] = 1 / 3
    one.active[:, 0] = 0
    found = one.agreement(np.ones(40))
    np.testing.assert_allclose(found[0, 1:], one.cosine[0, 1:] / 3, atol=1e-12)


@pytest.mark.parametrize("dictionaries", [1, 3])
def test_planted_groups_are_together_in_every_resample(dictionaries):
    every = [traits(0.3, seed) for seed in range(dictionaries)]
    together = coassociation(every, agreement=0.5, times=20, seed=0)
    np.testing.assert_array_equal(together, SAME.astype(float))
    assert [one.tolist() for one in consensus(together, 0.5)] == [[0, 1, 2], [3, 4], [5]]


def test_what_is_together_in_one_dictionary_only_is_no_family():
    """Half of the resamples know of it; a consensus of more than half does not."""
    other = traits(0.3, 1)
    other = other._replace(cosine=np.eye(6), cost=np.random.default_rng(2).normal(size=(40, 6)))
    together = coassociation([traits(0.3), other], agreement=0.5, times=20, seed=0)
    np.testing.assert_allclose(together, np.where(np.eye(6), 1, SAME * 0.5))
    assert len(consensus(together, 0.6)) == 6
    assert len(consensus(together, 0.4)) == 3


def test_a_feature_alone_is_a_family_by_itself():
    assert [one.tolist() for one in consensus(np.ones((1, 1)), 0.5)] == [[0]]


def test_features_are_matched_one_to_one_with_those_that_fire():
    rows = torch.eye(4, dtype=torch.float64)
    order = [2, 0, 3, 1]
    fires = np.ones(4, dtype=bool)
    assert matched(rows[:3], rows[order], fires).tolist() == [1, 3, 0]
    fires[1] = False
    assert 1 not in matched(rows[:3], rows[order], fires)


RATES = Rates(np.array([0.5, 0.5, 0.5, 0.5, 0.01, 0.01, 0.0]), np.ones(7))


def test_random_features_fire_as_often_and_are_no_members():
    drawn = random_features(RATES, (0, 4), 0.005, draws=50, seed=0)
    assert drawn.shape == (50, 2)
    assert set(drawn.ravel().tolist()) == {1, 2, 3, 5}
    assert all(len(set(one)) == 2 for one in drawn.tolist())
    np.testing.assert_array_equal(drawn, random_features(RATES, (0, 4), 0.005, 50, 0))
    assert (drawn != random_features(RATES, (0, 4), 0.005, 50, 1)).any()


def test_the_nearest_in_rate_are_drawn():
    rates = np.concatenate([np.full(9, 0.5), np.full(9, 0.1)])
    drawn = random_features(Rates(rates, np.ones(18)), (0, 9), 0.01, draws=40, seed=0)
    assert set(drawn[:, 0].tolist()) == set(range(1, 9))
    assert set(drawn[:, 1].tolist()) == set(range(10, 18))


def test_a_family_with_too_few_beside_it_is_refused():
    with pytest.raises(AnalysisError) as error:
        random_features(RATES, (0, 1, 2, 3), 0.005, draws=10, seed=0)
    assert str(error.value) == (
        "a family of 4 features has 2 others to be compared with — where: families: features that "
        "fire at its role — expected: at least as many others as it has itself — what to do: raise "
        "agreement, lower families or least_rate, or take a larger dictionary"
    )
