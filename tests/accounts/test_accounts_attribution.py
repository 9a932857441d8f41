"""What the replayed analyses say: signs, units, and the marks they must not leave out."""

import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.attribution.window import WindowSum
from circuit.config.terms import COMPONENTS, TRACE_UNITS
from circuit.reports.accounts_attribution import attribution, trace
from circuit.statistics import Mean


def window_sum(scalar="route", rule="trapezoid", parts=(2.0, 6.5, -0.7, 0.0), residual=0.02):
    components = dict(zip(COMPONENTS, parts, strict=True))
    growth = sum(parts) + residual
    comparators = {"raw_sgd": 0.5, "clipped_sgd": 0.4}
    return WindowSum(scalar, rule, growth, components, residual, abs(residual), comparators)


GROUPS = pd.DataFrame(
    [
        ("route", component, group, "head", size)
        for component, sizes in (
            ("momentum", (5.0, 1.5, -4.0)),
            ("current_gradient", (-3.0, 5.0, -5.0)),
        )
        for group, size in zip(("L1H2", "L0H1", "L0MLP"), sizes, strict=True)
    ],
    columns=["scalar", "component", "group", "grouping", "attribution"],
)


INTERVAL = Mean(7.8, 6.9, 8.8, 48)


def account(*sums, unit="score", bound=0.01, interval=INTERVAL):
    names = dict.fromkeys(s.scalar for s in sums)
    return attribution(
        sums,
        dict.fromkeys(names, interval),
        dict.fromkeys(names, unit),
        {"route": "L1H2"},
        (400, 1300),
        "trapezoid",
        bound,
        GROUPS,
    )


def test_the_answer_says_what_carried_how_much(tmp_path):
    found = account(window_sum(), window_sum(rule="left", residual=2.0))
    written(found, "update_attribution", tmp_path)
    assert found.answer == (
        "route (L1H2) changed by +7.82 score from step 400 to 1,300: momentum +6.5 (+83%), "
        "current_gradient +2 (+26%), weight_decay -0.7 (-9%), rounding +0 (+0%). With trapezoid, "
        "0.256% of the growth is left over (closure residual); left leaves 20.41%."
    )
    assert found.marks == []


def test_shares_of_a_shrinking_scalar_keep_their_sense():
    """What helps it shrink has a negative contribution and a positive share."""
    found = account(window_sum(parts=(-1.0, -4.0, 1.0, 0.0), residual=0.0))
    assert "changed by -4 score" in found.answer
    assert "momentum -4 (+100%)" in found.answer
    assert "weight_decay +1 (-25%)" in found.answer


def test_a_residual_above_its_bound_is_marked():
    rough = window_sum(residual=0.5)
    assert account(window_sum(), rough._replace(scalar="other")).marks == [
        "other: the closure residual is 6.02% of the growth, above the bound of 1.00%."
    ]
    assert account(rough, bound=0.1).marks == []
    # A comparator's residual is what it is there to show.
    assert account(window_sum(), window_sum(rule="left", residual=4.0)).marks == []


@pytest.mark.parametrize("unit", ["score", "probability"])
def test_contributions_show_their_sign_in_any_unit(tmp_path, unit):
    found = account(window_sum(), unit=unit)
    report, text = written(found, "update_attribution", tmp_path)
    numbers = numbers_of(found)
    assert str(numbers["growth of route (L1H2)"]) == (
        f"+7.82 {unit} (95% interval +6.90 to +8.80, n = 48)"
    )
    assert str(numbers["route (L1H2): momentum"]) == f"+6.50 {unit}"
    assert str(numbers["route (L1H2): weight_decay"]) == f"−0.700 {unit}"
    assert str(numbers["route (L1H2): closure residual"]) == f"+0.0200 {unit}"
    assert f"+6.50 {unit}" in text
    assert len(report["numbers"]) == 1 + len(COMPONENTS) + 1


def test_growth_without_an_interval_says_why(tmp_path):
    """Of a scalar whose basis follows the steps no event has a growth over the window."""
    found = account(window_sum(), interval=None)
    written(found, "update_attribution", tmp_path)
    growth = numbers_of(found)["growth of route (L1H2)"]
    assert (growth.low, growth.high, growth.count) == (None, None, None)
    assert "no interval" in growth.note


def test_summands_and_residual_of_the_numbers_are_the_growth():
    numbers = numbers_of(account(window_sum()))
    growth = numbers.pop("growth of route (L1H2)").value
    assert sum(number.value for number in numbers.values()) == pytest.approx(growth)


def test_groups_are_ranked_by_the_size_of_their_whole_contribution():
    """Over components, and whatever its sign."""
    top = account(window_sum()).tables[1].frame
    assert top["group"].tolist() == ["L0MLP", "L0H1", "L1H2"]
    assert top["attribution"].tolist() == [-9.0, 6.5, 2.0]


def trace_frames(clipped=(0.5, 1.0, 1.0, 0.8), difference=0.0):
    rows = pd.DataFrame({"step": range(300, 304), "clip_coefficient": clipped})
    for name in TRACE_UNITS:
        if name.endswith("norm"):
            rows[name] = 0.2
    rows["momentum_norm"] = [0.5, 0.6, 0.6, 7.0]
    top = pd.DataFrame(
        {"step": [300, 301], "rank": 1, "parameter": "embedding.token", "update_norm": [0.1, 0.3]}
    )
    verified = pd.DataFrame({"step": [302, 304], "max_abs_difference": [0.0, difference]})
    return rows, top, verified


def test_the_trace_counts_clipping_and_exact_checkpoints(tmp_path):
    found = trace(*trace_frames())
    written(found, "optimizer_trace", tmp_path)
    assert "Steps 300 to 303 were replayed and arrive bit for bit at 2 of 2" in found.answer
    assert "clipped in 50% of steps" in found.answer
    assert "momentum component is 3.00 times" in found.answer
    assert found.marks == []
    numbers = numbers_of(found)
    assert str(numbers["median norm of momentum"]) == "0.600 parameter unit (n = 4)"
    assert numbers["largest replay difference"].value == 0
    moved = found.tables[0].frame.iloc[0]
    assert (moved["mean"], moved["count"]) == (pytest.approx(0.2), 2)


def test_a_replay_within_a_tolerance_is_marked_and_not_called_exact():
    found = trace(*trace_frames(difference=1e-6))
    assert "bit for bit at 1 of 2" in found.answer
    assert len(found.marks) == 1
    assert "tolerance" in found.marks[0]
    assert numbers_of(found)["largest replay difference"].value == 1e-6


def test_a_trace_without_its_largest_parameters_is_no_failure(tmp_path):
    rows, top, verified = trace_frames()
    written(trace(rows, top.iloc[:0], verified), "optimizer_trace", tmp_path)
