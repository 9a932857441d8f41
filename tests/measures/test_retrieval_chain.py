"""When the links of a chain moved, on curves whose times are known."""

import numpy as np
import pytest

from circuit.measures.heads.attention import MEASURES
from circuit.measures.heads.chain import LINKS, chain_moves


def rise(middle, rng, events=60, width=40.0, top=4.0):
    """A link that rises around a step, on every event at its own height and time."""
    height = top + rng.standard_normal(events)
    late = middle + 10 * rng.standard_normal(events)
    return height / (1 + np.exp(-(np.arange(0, 1001, 50)[:, None] - late) / width))


def at(moves, measure, head="L1H2"):
    """Rows of a landmark of a head, by link."""
    return moves[(moves["head"] == head) & (moves["measure"] == measure)].set_index("link")


@pytest.fixture(scope="module")
def moves():
    rng = np.random.default_rng(4)
    flat = rng.standard_normal((21, 60)) * 0.5
    told = [rise(m, rng) for m in (300, 300, 500, 520, 700)]
    other = [flat, -rise(400, rng), flat, flat, flat - flat[:1]]
    values = np.stack([np.stack(told), np.stack(other)])
    return chain_moves(values, list(range(0, 1001, 50)), ["L1H2", "L0H0"], MEASURES)


def test_links_are_told_in_the_order_of_the_mechanism(moves):
    for head in ("L1H2", "L0H0"):
        assert at(moves, "rise", head).index.tolist() == list(LINKS)
        assert (at(moves, "rise", head)["count"] == 60).all()


def test_half_way_steps_are_found_with_intervals_that_hold_them(moves):
    found = at(moves, "half_way")
    for row, middle in zip(found.itertuples(), (300, 300, 500, 520, 700), strict=True):
        assert row.mean == pytest.approx(middle, abs=8)
        assert row.low < row.mean < row.high
        assert row.high - row.low < 25
    assert (at(moves, "resamples_half_way")["mean"] == 1000).all()


def test_half_way_lies_between_the_two_checkpoints_that_are_named(moves):
    names = ("half_way_after", "half_way", "half_way_by")
    after, half, by = (at(moves, name)["mean"] for name in names)
    assert (by - after == 50).all()
    assert (after < half).all()
    assert (half <= by).all()


def test_what_lies_close_is_not_told_apart_and_what_lies_far_is(moves):
    half = at(moves, "half_way")["mean"]
    first = half.idxmin()
    assert first in ("score", "mass")
    assert at(moves, "first_half_way")["mean"].to_dict() == {first: half[first]}
    second = "mass" if first == "score" else "score"
    lags = moves[moves["measure"].str.startswith("lag") & (moves["head"] == "L1H2")]
    lags = lags.set_index("link")
    assert first not in lags.index
    assert lags.loc[second, "low"] <= 0 <= lags.loc[second, "mean"]
    by = at(moves, "half_way_by")["mean"]
    within = lags["measure"] == "lag_within_checkpoints"
    assert (within == (by[lags.index] == by[first])).all()
    assert lags.loc["direct logit", "measure"] == "lag"
    assert lags.loc["direct logit", "low"] > 300
    apart = half["direct logit"] - half[first]
    assert lags.loc["direct logit", "mean"] == pytest.approx(apart)


def test_the_largest_jump_is_named_by_its_later_checkpoint(moves):
    jumps = at(moves, "jump")
    assert jumps.loc["support value margin", "mean"] in (500, 550)
    assert jumps.loc["direct logit", "mean"] in (700, 750)
    assert (jumps["low"] <= jumps["mean"]).all()
    assert (jumps["mean"] <= jumps["high"]).all()
    assert (at(moves, "jump_size")["mean"] < at(moves, "rise")["mean"]).all()


def test_what_does_not_rise_beyond_its_interval_has_no_time(moves):
    rises = at(moves, "rise", "L0H0")
    still = rises.index[rises["low"] <= 0]
    assert len(still) >= 3
    assert "mass" in still
    half = at(moves, "half_way", "L0H0")["mean"]
    assert half[still].isna().all()
    assert (at(moves, "resamples_half_way", "L0H0")["mean"][still] == 0).all()
    for landmark in ("jump", "half_way_by", "lag"):
        assert not set(still) & set(at(moves, landmark, "L0H0").index)


def test_a_head_of_which_nothing_rose_has_no_first_link():
    falls = np.stack([-rise(400, np.random.default_rng(i)) for i in range(5)])[None]
    found = chain_moves(falls, range(21), ["L0H0"], MEASURES)
    assert at(found, "first_half_way", "L0H0")["mean"].isna().all()


def test_a_rise_comes_with_its_paired_interval(moves):
    for head in ("L1H2", "L0H0"):
        rises = at(moves, "rise", head)
        assert (rises["low"] <= rises["mean"]).all()
        assert (rises["mean"] <= rises["high"]).all()
    assert set(moves.loc[moves["measure"] == "lag", "unit"]) == {"steps"}
    assert at(moves, "rise")["unit"]["score"] == "score"
