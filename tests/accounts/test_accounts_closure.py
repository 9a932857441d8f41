"""What closure and cross-seed analyses say: explained, not explained, repeated, not repeated."""

import numpy as np
import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.config.terms import COMPONENTS
from circuit.kinds.closure.settings import Settings
from circuit.measures.closure.analysis import CONTROL, explain
from circuit.measures.replication.seeds import SeedResult, compare_seeds
from circuit.reports.accounts_closure import closure, seeds

EVENTS, STARTS = 40, (100, 200, 300)


def explained_frames(slope, control_slope=0.0, noise=0.3):
    """Scores, coefficients and rows of an outcome that follows the winner's route, or another."""
    rng = np.random.default_rng(0)
    n = EVENTS * len(STARTS)
    route, control = rng.normal(size=(2, n))
    frame = pd.DataFrame(
        {
            "margin": slope * route + control_slope * control + noise * rng.normal(size=n),
            "route": route,
            CONTROL + "route": control,
            "event": np.tile(np.arange(EVENTS), len(STARTS)),
            "start": np.repeat(STARTS, EVENTS),
            "stop": np.repeat(STARTS, EVENTS) + 100,
        }
    )
    settings = Settings.model_validate(
        {
            "kind": "closure",
            "heads": "scan",
            "window": (100, 400),
            "outcomes": {"margin": {"scalar": "answer_margin"}},
            "routes": {"route": {"scalar": "qk_separation", "head": "winner"}},
        }
    )
    rows, scores, coefficients = explain(settings, frame)
    return scores, coefficients, rows


def explained(slope, control_slope=0.0):
    """The account of such an outcome, and its scores."""
    scores, coefficients, rows = explained_frames(slope, control_slope)
    return closure(scores, coefficients, rows, (100, 400), "L1H2", "L0H3"), scores


def test_an_explained_outcome_has_its_r_squared_beside_the_controls(tmp_path):
    found, scores = explained(slope=2.0)
    written(found, "closure", tmp_path)
    r2 = scores.set_index(["model", "within"])["r2"]
    assert found.answer == (
        "From step 100 to 400, changes of L1H2's route scalars predict how events of one "
        "checkpoint interval differ, on events the fit never saw, with R² "
        f"{r2['routes', True]:+.2f} for margin ({r2['routes', False]:+.2f} when events of all "
        f"intervals are compared; {r2['control', True]:+.2f} for the bottom head L0H3)."
    )
    assert r2["routes", True] > 0.9
    assert found.marks == []
    numbers = numbers_of(found)
    assert len(numbers) == 6
    number = numbers["R² of margin, routes, within"]
    assert number.count == EVENTS
    assert str(number).startswith("+0.9")
    assert number.low > 0.9


@pytest.mark.parametrize("slopes", [(0.0, 0.0), (1.0, 1.0)])
def test_what_a_control_explains_as_well_is_marked(slopes):
    """Nothing explains noise; and a bottom head that explains as much takes the routes' credit."""
    found, _ = explained(*slopes)
    assert any("the bottom head L0H3" in mark for mark in found.marks)
    assert all(mark.startswith("margin: within intervals") for mark in found.marks)
    assert any("shuffled events" in mark for mark in found.marks) == (slopes == (0.0, 0.0))


def test_a_lead_over_a_control_within_its_uncertainty_is_marked():
    """The routes' R² is above the control's interval, but the lower end of its own is not."""
    values = {"routes": (0.6, 0.3, 0.8), "control": (0.2, 0.1, 0.4), "shuffled": (0.0, -0.1, 0.1)}
    scores, *parts = explained_frames(slope=2.0)
    for model, value in values.items():
        scores.loc[scores["model"] == model, ["r2", "low", "high"]] = value
    found = closure(scores, *parts, (100, 400), "L1H2", "L0H3")
    assert found.marks == [
        "margin: within intervals, the interval of the routes' R² reaches that of the bottom head "
        "L0H3; that they explain more is not shown."
    ]


