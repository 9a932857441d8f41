"""The regressions behind closure, on tables whose relation is known, against NumPy and sklearn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from circuit.estimates import EXCESS
from circuit.kinds.closure.settings import Settings
from circuit.measures.closure import (
    BOTTOM,
    CONTROL,
    POOLED,
    SHUFFLED,
    UNSEEN,
    WITHIN,
    explain,
    shuffled_events,
)
from circuit.measures.closure import fit as fit_all
from circuit.measures.closure import r_squared as r_squared_of_all
from circuit.statistics import interval

# No multiple of any number of folds: else folds made of rows would be folds made of events.
EVENTS, INTERVALS = 61, 6
ROUTES = ("a", "b")


def table(
    seed=0, noise=0.1, slopes=(2.0, -3.0), between=1.0, between_slopes=None, persistent=0.0
):  # fmt: skip
    """Changes of an outcome y that follow those of routes a and b, with an intercept of 0.5.

    Args:
        between: spread of the intervals' means of the routes.
        between_slopes: slopes of y with those means; None is ``slopes``.
        persistent: spread of what an event adds to its route a and (times 2) to y in all intervals
            alike.
    """
    rng = np.random.default_rng(seed)
    mean = between * rng.normal(size=(INTERVALS, 1, 2))
    own = rng.normal(size=(INTERVALS, EVENTS, 2))
    own[:, :, 0] += persistent * rng.normal(size=EVENTS)
    y = own @ slopes + mean @ (between_slopes or slopes) + 0.5
    y += noise * rng.normal(size=y.shape) + persistent * rng.normal(size=EVENTS)
    frame = pd.DataFrame((mean + own).reshape(-1, 2), columns=list(ROUTES)).assign(y=y.ravel())
    event = np.tile(np.arange(EVENTS), INTERVALS)
    start = np.arange(INTERVALS).repeat(EVENTS)
    return frame.assign(event=event, start=100 * start, stop=100 * start + 100)


def fit(frame, outcome, columns, folds, within=False, compared=None):
    """Predictions of one outcome."""
    compared = compared or (WITHIN if within else POOLED)
    return fit_all(frame, [outcome], frame[list(columns)], folds, compared)[:, 0]


def r_squared(rows, seed, within=False):
    """R² of one outcome's predictions, and its resamples."""
    predicted = rows[["predicted_within" if within else "predicted"]].to_numpy()
    drawn = r_squared_of_all(rows, ["actual"], predicted, seed, within)[:, 0]
    return drawn[0], drawn[1:]


def noise_table(seed):
    """Routes and an outcome that have nothing to do with one another."""
    rng = np.random.default_rng(seed)
    return table(seed).assign(y=rng.normal(size=EVENTS * INTERVALS))


def scored(frame, within, folds=5, seed=0):
    """R² of the cross-validated predictions with its interval."""
    rows = frame[["event", "start", "stop"]].assign(
        actual=frame["y"],
        predicted=fit(frame, "y", ROUTES, folds),
        predicted_within=fit(frame, "y", ROUTES, folds, within=True),
    )
    point, drawn = r_squared(rows, seed, within)
    return point, *interval(drawn)


@pytest.mark.parametrize("within", [False, True])
def test_a_relation_is_explained_up_to_its_noise(within):
    """Var(y) within an interval is 2² + 3² + noise²."""
    assert scored(table(noise=0.05), within)[0] > 0.999
    r2, low, high = scored(table(noise=2.0), within)
    if within:
        assert r2 == pytest.approx(13 / 17, abs=0.06)
    assert low < r2 < high


@pytest.mark.parametrize("within", [False, True])
def test_noise_is_not_explained(within):
    """On unseen events a fit to noise does a little worse than the mean, by about 1 in 30."""
    found = np.array([scored(noise_table(seed), within)[0] for seed in range(12)])
    assert found.mean() < 0
    assert found.min() > -0.1
    assert found.max() < 0.03


def test_a_relation_between_intervals_only_explains_nothing_within_them():
    """Routes vary within intervals too, but there they have nothing to do with the outcome.

    The pooled coefficients are those of the relation between intervals; applied within intervals
    they would predict noise and give a negative R².
    """
    frame = table(noise=1.0, slopes=(0.0, 0.0), between=4.0, between_slopes=(2.0, -3.0))
    assert scored(frame, within=False)[0] > 0.6
    r2, low, high = scored(frame, within=True)
    assert -0.08 < r2 < 0.03
    assert low < 0
    assert high < 0.05


