"""Landmarks of curves: known answers, slow readings of each rule, laws that hold for any curve.

Of the ramp: what it finds, against a slow search and known corners.
"""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from circuit.landmarks import (
    beyond,
    fit_ramps,
    from_then_on,
    half_level,
    half_of_end_step,
    half_way_step,
    held_from,
    largest_jump,
    stays_from,
    step_at,
)

STEPS = [0, 10, 30, 100, 200, 300, 400, 500]

CONDITIONS = arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 8)))
CURVES = arrays(
    float, st.tuples(st.integers(1, 4), st.integers(2, 8)), elements=st.floats(-8, 8, width=16)
)


@pytest.mark.parametrize(
    ("held", "step"),
    [
        ([False, True, False, True, True], 30),  # not from the first time on: it is lost again
        ([False, True, True, True, True], 10),
        ([True] * 5, 0),
        ([True, True, True, True, False], None),
        ([False, False, False, False, True], 40),  # nothing later speaks against it
        ([False] * 5, None),
    ],
)
def test_a_condition_stays_from_where_it_holds_to_the_end(held, step):
    assert from_then_on(np.array([0, 10, 20, 30, 40]), np.array(held)) == step


@given(held=CONDITIONS)
def test_the_first_lasting_checkpoint_is_that_of_a_search(held):
    count = held.shape[-1]
    expected = [min((c for c in range(count) if row[c:].all()), default=count) for row in held]
    assert stays_from(held).tolist() == expected
    steps = np.array(STEPS)[:count]
    named = [from_then_on(steps, row) for row in held]
    assert named == [None if c == count else STEPS[c] for c in expected]
    told = step_at(steps, stays_from(held))
    np.testing.assert_array_equal(told, [np.nan if n is None else n for n in named])


@given(curves=CURVES, level=st.floats(-8, 8, width=16))
def test_a_level_is_stayed_at_later_the_better_it_is_and_falling_mirrors_rising(curves, level):
    rising = stays_from(beyond(curves, level))
    assert (rising <= stays_from(beyond(curves, level + 0.5))).all()
    np.testing.assert_array_equal(rising, stays_from(beyond(-curves, -level, -1)))
    # A level for each curve is the same as that level, curve by curve.
    np.testing.assert_array_equal(
        rising, stays_from(beyond(curves, np.full((len(curves), 1), level)))
    )


@pytest.mark.parametrize(
    ("curve", "step"),
    [
        ([0, 0, 0, 1], 300),
        ([0, 1, 1, 1], 50),
        ([0, 0.25, 0.75, 1], 150),
        ([0, 0.9, 0.1, 1], 200 + 200 * 0.4 / 0.9),  # from which it stays
        ([0, 2, 2, 1], 25),
        ([-1, -1, 3, 3], 150),
        ([1, 0, 0, 0], np.nan),
        ([1, 1, 1, 1], np.nan),
        ([0, 0.5, 0.5, 1], 100),  # at half-way is not below it
    ],
)
def test_half_way_is_the_last_crossing_of_half_of_the_rise(curve, step):
    found = half_way_step(np.array(curve, dtype=float), np.array([0.0, 100, 200, 400]))
    assert found == pytest.approx(step, nan_ok=True)


@given(curves=CURVES)
def test_half_way_lies_between_the_last_checkpoint_below_and_the_one_after(curves):
    steps = np.array(STEPS[: curves.shape[1]], dtype=float)
    found = half_way_step(curves, steps)
    rises = curves[:, -1] > curves[:, 0]
    np.testing.assert_array_equal(np.isfinite(found), rises)
    after = stays_from(beyond(curves, half_level(curves)[:, None]))[rises]
    assert (after > 0).all()
    assert (found[rises] > steps[after - 1]).all()
    assert (found[rises] <= steps[after] * (1 + 1e-12)).all()


@pytest.mark.parametrize(
    ("mean", "step"),
    [
        ([0.0, 3.0, 1.0, 2.0, 4.0], 30),  # not from 10 on: it is lost again
        ([3.0, 3.0, 3.0, 3.0, 4.0], 0),  # of the end, not of the rise
        ([0.0, -3.0, -1.0, -2.0, -4.0], 30),  # what does harm, too
        ([1.0, -2.0, -2.0, -2.0, -4.0], 10),
        ([4.0, 4.0, 4.0, 4.0, 0.1], None),  # the last interval holds 0
    ],
)
def test_half_of_the_end_counts_from_nothing(mean, step):
    steps, curve = np.array([0, 10, 20, 30, 40]), np.array(mean)
    assert half_of_end_step(steps, curve, curve - 0.5, curve + 0.5) == step


