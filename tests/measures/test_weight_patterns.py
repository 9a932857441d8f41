"""Patterns of weights: planted growth is found at its step, and nothing is found in noise."""

import numpy as np
import pandas as pd
import pytest

from circuit.estimates import estimates
from circuit.measures.weights.patterns import (
    BIRTHS,
    _by_chance,
    _matched_when_shifted,
    matches,
    pattern_rows,
    weight_patterns,
)
from circuit.measures.weights.svd import UNTRAINED, weight_svd

STEPS = list(range(0, 1001, 100))
NONE = {"main": {"start": 0, "stop": 1000, "found": False, "evidence": []}}
WINDOWS = {
    "main": {"start": 400, "stop": 600},
    "window_1": {"start": 400, "stop": 600},
    "window_2": {"start": 800, "stop": 900},
    "accuracy": {"start": 300, "stop": 700, "birth": 500},
    "r": {"start": 800, "stop": 900, "birth": 900},
    "q": {"start": 0, "stop": 1000, "birth": None},
}


@pytest.fixture(scope="module")
def formation(planted, untrained):
    """Rows of a 'run' that goes from the untrained twin to the planted circuit around step 500."""

    def theta(step):
        share = 1 / (1 + np.exp(-(step - 450) / 15))  # half-way between two checkpoints
        return untrained.flat + share * (planted.flat - untrained.flat)

    rows, _ = weight_svd(planted.decoder, theta, STEPS, 4, 10, 0)
    return rows


def test_the_planted_head_grows_and_is_compressed_at_the_step_of_the_interpolation(formation):
    patterns, _ = weight_patterns(formation, WINDOWS, 100, 0)
    births = patterns.set_index(["pattern", "component", "matrix"])
    for pattern, matrix in (("growth", "W_QK"), ("compression", "W_QK"), ("growth", "W_Q")):
        row = births.loc[(pattern, "L1H2", matrix)]
        assert row["step"] == 500
        assert row["start"] <= 400
        assert row["stop"] >= 500
        assert (row["window"], row["distance"]) == ("window_1", 0)
        assert (row["birth"], row["lead"]) == ("accuracy", 0)
    grown = births.loc["growth", "L1H2", "W_QK"]
    assert grown["after"] > grown["before"]


def test_heads_without_a_plan_neither_grow_nor_settle_early(formation, planted):
    patterns, _ = weight_patterns(formation, NONE, 100, 0)
    grown = patterns[patterns["pattern"] == "growth"]
    heads = {planted.previous_token_head, planted.op_head, planted.matching_head}
    assert set(grown["component"]) == heads
    settled = patterns[patterns["pattern"] == "stabilisation"]
    assert settled["step"].min() >= 400


def made(curves, measure, low=0.9, high=1.1):
    """Rows of one measure of W_Q, one component per curve, beside untrained ones."""
    found = [
        (step, f"L0H{i}", "", value, np.nan, np.nan)
        for i, curve in enumerate(curves)
        for step, value in zip(STEPS, curve, strict=True)
    ]
    found += [(step, "", UNTRAINED, 1.0, low, high) for step in STEPS]
    names = ["step", "component", "against", "mean", "low", "high"]
    frame = pd.DataFrame(found, columns=names).assign(matrix="W_Q", measure=measure)
    return estimates(frame, "1")


def every(**curves):
    """Rows of all measures that patterns read; what is not given stays as untrained."""
    n = len(next(iter(curves.values())))
    flat = {name: [[1.0] * 11] * n for name in ("frobenius_norm", "effective_rank")}
    flat["rotation_final"] = [[0.0] * 11] * n
    parts = [made(curves.get(name, value), name) for name, value in flat.items()]
    change = made(curves.get("change_norm", [[1.0] * 11] * n), "change_norm")
    return pd.concat([*parts, change[change["step"] > 0]], ignore_index=True)


def patterns_of(pattern, windows=NONE, **curves):
    """Patterns of one kind in rows of all measures, of which some are given."""
    found, _ = weight_patterns(every(**curves), windows, 200, 0)
    return found[found["pattern"] == pattern]


def test_births_need_to_leave_the_baseline_and_to_move_by_more_than_its_width():
    rising = [1 + 0.1 * i for i in range(11)]
    inside = [0.95 + 0.01 * i for i in range(11)]  # ends within the band
    little = [1.05 + 0.015 * i for i in range(11)]  # ends outside, moved by less than its width
    falling = [1 - 0.05 * i for i in range(11)]
    curves = [rising, inside, little, falling]
    found = patterns_of("growth", frobenius_norm=curves)
    assert found["component"].tolist() == ["L0H0"]
    assert found[["step", "start", "stop"]].to_numpy().tolist() == [[500, 0, 1000]]
    assert found[["before", "after"]].to_numpy().tolist() == [[1.0, 2.0]]
    assert patterns_of("compression", effective_rank=curves)["component"].tolist() == ["L0H3"]


def test_stabilisation_is_below_half_of_random_and_not_at_the_end_alone():
    early = [1.0] * 4 + [0.4] * 6 + [0.0]
    late = [1.0] * 10 + [0.0]  # the final checkpoint is always its own
    always = [0.1] * 10 + [0.0]
    found = patterns_of("stabilisation", rotation_final=[early, late, always])
    assert found["component"].tolist() == ["L0H0"]
    assert (found["step"].item(), found["stop"].item()) == (400, 1000)


