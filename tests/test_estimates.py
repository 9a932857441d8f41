"""The table of estimates: its columns, its halves, what is paired, and what it refuses."""

import numpy as np
import pandas as pd
import pytest

from circuit.errors import AnalysisError
from circuit.estimates import EXCESS, FIXED, UNITS, Estimates, estimates, keys_of, with_controls
from circuit.statistics import bootstrap_mean, halves, share_ends

VALUES = np.random.default_rng(0).normal(3.0, 2.0, size=(3, 40))


def made(halves=True):
    rows = Estimates(100, {"growth": "score"}, halves=halves)
    for head, values in zip(("L0H0", "L1H1"), VALUES, strict=False):
        rows.add(values, "growth", head=head)
        rows.add(VALUES[2], "growth", "random change", head=head)
    return rows


def at(rows, **keys):
    for key, value in keys.items():
        rows = rows[rows[key] == value]
    [row] = rows.to_dict("records")
    return row


def test_keys_come_first_and_all_fixed_columns_are_there():
    rows = made().frame()
    assert list(rows.columns) == ["head", *FIXED]
    assert keys_of(rows) == ["head"]
    assert set(UNITS) <= set(rows.columns)
    assert set(rows["unit"]) == {"score"}
    assert set(rows["noun"]) == {"events"}


def test_means_and_intervals_are_those_of_the_bootstrap_on_every_half():
    rows = made().frame()
    choosing, confirming = halves(40)
    for half, part in (("all", slice(None)), ("selection", choosing), ("confirmation", confirming)):
        row = at(rows, head="L1H1", against="", half=half)
        expected = bootstrap_mean(VALUES[1][part])
        assert [row[k] for k in ("mean", "low", "high")] == pytest.approx(
            [expected.mean, expected.low, expected.high]
        )
        assert row["count"] == expected.count


def test_an_excess_is_the_paired_difference_from_the_control():
    rows = made(halves=False)
    rows.excess("random change")
    row = at(rows.frame(), head="L0H0", against=EXCESS)
    expected = bootstrap_mean(VALUES[0] - VALUES[2])
    assert (row["mean"], row["low"]) == pytest.approx((expected.mean, expected.low))
    # Pairing matters: an effect that is its control has an excess of exactly 0.
    same = Estimates(1, {"m": "logit"})
    same.add(VALUES[0], "m", a="x")
    same.add(VALUES[0], "m", "control", a="x")
    same.excess("control")
    row = at(same.frame(), against=EXCESS)
    assert row["mean"] == row["low"] == row["high"] == 0


def test_sums_over_a_key_are_sums_per_event():
    rows = made(halves=False)
    rows.sums("head", "sum of heads", among=())
    row = at(rows.frame(), head="sum of heads", against="")
    assert row["mean"] == pytest.approx((VALUES[0] + VALUES[1]).mean())
    assert row["low"] == pytest.approx(bootstrap_mean(VALUES[0] + VALUES[1]).low)


def test_a_share_is_a_ratio_of_means_whose_whole_is_drawn_with_it():
    rows = Estimates(1, {"margin": "logit", "correct": "share"})
    rows.add(VALUES[0], "margin", part="all")
    rows.add(VALUES[0] / 4, "margin", part="quarter")
    rows.add(VALUES[1], "margin", part="other")
    rows.add(VALUES[0] - VALUES[0].mean(), "correct", part="all")
    rows.add(VALUES[1], "correct", part="other")
    rows.share_of(part="all")
    found = rows.frame()
    quarter = at(found, part="quarter", measure="margin_share")
    assert (quarter["mean"], quarter["low"], quarter["high"]) == pytest.approx((0.25,) * 3)
    other = at(found, part="other", measure="margin_share")
    assert other["mean"] == pytest.approx(VALUES[1].mean() / VALUES[0].mean())
    assert other["low"] < other["mean"] < other["high"]
    # What is not shown to differ from 0 cannot be shared out.
    assert found.loc[found["measure"] == "correct_share", "mean"].isna().all()
    assert at(found, part="other", measure="correct")["mean"] == pytest.approx(VALUES[1].mean())


def test_a_control_that_is_drawn_is_a_band_and_an_excess_over_every_draw():
    whole, own, drawn = VALUES[0], VALUES[1], np.stack([VALUES[1], VALUES[2] / 4])
    rows = Estimates(1, {"margin": "logit"})
    rows.add(whole, "margin", part="all")
    rows.add(own, "margin", part="circuit")
    rows.add_draws(drawn, "margin", "random", part="circuit")
    rows.share_of(part="all")
    found = rows.frame()
    means = drawn.mean(1)
    for measure, scale in (("margin", 1.0), ("margin_share", whole.mean())):
        band = at(found, measure=measure, against="random")
        ends = np.quantile(means / scale, [0.025, 0.975])
        np.testing.assert_allclose([band["low"], band["high"]], ends, rtol=1e-12)
        assert (band["count"], band["noun"]) == (2, "random")
        over = at(found, measure=measure, against=f"{EXCESS} over random")
        assert over["mean"] == pytest.approx((own.mean() - means).mean() / scale)
        # One draw is the number itself, so half of the differences are 0.
        assert over["low"] == 0 < over["high"]
        assert (over["count"], over["noun"]) == (40, "events")