def test_the_largest_jump_is_named_by_its_later_checkpoint_the_first_of_equals():
    curves = np.array([[0.0, 1, 0, 3, 3], [0, 2, 0, 2, 0], [5, 4, 3, 2, 1]])
    assert largest_jump(curves).tolist() == [3, 1, 1]
    assert largest_jump(curves, -1).tolist() == [2, 2, 1]
    assert int(largest_jump(curves[0])) == 3


@given(curves=CURVES)
def test_no_jump_is_larger_than_the_largest(curves):
    at = largest_jump(curves)[:, None]
    size = np.take_along_axis(curves, at, 1) - np.take_along_axis(curves, at - 1, 1)
    assert (np.diff(curves) <= size).all()
    np.testing.assert_array_equal(largest_jump(-curves, -1), at[:, 0])


def searched(steps, values, direction):
    """The same fit by least squares over every pair of corners, one by one."""
    at = np.asarray(steps, float)
    lengths = np.diff(at)
    weights = np.r_[lengths, 0] + np.r_[0, lengths]
    best = (np.inf, None, None, None)
    for i, j in combinations(range(len(at)), 2):
        shape = np.interp(at, [at[i], at[j]], [0, 1])
        design = np.stack([np.ones_like(at), shape], 1) * np.sqrt(weights)[:, None]
        solution, *_ = np.linalg.lstsq(design, values * np.sqrt(weights), rcond=None)
        left = float(((values * np.sqrt(weights) - design @ solution) ** 2).sum())
        if direction * solution[1] > 0 and left < best[0] - 1e-12:
            best = (left, i, j, float(solution[1]))
    return best[1:]


@pytest.mark.parametrize("direction", [1, -1])
def test_the_fit_is_the_best_of_all_pairs_of_corners(direction):
    curves = np.random.default_rng(0).standard_normal((20, len(STEPS))).cumsum(1)
    found = fit_ramps(STEPS, curves, direction)
    for i, values in enumerate(curves):
        start, stop, size = searched(STEPS, values, direction)
        if size is None:  # no ramp of this direction is better than none
            assert found.size[i] == 0
            continue
        assert (found.start[i], found.stop[i]) == (start, stop)
        assert found.size[i] == pytest.approx(size, rel=1e-10)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 4), (2, 6), (0, 7), (6, 7)])
def test_a_ramp_is_found_exactly(start, stop):
    at = np.asarray(STEPS, float)
    values = 0.2 + 3 * np.interp(at, [at[start], at[stop]], [0, 1])
    found = fit_ramps(STEPS, np.stack([values, -values]), 1)
    assert (found.start[0], found.stop[0]) == (start, stop)
    assert found.size[0] == pytest.approx(3, rel=1e-12)
    falling = fit_ramps(STEPS, np.stack([values, -values]), -1)
    assert (falling.start[1], falling.stop[1]) == (start, stop)
    assert falling.size[1] == pytest.approx(-3, rel=1e-12)


def test_a_curve_that_only_goes_the_other_way_has_no_size():
    falling = np.linspace(1, 0, len(STEPS))
    assert fit_ramps(STEPS, falling[None], 1).size[0] == 0
    assert fit_ramps(STEPS, np.ones((1, len(STEPS))), 1).size[0] == pytest.approx(0, abs=1e-12)


def test_denser_checkpoints_do_not_pull_the_fit():
    """A straight rise is one ramp from end to end, however the steps are spread."""
    steps = [*range(0, 50, 2), *range(50, 501, 50)]
    found = fit_ramps(steps, np.asarray(steps, float)[None], 1)
    assert (found.start[0], found.stop[0]) == (0, len(steps) - 1)


def test_what_is_held_to_the_end_is_held_from_a_step() -> None:
    assert held_from({0: True, 100: False, 200: True, 300: True}) == 200
    assert np.isnan(held_from({0: True, 100: False}))