def test_matrices_that_burst_together_are_a_window_and_scattered_bursts_are_none():
    together = [[1.0] * 4 + [9.0] * 2 + [1.0] * 5] * 12
    found = patterns_of("co_movement", WINDOWS, change_norm=together).iloc[0]
    # Values belong to the interval that ends at their checkpoint.
    assert (found["start"], found["stop"], found["matrices"]) == (300, 500, 12)
    assert found["bound"] < 12
    assert (found["window"], found["distance"]) == ("window_1", 0)
    assert np.isnan(found["lead"])
    scattered = [list(np.roll([1.0] * 8 + [9.0] * 2, i)) for i in range(10)]
    assert patterns_of("co_movement", change_norm=[[1.0, *s] for s in scattered]).empty


def test_the_bound_on_co_movement_is_that_of_independent_shifts():
    fast = np.zeros((2, 4), bool)
    fast[:, 0] = True  # two matrices coincide in one of four shifts: in 25% of them the count is 2
    assert _by_chance(fast, 4000, 0)["bound"] == 2
    one = np.zeros((1, 4), bool)
    one[0, 2] = True
    assert _by_chance(one, 50, 0)["bound"] == 1


@pytest.mark.parametrize(
    ("step", "window", "distance", "birth", "lead"),
    [
        (100, "window_1", -300, "accuracy", -400),
        (400, "window_1", 0, "accuracy", -100),
        (600, "window_1", 0, "accuracy", 100),
        (700, "window_1", 100, "accuracy", 200),
        (1000, "window_2", 100, "r", 100),
    ],
)
def test_the_nearest_window_and_birth_are_told_with_sign(step, window, distance, birth, lead):
    curve = [1.0 if at < step else 3.0 for at in STEPS]
    row = patterns_of("growth", WINDOWS, frobenius_norm=[curve]).iloc[0]
    assert row["step"] == step
    assert (row["window"], row["distance"]) == (window, distance)
    assert (row["birth"], row["lead"]) == (birth, lead)


def test_matches_are_counted_against_every_shift_of_the_windows():
    steps = np.array([450, 500, 600, 700])
    run, windows = (0, 1000), [(400, 600), (800, 900)]
    counts = _matched_when_shifted(steps, windows, run)
    slow = [
        sum(any(a <= (step + shift) % 1001 <= b for a, b in windows) for step in steps)
        for shift in range(1001)
    ]
    assert counts.tolist() == slow
    patterns = pd.DataFrame({"pattern": ["growth"] * 4, "step": steps})
    found = matches(patterns, WINDOWS, run).set_index("pattern")
    assert found.loc["growth", ["births", "matched"]].tolist() == [4, 3]
    # Every birth is inside as often as the windows are long: 302 of 1001 steps.
    assert found.loc["growth", "expected"] == pytest.approx(4 * 302 / 1001)
    assert found.loc["growth", "chance"] == np.mean(np.array(slow) >= 3)
    assert found.loc["all", "matched"] == 3
    assert found.loc["compression", "births"] == 0


def test_without_a_birth_of_behaviour_nothing_matches():
    curve = [1.0] * 5 + [3.0] * 6
    patterns, found = weight_patterns(every(frobenius_norm=[curve]), NONE, 50, 0)
    assert patterns["window"].tolist() == [""]
    assert patterns[["distance", "lead"]].isna().all().all()
    assert found["matched"].eq(0).all()
    assert found["chance"].eq(1).all()
    assert set(found["pattern"]) == {*BIRTHS, "all"}


def test_estimates_hold_every_landmark_and_what_chance_gives():
    curves = [[1.0] * 5 + [3.0] * 6, [1.0] * 9 + [3.0] * 2, [1.0] * 11]
    rows = every(frobenius_norm=curves, change_norm=[[1.0] * 4 + [9.0] * 2 + [1.0] * 5] * 12)
    patterns, found = weight_patterns(rows, WINDOWS, 50, 0)
    made_of = pattern_rows(rows, patterns, found, WINDOWS)
    by = made_of.set_index(["pattern", "measure", "component", "against"])["mean"]
    assert by["growth", "when", "L0H0", ""] == 500
    assert by["growth", "lead", "L0H1", ""] == 900 - 900
    assert by["growth", "median_when", "", ""] == 700
    assert by["growth", "matched", "", ""] == 2
    assert by["growth", "matched", "", "shifted windows"] == pytest.approx(2 * 302 / 1001)
    assert by["co_movement", "together", "", ""] == 12
    assert by["co_movement", "together", "", "matrices shifted apart"] < 12
    so_far = made_of[(made_of["measure"] == "born_so_far") & (made_of["pattern"] == "growth")]
    share = so_far.set_index("step")["mean"]
    assert (share[400], share[500], share[1000]) == (0, 1 / 3, 2 / 3)
    windows = made_of[made_of["measure"] == "window_of_births"].set_index("near")
    assert windows.loc["window_2", ["low", "high"]].tolist() == [800, 900]
    none = pattern_rows(rows, patterns, found, NONE)
    assert none.loc[none["measure"] == "window_of_births", "mean"].isna().tolist() == [True]
