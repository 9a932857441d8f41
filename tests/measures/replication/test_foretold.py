"""Scores of predicted orders: exact, paired, wide where little is known, and never too bold."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from circuit.measures.replication.foretold import (
    CHANCE,
    CORRELATION,
    FIRST_BORN,
    KNOWN,
    NO_BETTER,
    NOT_TOLD,
    NOTHING,
    POOLED,
    SCORE_UNITS,
    STRONGEST,
    _spearman,
    advantage,
    scores,
    verdicts,
)
from circuit.measures.replication.selection import BASELINES, RANKING
from circuit.statistics import resamples

HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]


def told(orders, actual, run="a", step=100, never=0):
    """Rows of one run, from every predictor's order; the last ``never`` heads never arrive."""
    n = len(actual)
    arrives = np.asarray(actual) <= n - never
    frames = [
        pd.DataFrame(
            {
                "run": run,
                "step": step,
                "head": HEADS[:n],
                "predictor": predictor,
                "value": 0.0,
                "predicted": np.asarray(order, dtype=float),
                "actual": scipy.stats.rankdata(np.where(arrives, actual, n)),
                "arrives": arrives,
                "final": -np.asarray(actual, dtype=float),
            }
        )
        for predictor, order in orders.items()
    ]
    return pd.concat(frames, ignore_index=True)


def many(foresight, runs=6, seed=0, steps=(100,), baseline=0.0):
    """Runs whose ranking follows the births with some noise, and baselines that may do so too."""
    generator = np.random.default_rng(seed)
    frames = []
    for run in range(runs):
        for step in steps:
            actual = generator.permutation(8) + 1

            def seen(strength, actual=actual):
                noise = generator.normal(size=8)
                return scipy.stats.rankdata(strength * actual + noise)

            orders = {RANKING: seen(foresight), **{name: seen(baseline) for name in BASELINES}}
            frames.append(told(orders, actual, f"run{run}", step, never=4))
    return pd.concat(frames, ignore_index=True)


def verdict(rows, cutoffs=(100,)):
    return verdicts(scores(rows, 0), cutoffs)["verdict"].tolist()


def test_correlations_are_spearmans_and_resamples_list_items_as_often_as_drawn():
    generator = np.random.default_rng(1)
    actual = np.array([1, 2, 6, 6, 6, 6, 3.5, 3.5])
    orders = np.vstack([actual, generator.permutation(8), [1, 1, 1, 4, 5, 6, 7, 7]])
    counts = np.vstack([np.ones(8), resamples(8, 0)[:40]])
    found = _spearman(orders, counts)
    for drawn, row in zip(counts, found, strict=True):
        listed = np.repeat(np.arange(8), drawn.astype(int))
        for place in (1, 2):
            if len(set(orders[0, listed])) == 1 or len(set(orders[place, listed])) == 1:
                assert np.isnan(row[place - 1])
                continue
            expected = scipy.stats.spearmanr(orders[0, listed], orders[place, listed]).statistic
            assert row[place - 1] == pytest.approx(expected, abs=1e-12)


def test_an_order_without_births_has_no_correlation():
    rows = told({RANKING: range(1, 9), **{b: range(1, 9) for b in BASELINES}}, [8] * 8, never=8)
    found = scores(rows, 0)
    assert set(found["score"]) == {STRONGEST}
    assert verdicts(found, [100])["verdict"].tolist() == [NOTHING]


def test_foresight_over_many_runs_could_be_known():
    rows = many(foresight=5.0)
    assert verdict(rows) == [KNOWN]
    found = scores(rows, 0).set_index(["run", "predictor", "score"])
    own = found.loc[(POOLED, RANKING, CORRELATION)]
    assert own["count"] == 6
    assert own["strict_low"] == own["low"]  # one cutoff needs no correction
    single = found.loc[[f"run{i}" for i in range(6)]].xs((RANKING, CORRELATION), level=[1, 2])
    assert own["value"] == pytest.approx(single["value"].mean())
    assert (single["count"] == 8).all()
    ahead = found.loc[(POOLED, RANKING, advantage("strength"))]
    other = found.loc[(POOLED, "strength", CORRELATION), "value"]
    assert ahead["value"] == pytest.approx(own["value"] - other)


def test_an_advantage_is_over_the_runs_that_have_both_correlations():
    """In the second run the baselines tie all candidates, so only the first says who is ahead."""
    rows = many(foresight=5.0, runs=2)
    tied = (rows["run"] == "run1") & rows["predictor"].isin(BASELINES)
    rows.loc[tied, "predicted"] = 4.5
    found = scores(rows, 0).set_index(["run", "predictor", "score"])
    ahead = found.loc[(POOLED, RANKING, advantage("strength"))]
    assert ahead["count"] == 1
    assert ahead["value"] == found.loc[("run0", RANKING, advantage("strength")), "value"]
    own, other = (found.loc[("run0", name, CORRELATION), "value"] for name in (RANKING, "strength"))
    assert ahead["value"] == pytest.approx(own - other)
    assert found.loc[(POOLED, RANKING, CORRELATION), "count"] == 2


