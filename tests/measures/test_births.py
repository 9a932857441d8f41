"""Births of curves: known ones are found within their intervals, and noise has none."""

import numpy as np
import pandas as pd
import pytest
from birth_curves import STEPS, curve, jump, ramp

from circuit.landmarks import fit_ramps
from circuit.measures.births.evidence import ALWAYS, BELOW, STILL, birth_rows, gather

DRAWS = 200


def found(one, draws=DRAWS):
    """The evidence of a curve, and its rows by method."""
    evidence = gather(one, draws, 0)
    return evidence, evidence.rows.set_index("method")


@pytest.mark.parametrize("at", [10, 100, 600, 1300])
def test_a_jump_is_found_where_it_is(at):
    before = STEPS[STEPS.index(at) - 1]
    evidence, rows = found(curve(jump(at), level=0.5))
    assert evidence.birth == at
    assert evidence.moment == evidence.extent == (before, at)
    for method in ("threshold", "change_point", "largest_jump"):
        row = rows.loc[method]
        assert row["found"]
        assert (row["start"], row["stop"]) == (before, at)
        assert (row["low"], row["step"], row["high"]) == (at, at, at)
    for method in ("change_point", "largest_jump"):
        row = rows.loc[method]
        assert row["value"] == pytest.approx(1)
        assert row["share"] == pytest.approx(1)
        assert row["value_low"] < 1 < row["value_high"]


def test_a_slow_rise_has_the_whole_ramp_for_its_extent():
    evidence, rows = found(curve(ramp(300, 900), band=0.02, level=0.5))
    assert evidence.birth == 600
    assert evidence.extent == (300, 900)
    assert evidence.moment == (500, 600)
    assert rows.loc["change_point", "step"] == 600
    assert rows.loc["largest_jump", "share"] == pytest.approx(1 / 6)


@pytest.mark.parametrize("seed", range(8))
def test_with_noise_the_true_step_lies_in_the_intervals(seed):
    one = curve(ramp(400, 800), band=0.2, noise=0.05, seed=seed, level=0.5)
    _, rows = found(one)
    for method in ("threshold", "change_point"):
        assert rows.loc[method, "low"] <= 600 <= rows.loc[method, "high"]
        assert rows.loc[method, "low"] <= rows.loc[method, "step"] <= rows.loc[method, "high"]


@pytest.mark.parametrize("seed", range(20))
def test_a_flat_noisy_curve_has_no_birth(seed):
    one = curve(lambda _: 0.5, band=0.2, noise=0.05, seed=seed)
    evidence, rows = found(one)
    assert (evidence.birth, evidence.moment, evidence.extent) == (None, None, None)
    assert not rows["found"].any()
    assert set(rows["note"]) == {STILL}
    assert rows[["step", "low", "high", "start", "stop"]].isna().all().all()


@pytest.mark.parametrize(
    ("one", "note"),
    [
        (curve(ramp(400, 800, 0.0, 0.4), level=0.5), BELOW),
        (curve(ramp(400, 800, 0.6, 0.9), level=0.5), ALWAYS),
        (curve(ramp(400, 800, 0.9, 0.1), level=0.5), STILL),  # it gets worse
        (curve(lambda step: float(300 < step < 900), level=0.5), STILL),  # it does not stay
    ],
)
def test_what_does_not_come_to_stay_is_not_born(one, note):
    evidence, rows = found(one)
    assert evidence.birth is None
    assert not rows.loc["threshold", "found"]
    assert rows.loc["threshold", "note"] == note
    assert rows.loc["threshold", "value"] == 0.5


def test_a_curve_below_its_threshold_still_tells_of_its_change():
    _, rows = found(curve(ramp(400, 800, 0.0, 0.4), level=0.5))
    assert rows.loc["change_point", "found"]
    assert (rows.loc["change_point", "start"], rows.loc["change_point", "stop"]) == (400, 800)


def test_half_way_is_the_level_where_none_is_set():
    _, rows = found(curve(ramp(200, 1200, -1.0, 5.0), name="w"))
    assert rows.loc["threshold", "value"] == 2.0
    assert rows.loc["threshold", "step"] == 700


