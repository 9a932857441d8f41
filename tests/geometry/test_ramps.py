"""The least-squares ramp: what it finds, against a slow search and known corners."""

from itertools import combinations

import numpy as np
import pytest

from circuit.geometry.births.ramps import fit_ramps

STEPS = [0, 10, 30, 100, 200, 300, 400, 500]


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