def test_a_ranking_that_a_baseline_equals_is_no_better():
    rows = many(foresight=5.0, baseline=5.0)
    found = verdicts(scores(rows, 0), [100])
    assert found["verdict"].tolist() == [NO_BETTER]
    assert found["baselines"].iloc[0].split(", ") == list(BASELINES)


@pytest.mark.parametrize("foresight", [0.0, -5.0])
def test_noise_and_reversed_orders_are_not_told_from_chance(foresight):
    assert verdict(many(foresight)) == [NOT_TOLD]


def test_chance_alone_is_rarely_taken_for_knowledge():
    """Twenty studies of three runs and four cutoffs with nothing behind them."""
    steps = (10, 20, 30, 40)
    found = [v for s in range(20) for v in verdict(many(0.0, 3, 100 + s, steps), steps)]
    assert sum(v != NOT_TOLD for v in found) <= 2


def test_more_cutoffs_ask_for_more():
    one = scores(many(1.0, 3, 5), 0)
    four = scores(many(1.0, 3, 5, steps=(10, 20, 30, 40)), 0)
    for found in (one, four):
        part = found[found["score"] == CORRELATION]
        assert (part["strict_low"] <= part["low"]).all()
        assert (part["strict_high"] >= part["high"]).all()
    part = four[(four["score"] == CORRELATION) & (four["run"] == POOLED)]
    assert (part["strict_low"] < part["low"]).all()


def test_chance_is_the_range_of_random_orders():
    actual = np.array([1, 2, 3, 4, 5, 6, 7, 8])
    orders = {RANKING: actual, **dict.fromkeys(BASELINES, actual)}
    row = scores(told(orders, actual), 0).set_index(["run", "predictor"]).loc[(POOLED, CHANCE)]
    every = np.array(list(itertools.permutations(range(8))), dtype=float)
    exact = np.quantile(1 - 6 * ((every - np.arange(8)) ** 2).sum(1) / (8 * 63), [0.025, 0.975])
    np.testing.assert_allclose([row["low"], row["high"]], exact, atol=0.06)


def test_one_birth_that_was_put_first_is_no_knowledge():
    """No resample says otherwise, but one order in five does as well."""
    rows = told(
        {RANKING: [1, 2.5, 2.5, 4, 5], **{b: [5, 4, 3, 2, 1] for b in BASELINES}},
        [1, 5, 5, 5, 5],
        never=1,
    )
    row = (
        scores(rows, 0).set_index(["run", "predictor", "score"]).loc[(POOLED, RANKING, CORRELATION)]
    )
    assert row["strict_low"] > 0
    assert row["strict_chance"] == pytest.approx(row["value"])
    assert verdict(rows) == [NOT_TOLD]


def test_hits_are_k_of_n_runs_with_the_exact_interval():
    actual = [1, 2, 3, 4]
    right, wrong, shared = [1, 2, 3, 4], [4, 3, 2, 1], [1.5, 1.5, 3, 4]
    runs = [("a", right), ("b", wrong), ("c", right), ("d", shared)]
    rows = pd.concat(
        [told({RANKING: o, **dict.fromkeys(BASELINES, o)}, actual, run, never=2) for run, o in runs]
    )
    found = scores(rows, 0).set_index(["run", "predictor", "score"])
    row = found.loc[(POOLED, RANKING, FIRST_BORN)]
    exact = scipy.stats.binomtest(2, 3).proportion_ci(0.95, "exact")
    assert (row["value"], row["count"], row["chance"]) == (pytest.approx(2 / 3), 3, 0.25)
    assert (row["low"], row["high"]) == (exact.low, exact.high)
    assert ("d", RANKING, FIRST_BORN) not in found.index
    assert found.loc[("b", RANKING, STRONGEST), "value"] == 0


def test_routes_born_together_are_all_first():
    rows = told({RANKING: [2, 1, 3, 4], **{b: [1, 2, 3, 4] for b in BASELINES}}, [1, 1, 3, 4])
    row = scores(rows, 0).set_index(["run", "predictor", "score"]).loc[("a", RANKING, FIRST_BORN)]
    assert (row["value"], row["chance"]) == (1, 0.5)


def test_the_same_seed_gives_the_same_scores_and_every_number_has_a_unit():
    rows = many(1.0)
    found = scores(rows, 3)
    pd.testing.assert_frame_equal(found, scores(rows, 3), check_exact=True)
    assert not found.equals(scores(rows, 4))
    assert set(found.select_dtypes("number")) == set(SCORE_UNITS)
    assert scores(rows.iloc[:0], 0).empty
