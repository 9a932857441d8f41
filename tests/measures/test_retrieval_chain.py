"""When the links of a chain moved, on curves whose times are known."""

import numpy as np
import pytest

from circuit.measures.heads.chain import LINKS, MOVE_UNITS, chain_moves


def rise(middle, rng, events=60, width=40.0, top=4.0):
    """A link that rises around a step, on every event at its own height and time."""
    height = top + rng.standard_normal(events)
    late = middle + 10 * rng.standard_normal(events)
    return height / (1 + np.exp(-(np.arange(0, 1001, 50)[:, None] - late) / width))


@pytest.fixture(scope="module")
def moves():
    rng = np.random.default_rng(4)
    flat = rng.standard_normal((21, 60)) * 0.5
    told = [rise(m, rng) for m in (300, 300, 500, 520, 700)]
    other = [flat, -rise(400, rng), flat, flat, flat - flat[:1]]
    values = np.stack([np.stack(told), np.stack(other)])
    return chain_moves(values, list(range(0, 1001, 50)), ["L1H2", "L0H0"])


def test_links_are_told_in_the_order_of_the_mechanism(moves):
    assert moves["head"].tolist() == ["L1H2"] * 5 + ["L0H0"] * 5
    assert moves["link"].tolist() == [*LINKS, *LINKS]
    assert (moves["count"] == 60).all()


def test_half_way_steps_are_found_with_intervals_that_hold_them(moves):
    told = moves[moves["head"] == "L1H2"]
    assert told["moved"].all()
    for row, middle in zip(told.itertuples(), (300, 300, 500, 520, 700), strict=True):
        assert row.half_way == pytest.approx(middle, abs=8)
        assert row.half_way_low < row.half_way < row.half_way_high
        assert row.half_way_high - row.half_way_low < 25
        assert row.resamples == 1000


def test_half_way_lies_between_the_two_checkpoints_that_are_named(moves):
    told = moves[moves["head"] == "L1H2"]
    assert (told["half_way_by"] - told["half_way_after"] == 50).all()
    assert (told["half_way_after"] < told["half_way"]).all()
    assert (told["half_way"] <= told["half_way_by"]).all()


def test_what_lies_close_is_not_told_apart_and_what_lies_far_is(moves):
    lag = moves[moves["head"] == "L1H2"].set_index("link")
    first = lag["half_way"].idxmin()
    assert first in ("score", "mass")
    assert lag.loc[first, "lag"] == 0
    second = "mass" if first == "score" else "score"
    assert lag.loc[second, "lag_low"] <= 0 <= lag.loc[second, "lag"]
    assert lag.loc["direct logit", "lag_low"] > 300
    assert lag.loc["direct logit", "lag"] == pytest.approx(
        lag.loc["direct logit", "half_way"] - lag.loc[first, "half_way"]
    )


def test_the_largest_jump_is_named_by_its_later_checkpoint(moves):
    told = moves[moves["head"] == "L1H2"].set_index("link")
    assert told.loc["support value margin", "jump"] in (500, 550)
    assert told.loc["direct logit", "jump"] in (700, 750)
    assert (told["jump_low"] <= told["jump"]).all()
    assert (told["jump"] <= told["jump_high"]).all()
    assert (told["jump_size"] < told["change"]).all()


def test_what_does_not_rise_beyond_its_interval_has_no_time(moves):
    other = moves[moves["head"] == "L0H0"]
    assert not other["moved"].iloc[1]
    times = [c for c, unit in MOVE_UNITS.items() if unit in ("step", "steps")]
    still = other[~other["moved"]]
    assert len(still) >= 3
    assert still[times].isna().all(axis=None)
    assert (still["resamples"] == 0).all()


def test_a_change_comes_with_its_paired_interval(moves):
    np.testing.assert_allclose(moves["change"], moves["last"] - moves["first"], atol=1e-12)
    assert (moves["change_low"] <= moves["change"]).all()
    assert (moves["change"] <= moves["change_high"]).all()


def test_every_number_has_a_unit(moves):
    assert set(moves.select_dtypes("number")) == set(MOVE_UNITS)
