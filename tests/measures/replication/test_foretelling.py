"""Scores of predicted orders: exact, paired, wide where little is known, and never too bold."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from circuit.errors import AnalysisError
from circuit.estimates import EXCESS
from circuit.measures.replication.foretold import (
    ADVANTAGE,
    ALONE,
    AT_ONCE,
    BASELINES,
    CORRELATION,
    DRAWN,
    FIRST_BORN,
    POOLED,
    RANDOM,
    RANKED,
    RANKING,
    ROW_UNITS,
    STRONGEST,
    _spearman,
    birth_rows,
    births,
    foretold,
    known_from,
    predictions,
    scores,
)
from circuit.statistics import occurrences

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


def indexed(found, holds=ALONE, against="", measure=CORRELATION):
    """Estimates of one kind, by run, predictor and the baseline that they are over."""
    kept = (found["holds"] == holds) & (found["against"] == against)
    return found[kept & (found["measure"] == measure)].set_index(["run", "predictor", "over"])


def known(rows):
    return known_from(scores(rows, 0))


def test_correlations_are_spearmans_and_resamples_list_items_as_often_as_drawn():
    generator = np.random.default_rng(1)
    actual = np.array([1, 2, 6, 6, 6, 6, 3.5, 3.5])
    orders = np.vstack([actual, generator.permutation(8), [1, 1, 1, 4, 5, 6, 7, 7]])
    counts = np.vstack([np.ones(8), occurrences(8, 0)[:40]])
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
    assert set(found["measure"]) == {STRONGEST}
    assert known_from(found) is None


def test_foresight_over_many_runs_could_be_known():
    rows = many(foresight=5.0)
    assert known(rows) == 100
    found = scores(rows, 0)
    alone = indexed(found)
    own = alone.loc[(POOLED, RANKING, "")]
    assert (own["count"], own["noun"]) == (6, "runs")
    assert own.equals(indexed(found, AT_ONCE).loc[(POOLED, RANKING, "")].replace(AT_ONCE, ALONE))
    single = alone.loc[[f"run{i}" for i in range(6)]].xs((RANKING, ""), level=[1, 2])
    assert own["mean"] == pytest.approx(single["mean"].mean())
    assert (single["count"] == 8).all()
    ahead = indexed(found, measure=ADVANTAGE).loc[(POOLED, RANKING, "strength")]
    assert ahead["mean"] == pytest.approx(own["mean"] - alone.loc[(POOLED, "strength", ""), "mean"])


def test_an_advantage_is_over_the_runs_that_have_both_correlations():
    """In the second run the baselines tie all candidates, so only the first says who is ahead."""
    rows = many(foresight=5.0, runs=2)
    tied = (rows["run"] == "run1") & rows["predictor"].isin(BASELINES)
    rows.loc[tied, "predicted"] = 4.5
    found = scores(rows, 0)
    alone, ahead = indexed(found), indexed(found, measure=ADVANTAGE)
    assert ahead.loc[(POOLED, RANKING, "strength"), "count"] == 1
    own, other = (alone.loc[("run0", name, ""), "mean"] for name in (RANKING, "strength"))
    assert ahead.loc[(POOLED, RANKING, "strength"), "mean"] == pytest.approx(own - other)
    assert alone.loc[(POOLED, RANKING, ""), "count"] == 2


def test_of_a_baseline_that_foretells_nothing_the_ranking_is_ahead_by_all_it_knows():
    rows = many(foresight=5.0)
    rows.loc[rows["predictor"] == "layer", "predicted"] = 4.5
    found = scores(rows, 0)
    own = indexed(found).loc[(POOLED, RANKING, ""), ["mean", "low", "high"]]
    ahead = indexed(found, measure=ADVANTAGE).loc[(POOLED, RANKING, "layer")]
    assert ahead[["mean", "low", "high"]].tolist() == own.tolist()
    assert known_from(found) == 100


def test_a_ranking_that_a_baseline_equals_is_no_better():
    rows = many(foresight=5.0, baseline=5.0)
    found = scores(rows, 0)
    assert known_from(found) is None
    beyond = indexed(found, AT_ONCE, EXCESS)["low"].loc[POOLED]
    assert (beyond > 0).all()


@pytest.mark.parametrize("foresight", [0.0, -5.0])
def test_noise_and_reversed_orders_are_not_known(foresight):
    rows = many(foresight)
    assert known(rows) is None
    assert indexed(scores(rows, 0), AT_ONCE, EXCESS).loc[(POOLED, RANKING, ""), "low"] <= 0


def test_chance_alone_is_rarely_taken_for_knowledge():
    """Twenty studies of three runs and four cutoffs with nothing behind them."""
    steps = (10, 20, 30, 40)
    found = [indexed(scores(many(0.0, 3, 100 + s, steps), 0), AT_ONCE, EXCESS) for s in range(20)]
    assert sum((rows.loc[(POOLED, RANKING), "low"] > 0).sum() for rows in found) <= 2


def test_more_cutoffs_ask_for_more():
    one, four = (scores(many(1.0, 3, 5, steps=steps), 0) for steps in ((10,), (10, 20, 30, 40)))
    for found in (one, four):
        alone, at_once = indexed(found), indexed(found, AT_ONCE)
        assert (at_once["low"] <= alone["low"]).all()
        assert (at_once["high"] >= alone["high"]).all()
    pooled = (indexed(four, holds).loc[POOLED]["low"] for holds in (AT_ONCE, ALONE))
    assert (np.diff(list(pooled), axis=0) > 0).all()


def test_random_orders_have_the_range_of_all_orders():
    actual = np.array([1, 2, 3, 4, 5, 6, 7, 8])
    orders = {RANKING: actual, **dict.fromkeys(BASELINES, actual)}
    row = indexed(scores(told(orders, actual), 0), against=RANDOM).loc[(POOLED, RANKING, "")]
    every = np.array(list(itertools.permutations(range(8))), dtype=float)
    exact = np.quantile(1 - 6 * ((every - np.arange(8)) ** 2).sum(1) / (8 * 63), [0.025, 0.975])
    np.testing.assert_allclose([row["low"], row["high"]], exact, atol=0.06)
    assert row["mean"] == 0


def test_one_birth_that_was_put_first_is_no_knowledge():
    """No resample says otherwise, but one order in five does as well."""
    rows = told(
        {RANKING: [1, 2.5, 2.5, 4, 5], **{b: [5, 4, 3, 2, 1] for b in BASELINES}},
        [1, 5, 5, 5, 5],
        never=1,
    )
    found = scores(rows, 0)
    row = indexed(found).loc[("a", RANKING, "")]
    assert row["low"] > 0
    chance = indexed(found, against=RANDOM).loc[("a", RANKING, "")]
    assert chance["high"] == pytest.approx(row["mean"])
    assert indexed(found, against=EXCESS).loc[("a", RANKING, ""), "low"] <= 0
    assert np.isnan(indexed(found).loc[(POOLED, RANKING, ""), "low"]), "one run has no interval"
    assert known_from(found) is None


def test_hits_are_k_of_n_runs_with_the_exact_interval():
    actual = [1, 2, 3, 4]
    right, wrong, shared = [1, 2, 3, 4], [4, 3, 2, 1], [1.5, 1.5, 3, 4]
    runs = [("a", right), ("b", wrong), ("c", right), ("d", shared)]
    rows = pd.concat(
        [told({RANKING: o, **dict.fromkeys(BASELINES, o)}, actual, run, never=2) for run, o in runs]
    )
    found = scores(rows, 0)
    hits = indexed(found, measure=FIRST_BORN)
    row = hits.loc[(POOLED, RANKING, "")]
    exact = scipy.stats.binomtest(2, 3).proportion_ci(0.95, "exact")
    assert (row["mean"], row["count"]) == (pytest.approx(2 / 3), 3)
    assert (row["low"], row["high"]) == (exact.low, exact.high)
    drawn = indexed(found, against=DRAWN, measure=FIRST_BORN)
    assert drawn.loc[(POOLED, RANKING, ""), ["mean", "count"]].tolist() == [0.25, 0]
    assert ("d", RANKING, "") not in hits.index
    assert indexed(found, measure=STRONGEST).loc[("b", RANKING, ""), "mean"] == 0


def test_routes_born_together_are_all_first():
    rows = told({RANKING: [2, 1, 3, 4], **{b: [1, 2, 3, 4] for b in BASELINES}}, [1, 1, 3, 4])
    found = scores(rows, 0)
    hit, drawn = (
        indexed(found, against=against, measure=FIRST_BORN).loc[("a", RANKING, ""), "mean"]
        for against in ("", DRAWN)
    )
    assert (hit, drawn) == (1, 0.5)


def test_the_same_seed_gives_the_same_scores():
    rows = many(1.0)
    found = scores(rows, 3)
    pd.testing.assert_frame_equal(found, scores(rows, 3), check_exact=True)
    assert not found.equals(scores(rows, 4))
    assert scores(rows.iloc[:0], 0).empty


# Births of routes, and the order in which features rank the candidates

STEPS = (0, 100, 200, 300)
CURVES = {
    "L0H0": (0.0, 5.0, 6.0, 8.0),  # born at 100
    "L0H1": (0.0, 5.0, 1.0, 5.0),  # drops below the level, so born at 300
    "L1H0": (0.0, 0.0, 0.0, 0.5),  # never
    "L1H1": (0.0, 0.0, 4.0, 4.0),  # born at 200
    "L1H2": (9.0, 9.0, 9.0, 1.0),  # was strong, is not at the end
}


def scan(curves=CURVES, width=0.5):
    """Rows of a head scan in which intervals have a half width."""
    rows = [
        (step, head, "qk_separation", half, value, value - width, value + width, 96, "score")
        for head, values in curves.items()
        for step, value in zip(STEPS, values, strict=True)
        for half in ("all", "selection")
    ]
    columns = ["step", "head", "measure", "half", "mean", "low", "high", "count", "unit"]
    return pd.DataFrame(rows, columns=columns)


def early(values, step=50):
    """Rows of features in which every head has one value under all of them."""
    found = []
    for name in (*RANKED, *BASELINES[:2], "growth (rounding)"):
        measure, _, part = name.rstrip(")").partition(" (")
        base = {"step": step, "measure": measure, "part": part}
        found += [{**base, "head": head, "mean": value} for head, value in values.items()]
    return pd.DataFrame(found).drop_duplicates()


def test_a_route_is_born_where_it_begins_to_stay_above_the_level():
    found = births(scan(), "qk_separation", 0.25).set_index("head")
    assert found["step"].dropna().to_dict() == {"L0H0": 100, "L0H1": 300, "L1H1": 200}
    assert found["born"].to_dict() == {h: h not in ("L1H0", "L1H2") for h in CURVES}
    assert found["order"].to_dict() == {"L0H0": 1, "L0H1": 3, "L1H0": 4.5, "L1H1": 2, "L1H2": 4.5}
    assert (found["level"] == 2).all()
    assert found["final"].to_dict() == {head: curve[-1] for head, curve in CURVES.items()}


def test_a_birth_needs_an_interval_clear_of_zero():
    found = births(scan(width=4.5), "qk_separation", 0.25).set_index("head")
    assert found["step"].dropna().to_dict() == {"L0H0": 100, "L0H1": 300}


def test_births_are_rows_and_who_is_never_born_has_no_step():
    rows = birth_rows(births(scan(), "qk_separation", 0.25).assign(run="a"))
    assert (rows["step"] == STEPS[-1]).all()
    by = rows.set_index(["measure", "head"])
    assert by.loc[("birth", "L1H1"), ["mean", "unit"]].tolist() == [200, "step"]
    assert np.isnan(by.loc[("birth", "L1H0"), "mean"])
    strength = by.loc[("final_strength", "L1H1"), ["mean", "low", "high", "count", "unit"]]
    assert strength.tolist() == [4.0, 3.5, 4.5, 96, "score"]
    assert by.loc[("birth_level", ""), "mean"] == 2


def test_where_no_route_is_above_zero_none_is_born():
    found = births(scan({"L0H0": (0, 1, 1, -1), "L0H1": (0, 0, 0, -2)}), "qk_separation", 0.5)
    assert not found["born"].any()
    assert (found["order"] == 1.5).all()


def test_a_measure_that_the_scan_lacks_is_refused():
    with pytest.raises(AnalysisError, match=r"^the scan has no measure 'ov_value_margin' — "):
        births(scan(), "ov_value_margin", 0.5)


def test_candidates_are_those_not_yet_born_and_are_ranked_anew():
    born = births(scan(), "qk_separation", 0.25)
    values = {"L0H0": 5.0, "L0H1": 4.0, "L1H0": 3.0, "L1H1": 2.0, "L1H2": 2.0}
    rows = predictions(early(values, step=100), born)
    assert set(rows["head"]) == set(CURVES) - {"L0H0"}
    ranking = rows[rows["predictor"] == RANKING].set_index("head")
    assert ranking["predicted"].to_dict() == {"L0H1": 1, "L1H0": 2, "L1H1": 3.5, "L1H2": 3.5}
    assert ranking["actual"].to_dict() == {"L0H1": 2, "L1H0": 3.5, "L1H1": 1, "L1H2": 3.5}
    layer = rows[rows["predictor"] == "layer"].set_index("head")["predicted"]
    assert layer.to_dict() == {"L0H1": 4, "L1H0": 2, "L1H1": 2, "L1H2": 2}
    assert set(rows.select_dtypes("number")) == set(ROW_UNITS)
    assert not rows["predictor"].str.contains("rounding").any()


def test_the_ranking_is_the_mean_of_the_features_ranks():
    generator = np.random.default_rng(2)
    rows = early(dict.fromkeys(CURVES, 0.0))
    rows["mean"] = generator.normal(size=len(rows))
    found = predictions(rows, births(scan(), "qk_separation", 0.25))
    single = found[found["predictor"].isin(RANKED)].groupby("head")["predicted"].mean()
    ranking = found[found["predictor"] == RANKING].set_index("head")
    pd.testing.assert_series_equal(ranking["value"], single, check_names=False)
    assert (ranking["predicted"] == ranking["value"].rank()).all()


def test_a_cutoff_after_all_births_leaves_no_candidates():
    curves = {"L0H0": (0, 5, 5, 5), "L0H1": (0, 4, 4, 4)}
    found = predictions(
        early(dict.fromkeys(curves, 1.0), 200), births(scan(curves), "qk_separation", 0.5)
    )
    assert found.empty
    assert {"predictor", "predicted", "actual"} <= set(found.columns)


def test_what_does_not_fit_together_is_refused():
    born = births(scan(), "qk_separation", 0.25)
    rows = early(dict.fromkeys(CURVES, 1.0))
    with pytest.raises(AnalysisError, match=r"^there is no feature 'own_update_norm' — "):
        predictions(rows[rows["measure"] != "own_update_norm"], born)
    with pytest.raises(AnalysisError, match=r"^there is no birth of head 'L1H2' — "):
        predictions(rows, born[born["head"] != "L1H2"])


def test_all_runs_are_foretold_each_from_its_own_features_and_scan():
    late = {**CURVES, "L1H1": (0.0, 0.0, 0.0, 4.0)}
    features = [early(dict.fromkeys(CURVES, 1.0)), early(dict.fromkeys(CURVES, 2.0))]
    rows, born = foretold(features, [scan(), scan(late)], ["a", "b"], "qk_separation", 0.25)
    step = born.set_index(["run", "head"])["step"]
    assert (step["a", "L1H1"], step["b", "L1H1"]) == (200, 300)
    strength = rows[rows["predictor"] == "strength"].groupby("run")["value"].unique()
    assert strength.to_dict() == {"a": [1.0], "b": [2.0]}