def test_a_relation_within_intervals_is_found_behind_an_opposite_one_between_them():
    frame = table(noise=0.5, slopes=(1.0, 1.0), between=5.0, between_slopes=(-1.0, -1.0))
    slopes = np.linalg.lstsq(np.column_stack([frame[[*ROUTES]], frame["y"] * 0 + 1]), frame["y"])
    assert (slopes[0][:2] < 0).all()
    assert scored(frame, within=True)[0] == pytest.approx(2 / 2.25, abs=0.05)


def test_shuffled_events_explain_nothing_within_intervals():
    frame = table(noise=0.1, between=4.0)
    assert scored(frame, within=True)[0] > 0.99
    shuffled = shuffled_events(frame, ROUTES, seed=1)
    assert -0.08 < scored(shuffled, within=True)[0] < 0.03
    # When things changed is still known: that is why the pooled number is no control.
    assert scored(shuffled, within=False)[0] > 0.5


def test_shuffling_moves_whole_rows_of_routes_within_their_interval():
    frame = table()
    shuffled = shuffled_events(frame, ROUTES, seed=1)
    rest = [c for c in frame if c not in ROUTES]
    pd.testing.assert_frame_equal(shuffled[rest], frame[rest])
    orders = []
    for start, part in frame.groupby("start"):
        before = list(zip(part["a"], part["b"], strict=True))
        mine = shuffled[shuffled["start"] == start]
        after = list(zip(mine["a"], mine["b"], strict=True))
        assert before != after
        assert sorted(before) == sorted(after)
        orders.append([before.index(pair) for pair in after])
    assert len(set(map(tuple, orders))) == INTERVALS


@pytest.mark.parametrize("within", [False, True])
def test_an_event_is_predicted_by_a_fit_that_never_saw_it(within):
    """In none of its intervals: another outcome of an event changes predictions of others only."""
    frame = table(noise=1.0)
    changed = frame.copy()
    changed.loc[changed["event"] == 7, "y"] += 100
    before, after = (fit(f, "y", ROUTES, 5, within) for f in (frame, changed))
    mine = (frame["event"] == 7).to_numpy()
    np.testing.assert_array_equal(before[mine], after[mine])
    assert (np.abs(before - after)[~mine] > 1e-3).mean() > 0.5


@pytest.mark.parametrize("within", [False, True])
def test_predictions_are_those_of_least_squares_without_the_event(within):
    """With as many folds as events, folds are the events, whatever assigns them."""
    frame = table(noise=1.0)
    design = np.column_stack([frame[list(ROUTES)], np.ones(len(frame))])
    if within:
        starts = frame["start"].to_numpy()[:, None] == np.unique(frame["start"])
        design = np.column_stack([design[:, :2], starts])
    expected = np.empty(len(frame))
    for event in range(EVENTS):
        out = (frame["event"] == event).to_numpy()
        weights = np.linalg.lstsq(design[~out], frame["y"][~out], rcond=None)[0]
        expected[out] = design[out] @ weights
    np.testing.assert_allclose(fit(frame, "y", ROUTES, EVENTS, within), expected, rtol=1e-9)