def test_excesses_over_drawn_controls_hold_all_at_once_where_they_are_asked_to():
    """Of 12 numbers that are like their controls, 5% of tables show any; else about half do."""
    rng, shown = np.random.default_rng(0), {0: 0, 1: 0}
    for _ in range(24):
        own, control = rng.normal(size=(2, 12, 40))
        for families in shown:
            rows = Estimates(1, {"x": "1"}, families=families)
            for number in range(12):
                rows.add(own[number], "x", part=str(number))
                rows.add_draws(np.stack([control[number]] * 2), "x", "random", part=str(number))
            over = rows.frame().query("against == 'excess over random'")
            shown[families] += ((over["low"] > 0) | (over["high"] < 0)).any()
    assert shown[1] <= 3  # of 24 tables, one in 30 such tests finds more at 5%
    assert shown[0] >= 8


def test_what_is_not_said_is_filled_in():
    frame = pd.DataFrame({"head": ["a"], "measure": ["norm"], "mean": [2]})
    row = estimates(frame, "1", step=7).iloc[0]
    assert (row["against"], row["half"], row["count"], row["noun"]) == ("", "all", 0, "")
    assert np.isnan(row["low"])
    assert isinstance(row["mean"], float)


def test_rows_that_count_nothing_beside_some_that_do_have_no_noun():
    counted = pd.DataFrame({"measure": ["growth"], "mean": [1.0], "count": [9], "noun": ["events"]})
    exact = pd.DataFrame({"measure": ["part"], "mean": [2.0]})
    rows = estimates(pd.concat([counted, exact]), "score", step=0)
    assert rows["noun"].tolist() == ["events", ""]
    assert rows["count"].tolist() == [9, 0]


def test_a_measure_without_a_unit_is_refused():
    frame = pd.DataFrame({"measure": ["norm", "bare"], "mean": [1.0, 2.0]})
    with pytest.raises(AnalysisError, match="no unit of bare"):
        estimates(frame, {"norm": "1"}, step=0)
    with pytest.raises(AnalysisError, match="rows lack step"):
        estimates(frame, "1")


def test_control_columns_become_rows():
    frame = pd.DataFrame(
        {
            "measure": ["share"] * 2,
            "mean": [0.5, 0.6],
            "low": [0.4, 0.5],
            "high": [0.6, 0.7],
            "random": [0.1, np.nan],
            "random_low": [0.0, np.nan],
            "random_high": [0.2, np.nan],
        }
    )
    found = with_controls(frame, {"random": ("random", "random_low", "random_high")})
    rows = estimates(found, "share", "states", step=3)
    assert rows["against"].tolist() == ["", "", "random"]
    assert at(rows, against="random")["high"] == 0.2
    assert keys_of(rows) == []


def test_shares_of_excesses_hold_all_at_once_as_excesses_do():
    plain, wide = (Estimates(1, {"effect": "logit"}, families=n) for n in (0, 3))
    for table in (plain, wide):
        rng = np.random.default_rng(0)
        table.add(rng.normal(5, 1, 40), "effect", part="whole")
        for part in "abc":
            table.add(rng.normal(1, 1, 40), "effect", part=part)
            table.add(rng.normal(0, 1, 40), "effect", "other", part=part)
        table.excess("other")
        table.share_of(part="whole", against="")
    plain, wide = (table.frame() for table in (plain, wide))
    share = (plain["measure"] == "effect_share") & plain["mean"].notna()
    paired = share & (plain["against"] == EXCESS)
    assert paired.sum() == 3
    assert (wide["high"] - wide["low"])[paired].gt((plain["high"] - plain["low"])[paired]).all()
    same = share & ~paired
    assert wide.loc[same, "low"].tolist() == plain.loc[same, "low"].tolist()


def test_what_is_added_may_be_rounded_and_shares_of_yes_and_no_are_exact():
    yes = np.repeat([1.0, 0.0], [20, 4])
    table = Estimates(1, {"right": "share", "logit": "logit"}, shares=("right",), decimals=1)
    table.add_each({"right": yes, "logit": np.full(24, 0.04)})
    table.add_each({"right": 1 - yes, "logit": np.full(24, 0.06)}, "control")
    table.excess("control")
    rows = table.frame().set_index(["measure", "against"])
    assert rows.at[("logit", ""), "mean"] == 0
    assert rows.at[("logit", EXCESS), "mean"] == pytest.approx(-0.1)
    for against, share in (("", 20 / 24), ("control", 4 / 24)):
        low, high = share_ends(np.array([share]), 24)
        assert rows.at[("right", against), "low"] == low
        assert rows.at[("right", against), "high"] == high
    paired = bootstrap_mean(2 * yes - 1)
    assert rows.at[("right", EXCESS), "low"] == pytest.approx(paired.low)


def test_a_control_drawn_once_is_a_number_like_others():
    values = np.arange(12.0)
    drawn, plain = (Estimates(1, {"x": "1"}) for _ in range(2))
    for table, add in ((drawn, lambda v: drawn.add_draws(v[None], "x", "control")), (
        plain, lambda v: plain.add(v, "x", "control"))):  # fmt: skip
        table.add(values, "x")
        add(values / 2)
        table.excess("control")
    pd.testing.assert_frame_equal(drawn.frame(), plain.frame())
