"""What runs that differ in their seed have in common: growth, shares, birth, what is missing."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from circuit.config.terms import COMPONENTS
from circuit.estimates import EXCESS, Whole, estimates
from circuit.measures.replication.seeds import SeedResult, compare_seeds

ROLES = ("winner", "runner_up", "bottom")


def result(seed, growths, components, birth_step=600, residual=0.0, width=0.5):
    """A run whose heads were chosen as ``ROLES`` and grow as given on the half that confirms."""
    rows = [
        {"head": f"L0H{i}", "chosen": role, "half": half, "against": against, "mean": value}
        for i, (role, grown) in enumerate(zip(ROLES, growths, strict=True))
        for half, more in (("selection", 1.0), ("confirmation", 0.0))
        for against, value in (("", grown + more), (EXCESS, grown - growths[-1]))
        if role != "bottom" or against == ""
    ]
    frame = pd.DataFrame(rows).assign(step=1000, measure="growth", of="", count=48 + seed)
    frame = frame.assign(low=frame["mean"] - width, high=frame["mean"] + width)
    values = dict(zip((*COMPONENTS, "residual"), (*components, residual), strict=True))
    scan = estimates(frame, "score", "events")
    whole = Whole(sum(values.values()), pd.Series(values), "growth")
    return SeedResult(f"seed{seed}", seed, scan, whole, birth_step)


RESULTS = [
    result(7, (7.0, 2.0, -2.0), (2.0, 6.0, -0.4, 0.0), 600, residual=0.4),
    result(11, (10.0, 1.0, -1.0), (1.0, 3.0, 0.0, 0.0), 700),
    result(13, (4.0, 3.0, 0.0), (1.0, 4.0, 0.0, 0.0), 800),
]


@pytest.fixture(scope="module")
def rows():
    return compare_seeds(RESULTS, seed=0)


def row(rows, run, measure, against="", **keys):
    """The one row of a run and a measure."""
    chosen = (rows["run"] == run) & (rows["measure"] == measure) & (rows["against"] == against)
    for key, value in keys.items():
        chosen &= rows[key] == value
    [found] = rows[chosen].to_dict("records")
    return found


def test_a_runs_growths_are_the_scans_on_the_half_that_did_not_choose(rows):
    for i, (role, grown) in enumerate(zip(ROLES, (7.0, 2.0, -2.0), strict=True)):
        found = row(rows, "seed7", "growth", chosen=role)
        expected = (grown, grown - 0.5, grown + 0.5, 55, f"L0H{i}", "7", "score", "confirmation")
        keys = ("mean", "low", "high", "count", "head", "seed", "unit", "half")
        assert tuple(found[key] for key in keys) == expected
    assert row(rows, "seed7", "growth", EXCESS, chosen="winner")["mean"] == 9
    assert row(rows, "seed7", "lead")["mean"] == 5


def test_shares_of_a_run_sum_to_1_with_the_residual(rows):
    shares = rows[(rows["measure"] == "share") & (rows["run"] != "mean")]
    assert set(shares["component"]) == {*COMPONENTS, "residual"}
    np.testing.assert_allclose(shares.groupby("run")["mean"].sum(), 1, rtol=1e-12)
    for component, share in (("momentum", 6 / 8), ("weight_decay", -0.4 / 8), ("residual", 0.05)):
        found = row(rows, "seed7", "share", component=component)
        assert found["mean"] == pytest.approx(share)
        assert (found["head"], found["count"]) == ("L0H0", 0)


def test_shares_of_a_shrinking_scalar_are_positive_where_they_help_it_shrink():
    shrunk = compare_seeds([result(1, (1, 0, 0), (-1.0, -4.0, 1.0, 0.0))], seed=0)
    for component, share in (("momentum", 1), ("current_gradient", 0.25), ("weight_decay", -0.25)):
        assert row(shrunk, "seed1", "share", component=component)["mean"] == share


def test_means_are_over_runs_with_their_number(rows):
    grown = row(rows, "mean", "growth", chosen="winner")
    assert grown["mean"] == pytest.approx((7 + 10 + 4) / 3)
    # Of three runs Student's interval is wide: nothing of this size is shown by them.
    ends = scipy.stats.t.interval(0.95, 2, loc=7, scale=3 / np.sqrt(3))
    assert [grown["low"], grown["high"]] == pytest.approx(ends, abs=0.8)
    assert (grown["count"], grown["noun"], grown["seed"]) == (3, "seeds", "")
    beyond = row(rows, "mean", "growth", EXCESS, chosen="winner")
    assert beyond["mean"] == pytest.approx((9 + 11 + 4) / 3)
    momentum = row(rows, "mean", "share", component="momentum")
    assert momentum["mean"] == pytest.approx((6 / 8 + 3 / 4 + 4 / 5) / 3)
    assert row(rows, "mean", "birth")["mean"] == 700


def test_runs_in_which_a_winner_is_shown_to_grow_are_counted_with_the_exact_interval():
    few = [*RESULTS[:2], result(13, (0.2, 0.0, 0.0), (1, 1, 1, 1))]
    found = row(compare_seeds(few, seed=0), "mean", "share_of_runs")
    exact = scipy.stats.binomtest(2, 3).proportion_ci(0.95, "exact")
    assert (found["mean"], found["low"], found["high"]) == (2 / 3, exact.low, exact.high)


def test_a_mean_over_runs_knows_nothing_of_the_runs_own_intervals(rows):
    wide = result(7, (7.0, 2.0, -2.0), (2.0, 6.0, -0.4, 0.0), 600, residual=0.4, width=2.0)
    found = compare_seeds([wide, *RESULTS[1:]], seed=0)
    pd.testing.assert_frame_equal(
        found[found["run"] == "mean"], rows[rows["run"] == "mean"], check_exact=True
    )


def test_a_run_that_is_never_born_is_not_in_the_mean_birth():
    found = compare_seeds([*RESULTS[:2], result(13, (1, 0, 0), (1, 1, 1, 1), None)], seed=0)
    assert np.isnan(row(found, "seed13", "birth")["mean"])
    mean = row(found, "mean", "birth")
    assert (mean["mean"], mean["count"]) == (650, 2)
    none = compare_seeds([result(s, (1, 0, 0), (1, 1, 1, 1), None) for s in (1, 2)], seed=0)
    assert np.isnan(row(none, "mean", "birth")["mean"])


def test_the_interval_is_the_same_for_the_same_seed_only(rows):
    pd.testing.assert_frame_equal(rows, compare_seeds(RESULTS, seed=0))
    many = [result(s, (10 + s**1.5, 1, 0), (1, 1, 1, 1)) for s in range(12)]
    assert not compare_seeds(many, seed=0).equals(compare_seeds(many, seed=1))