def test_an_unseen_interval_is_predicted_by_a_fit_that_saw_neither_it_nor_the_event():
    frame = table(noise=1.0)
    design = np.column_stack([frame[list(ROUTES)], np.ones(len(frame))])
    expected = np.empty(len(frame))
    for event in range(EVENTS):
        for start in frame["start"].unique():
            mine, then = frame["event"] == event, frame["start"] == start
            kept = ~(mine | then).to_numpy()
            weights = np.linalg.lstsq(design[kept], frame["y"][kept], rcond=None)[0]
            expected[mine & then] = design[mine & then] @ weights
    found = fit(frame, "y", ROUTES, EVENTS, compared=UNSEEN)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_a_relation_between_intervals_only_is_not_known_of_an_unseen_one():
    """Six intervals' means follow no line of two routes; a fit to all of them knows each."""
    frame = table(noise=0.1, slopes=(0.0, 0.0), between=0.0)
    rng = np.random.default_rng(2)
    frame["y"] += 5 * rng.normal(size=INTERVALS)[frame["start"] // 100]
    frame["a"] += 5 * rng.normal(size=INTERVALS)[frame["start"] // 100]
    of = {
        how: r_squared(
            frame.assign(actual=frame["y"], predicted=fit(frame, "y", ROUTES, 5, compared=how)), 0
        )[0]
        for how in (POOLED, UNSEEN)
    }
    assert of[UNSEEN] < 0 < of[POOLED]


def test_r_squared_is_sklearns():
    rng = np.random.default_rng(0)
    rows = table(noise=1.0).rename(columns={"y": "actual"})
    rows["predicted"] = rows["actual"] + rng.normal(size=len(rows))
    rows["predicted_within"] = rows["actual"] + 2 * rng.normal(size=len(rows))
    assert r_squared(rows, 0)[0] == pytest.approx(r2_score(rows["actual"], rows["predicted"]))
    columns = ["actual", "predicted_within"]
    centred = rows[columns] - rows.groupby("start")[columns].transform("mean")
    expected = r2_score(centred["actual"], centred["predicted_within"])
    assert r_squared(rows, 0, within=True)[0] == pytest.approx(expected)


def test_the_interval_of_r_squared_is_a_bootstrap_over_events():
    """Against drawing events one by one, with all their intervals, and scoring with sklearn."""
    frame = table(noise=2.0, persistent=2.0)
    rows = frame.assign(actual=frame["y"], predicted=fit(frame, "y", ROUTES, 5))
    rng = np.random.default_rng(8)
    parts = [part for _, part in rows.groupby("event")]
    draws = []
    for _ in range(400):
        drawn = pd.concat([parts[i] for i in rng.integers(EVENTS, size=EVENTS)])
        draws.append(r2_score(drawn["actual"], drawn["predicted"]))
    expected = np.quantile(draws, [0.025, 0.975])
    low, high = interval(r_squared(rows, 0)[1])
    np.testing.assert_allclose([low, high], expected, atol=0.1 * (high - low))


@pytest.mark.parametrize("unit", [3e-7, 1e-12, 1e9])
def test_a_routes_unit_does_not_change_what_is_explained(unit):
    """Least squares of raw columns drop one that is a millionth of the largest."""
    plain = table(noise=0.1)
    other = plain.assign(a=unit * plain["a"])
    for within in (False, True):
        np.testing.assert_allclose(
            fit(other, "y", ROUTES, 5, within), fit(plain, "y", ROUTES, 5, within), rtol=1e-6
        )


@pytest.fixture(scope="module")
def explained():
    """Two outcomes: y follows the winner's routes, z is noise; so are the bottom head's routes."""
    rng = np.random.default_rng(5)
    frame = table(noise=0.5).assign(z=rng.normal(size=EVENTS * INTERVALS))
    for name in ROUTES:
        frame[CONTROL + name] = rng.normal(size=len(frame))
    scalar = {"scalar": "qk_separation", "head": "winner"}
    settings = Settings.model_validate(
        {
            "kind": "closure",
            "heads": "scan",
            "window": (0, 600),
            "outcomes": {"y": {"scalar": "correct_value_logit"}, "z": {"scalar": "answer_margin"}},
            "routes": dict.fromkeys(ROUTES, scalar),
            "folds": 4,
            "seed": 3,
        }
    )
    return frame, explain(settings, frame)


def test_routes_explain_what_follows_them_and_controls_do_not(explained):
    _, found = explained
    at = found.set_index(["outcome", "compared", "measure", "against"]).sort_index()
    y = at.loc["y", "within", "r2"]
    assert y.loc["", "low"] > 0.95
    assert y.loc[[BOTTOM, SHUFFLED], "high"].max() < 0.1
    assert (at.loc["z", ["low", "high"]].xs("r2", level="measure")["high"] < 0.1).all()


def test_scores_are_those_of_every_row_predicted(explained):
    frame, found = explained
    scores = found[(found["measure"] == "r2") & ~found["against"].str.startswith(EXCESS)]
    columns = {
        "": frame[[*ROUTES]],
        BOTTOM: frame[[CONTROL + name for name in ROUTES]],
        SHUFFLED: shuffled_events(frame, ROUTES, 3)[[*ROUTES]],
    }
    assert set(scores["against"]) == set(columns)
    assert len(scores) == 2 * 3 * 3
    for score in scores[scores["compared"] != UNSEEN].itertuples():
        predicted = fit_all(frame, [score.outcome], columns[score.against], 4, score.compared)
        values = pd.DataFrame({"actual": frame[score.outcome], "predicted": predicted[:, 0]})
        if score.compared == WITHIN:
            values = values - values.groupby(frame["start"]).transform("mean")
        assert score.mean == pytest.approx(r2_score(*values.to_numpy().T))


def test_an_excess_is_over_a_control_or_over_the_mean(explained):
    """In every resample; over a mean that explains nothing where the control explains less."""
    rows = explained[1].query("measure == 'r2'")
    for _, part in rows.groupby(["outcome", "compared"]):
        at = part.set_index("against")
        for control in (BOTTOM, SHUFFLED):
            excess = at.loc[f"{EXCESS} over {control}"]
            best = max(0, at.loc[control, "mean"])
            assert excess["mean"] == pytest.approx(at.loc["", "mean"] - best)
            assert excess["high"] <= at.loc["", "high"] + 1e-12
            assert excess["low"] <= excess["mean"] <= excess["high"]