def test_a_drop_is_a_birth_where_smaller_is_better():
    evidence, rows = found(curve(ramp(400, 800, 1.0, 0.2), name="drift", direction=-1))
    assert evidence.birth == 600
    assert rows.loc["change_point", "value"] == pytest.approx(-0.8)
    assert rows.loc["largest_drop", "value"] == pytest.approx(-0.2)
    assert rows.loc["largest_drop", "share"] == pytest.approx(0.25)


def test_the_thresholds_interval_comes_from_the_bands_edges():
    _, rows = found(curve(ramp(0, 1000), band=0.39, level=0.5))
    assert (rows.loc["threshold", "low"], rows.loc["threshold", "high"]) == (400, 700)


def test_an_edge_that_never_stays_leaves_the_interval_open():
    one = curve(ramp(0, 1300, 0, 0.6), band=0.3, level=0.5)
    evidence, rows = found(one)
    assert evidence.birth == 1100
    assert rows.loc["threshold", "low"] == 800
    assert np.isnan(rows.loc["threshold", "high"])


def test_the_change_points_interval_is_the_bootstraps_quantiles():
    """The same draws, fitted by hand."""
    one = curve(ramp(300, 900), band=0.6, level=0.5)
    _, rows = found(one)
    noise = np.random.default_rng(0).standard_normal((DRAWS, len(STEPS)))
    ramps = fit_ramps(STEPS, one.mean + noise * 0.6 / 3.92, 1)
    steps = np.asarray(STEPS)
    middles = [
        next(s for s in STEPS if s >= m) for m in (steps[ramps.start] + steps[ramps.stop]) / 2
    ]
    row = rows.loc["change_point"]
    for end, share in (("low", 0.025), ("high", 0.975)):
        assert row[end] == np.quantile(middles, share, method="inverted_cdf")
        assert row[f"value_{end}"] == pytest.approx(np.quantile(ramps.size, share))


def test_stabilisation_is_where_the_order_comes_to_stay():
    how = {"name": "ranks", "rule": "stays", "level": 0.8}
    evidence, rows = found(curve(jump(500, 0.1, 0.9), **how))
    assert evidence.birth == 500
    assert evidence.moment == evidence.extent == (400, 500)
    assert list(rows.index) == ["stabilisation"]
    for at, note in ((0, ALWAYS), (1300, BELOW), (2000, BELOW)):  # the last alone shows nothing
        evidence, rows = found(curve(jump(at, 0.1, 0.9), **how))
        assert evidence.birth is None
        assert rows.loc["stabilisation", "note"] == note


def test_rows_have_their_count_and_unit():
    for one in (curve(jump(600)), curve(lambda _: 0.5)):
        rows = gather(one, DRAWS, 0).rows
        assert set(rows["count"]) == {96}
        assert set(rows["unit"]) == {"1"}


def test_the_seed_decides_the_draws():
    one = curve(ramp(300, 900), band=0.6)
    first, again, other = (gather(one, DRAWS, seed).rows for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


def test_rows_are_estimates_with_unit_step():
    born, still = curve(ramp(300, 900), level=0.5), curve(lambda _: 0.5, name="w", unit="logit")
    evidence = [gather(one, DRAWS, 0) for one in (born, still)]
    rows = birth_rows(evidence, 1300).set_index(["evidence", "method", "measure", "against"])
    at = rows.loc[("accuracy", "change_point", "at", "")]
    wide = evidence[0].rows.set_index("method").loc["change_point"]
    assert (at["mean"], at["low"], at["high"], at["unit"]) == (
        wide["step"], wide["low"], wide["high"], "step"
    )  # fmt: skip
    extent = rows.loc[("accuracy", "change_point", "at", "extent")]
    assert (extent["low"], extent["high"]) == (300, 900)
    assert pd.isna(extent["mean"])
    size = rows.loc[("accuracy", "change_point", "size", "")]
    assert (size["mean"], size["low"]) == (wide["value"], wide["value_low"])
    missing = rows.loc[("w", "threshold", "at", "")]
    assert pd.isna(missing["mean"])
    assert missing["why"] == STILL
    assert rows.loc[("w", "threshold", "level", ""), "unit"] == "logit"
