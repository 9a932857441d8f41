"""What runs that differ in their seed have in common: growth, shares, birth, what is missing."""

import numpy as np
import pandas as pd
import pytest

from circuit.config.terms import COMPONENTS
from circuit.measures.replication.seeds import ROLES, UNITS, SeedResult, compare_seeds


def result(seed, growths, components, birth_step=600, residual=0.0):
    """A run whose heads L0H0, L0H1, … grow as given on the two halves of the events."""
    ranking = [
        {
            "head": f"L0H{i}",
            "selection": selection,
            "confirmation": confirmation,
            "low": confirmation - 0.5 - i,
            "high": confirmation + 0.25,
            "count": 48 + seed,
        }
        for i, (selection, confirmation) in enumerate(growths)
    ]
    selection = {
        "winner": "L0H0",
        "runner_up": "L0H1",
        "bottom": f"L0H{len(growths) - 1}",
        "unit": "score",
        "ranking": ranking,
    }
    values = dict(zip(COMPONENTS, components, strict=True))
    return SeedResult(f"seed{seed}", seed, selection, {**values, "residual": residual}, birth_step)


GROWTHS = [(8.0, 7.0), (3.0, 2.0), (0.5, 1.0), (-1.0, -2.0)]
RESULTS = [
    result(7, GROWTHS, (2.0, 6.0, -0.4, 0.0), 600, residual=0.4),
    result(11, [(9, 10), (2, 1), (0, 0), (0, -1)], (1.0, 3.0, 0.0, 0.0), 700),
    result(13, [(5, 4), (4, 3), (0, 0), (-3, 0)], (1.0, 4.0, 0.0, 0.0), 800),
]


@pytest.fixture(scope="module")
def rows():
    return compare_seeds(RESULTS, seed=0)


def values(rows, run, measure, role="winner"):
    chosen = (rows["run"] == run) & (rows["measure"] == measure) & (rows["role"] == role)
    return rows[chosen]["value"].tolist()


def test_growth_is_that_of_the_half_that_did_not_choose(rows):
    assert [values(rows, "seed7", "growth", role) for role in ROLES] == [[7.0], [2.0], [-2.0]]
    own = rows[(rows["run"] == "seed7") & (rows["measure"] == "growth")]
    assert own["head"].tolist() == ["L0H0", "L0H1", "L0H3"]
    assert set(own["unit"]) == {"score"}


def test_shares_of_a_run_sum_to_1_with_the_residual(rows):
    shares = rows[rows["measure"].str.startswith("share_") & (rows["run"] != "mean")]
    assert set(shares["measure"]) == {f"share_{name}" for name in (*COMPONENTS, "residual")}
    np.testing.assert_allclose(shares.groupby("run")["value"].sum(), 1, rtol=1e-12)
    assert values(rows, "seed7", "share_momentum") == [pytest.approx(6 / 8)]
    assert values(rows, "seed7", "share_weight_decay") == [pytest.approx(-0.4 / 8)]
    assert values(rows, "seed7", "share_residual") == [pytest.approx(0.4 / 8)]


def test_shares_of_a_shrinking_scalar_are_positive_where_they_help_it_shrink():
    shrunk = compare_seeds([result(1, GROWTHS, (-1.0, -4.0, 1.0, 0.0))], seed=0)
    assert values(shrunk, "seed1", "share_momentum") == [1.0]
    assert values(shrunk, "seed1", "share_current_gradient") == [0.25]
    assert values(shrunk, "seed1", "share_weight_decay") == [-0.25]


def test_means_are_over_runs_with_their_number(rows):
    means = rows[rows["run"] == "mean"].set_index(["role", "measure"])
    assert means.loc[("winner", "growth"), "value"] == pytest.approx((7 + 10 + 4) / 3)
    assert means.loc[("bottom", "growth"), "value"] == pytest.approx((-2 - 1 + 0) / 3)
    assert means.loc[("model", "birth_step"), "value"] == 700
    momentum = (6 / 8 + 3 / 4 + 4 / 5) / 3
    assert means.loc[("winner", "share_momentum"), "value"] == pytest.approx(momentum)
    assert set(means["count"]) == {3}
    assert set(means["seed"]) == {-1}
    # Among three runs a resampled mean lies between the least and the greatest of them.
    assert 4 <= means.loc[("winner", "growth"), "low"] < 7
    assert 7 < means.loc[("winner", "growth"), "high"] <= 10


def test_a_runs_growths_keep_the_scans_intervals_and_events(rows):
    for result in RESULTS:
        by = {entry["head"]: entry for entry in result.selection["ranking"]}
        own = rows[(rows["run"] == result.run) & (rows["measure"] == "growth")]
        assert own["role"].tolist() == list(ROLES)
        for row in own.itertuples():
            entry = by[result.selection[row.role]]
            assert row.head == entry["head"]
            assert (row.value, row.low, row.high, row.count) == tuple(
                entry[key] for key in ("confirmation", "low", "high", "count")
            )


def test_a_runs_other_numbers_have_no_interval(rows):
    own = rows[(rows["run"] != "mean") & (rows["measure"] != "growth")]
    assert (own["low"] == own["value"]).all()
    assert (own["high"] == own["value"]).all()
    assert set(own["count"]) == {1}


def test_a_mean_over_runs_knows_nothing_of_the_runs_own_intervals(rows):
    wide = result(7, GROWTHS, (2.0, 6.0, -0.4, 0.0), 600, residual=0.4)
    for entry in wide.selection["ranking"]:
        entry.update(low=-99.0, high=99.0, count=1)
    found = compare_seeds([wide, *RESULTS[1:]], seed=0)
    pd.testing.assert_frame_equal(
        found[found["run"] == "mean"], rows[rows["run"] == "mean"], check_exact=True
    )


def test_a_run_that_is_never_born_has_no_birth_step_and_is_not_in_its_mean():
    found = compare_seeds([*RESULTS[:2], result(13, GROWTHS, (1, 1, 1, 1), None)], seed=0)
    assert values(found, "seed13", "birth_step", "model") == []
    mean = found[(found["run"] == "mean") & (found["measure"] == "birth_step")].iloc[0]
    assert (mean["value"], mean["count"]) == (650, 2)
    assert found[(found["run"] == "mean") & (found["measure"] == "growth")]["count"].eq(3).all()


def test_where_no_run_is_born_there_is_no_birth_step():
    found = compare_seeds([result(s, GROWTHS, (1, 1, 1, 1), None) for s in (1, 2)], seed=0)
    assert "birth_step" not in set(found["measure"])


def test_the_interval_is_the_same_for_the_same_seed_only(rows):
    pd.testing.assert_frame_equal(rows, compare_seeds(RESULTS, seed=0))
    many = [
        result(s, [(9, 10 + s**1.5), (1, 1), (0, 0)], (1, 1, 1, 1)) for s in range(12)
    ]  # fmt: skip
    assert not compare_seeds(many, seed=0).equals(compare_seeds(many, seed=1))


def test_every_number_has_a_unit(rows):
    assert set(rows.select_dtypes("number")) == set(UNITS)