def test_a_negative_r_squared_keeps_its_sign():
    found, _ = explained(0.0)
    assert "R² -0." in found.answer


def test_intervals_leave_their_mean_residual(tmp_path):
    found, _ = explained(slope=2.0)
    table = found.tables[1].frame
    assert table["start"].tolist() == list(STARTS)
    np.testing.assert_allclose(table["residual"], table["actual"] - table["predicted"])
    assert set(table["count"]) == {EVENTS}


def run(seed, winner, runner_up, bottom, birth=600, momentum=6.0):
    heads = {"winner": winner, "runner_up": runner_up, "bottom": bottom}
    selection = {
        **{role: f"L{i}H{seed % 4}" for i, role in enumerate(heads)},
        "unit": "score",
        "ranking": [
            {
                "head": f"L{i}H{seed % 4}",
                "selection": 9,
                "confirmation": growth,
                "low": growth - 0.5,
                "high": growth + 0.25,
                "count": 48,
            }
            for i, growth in enumerate(heads.values())
        ],
    }
    components = dict(zip(COMPONENTS, (2.0, momentum, 0.0, 0.0), strict=True))
    return SeedResult(f"seed{seed}", seed, selection, {**components, "residual": 0.0}, birth)


def told(*results):
    return seeds(compare_seeds(list(results), seed=0))


FIVE = [run(seed, 6.0 + seed, 2.0, -1.0) for seed in range(5)]


def test_five_seeds_that_agree_have_no_mark(tmp_path):
    found = told(*FIVE)
    written(found, "cross_seed", tmp_path)
    assert found.marks == []
    assert found.answer == (
        "In 5 of 5 runs a head's separation grows: winners L0H0, L0H1, L0H2, L0H3, L0H0, mean "
        "growth over the scan's window +8.00 score against -1.00 for the bottom controls. Of the "
        "winners' growth over the attribution's window, momentum carries +75% and the current "
        "gradient +25% on average."
    )


def test_means_have_sign_unit_interval_and_number_of_runs(tmp_path):
    found = told(*FIVE)
    _, text = written(found, "cross_seed", tmp_path)
    numbers = numbers_of(found)
    assert str(numbers["growth of the winner"]).startswith("+8")
    assert str(numbers["growth of the bottom"]).startswith("−1")
    assert str(numbers["share_momentum of the winner"]).startswith("+75")
    assert "% (95% interval +75" in str(numbers["share_momentum of the winner"])
    birth = numbers["birth_step of the model"]
    assert str(birth).startswith("600 step")
    assert {number.count for number in numbers.values()} == {5}
    assert "+8" in text


def test_runs_in_which_the_winner_shrinks_are_not_counted():
    found = told(*FIVE[:4], run(4, -3.0, -4.0, -5.0))
    assert found.answer.startswith("In 4 of 5 runs")


def test_fewer_than_five_seeds_are_marked():
    for n in (3, 4):
        assert told(*FIVE[:n]).marks == [
            f"{n} seeds: the interval over seeds is rough; read it with the single runs."
        ]


def test_a_runner_up_that_overtakes_is_marked():
    found = told(*FIVE[:4], run(4, 2.0, 3.0, -1.0))
    assert found.marks == [
        "In run seed4 the runner-up grows no less than the winner on the events that did not "
        "choose them."
    ]


def test_runs_without_birth_are_marked_and_counted_out(tmp_path):
    found = told(*FIVE[:3], run(3, 8.0, 1.0, 0.0, None), run(4, 8.0, 1.0, 0.0, None))
    written(found, "cross_seed", tmp_path)
    assert found.marks == [
        "The behaviour never forms in seed3, seed4; the mean birth step leaves them out."
    ]
    assert numbers_of(found)["birth_step of the model"].count == 3
    one = told(*FIVE[:4], run(4, 8.0, 1.0, 0.0, None))
    assert one.marks[0].endswith("in seed4; the mean birth step leaves it out.")
