"""What attributions say: signs, units, and the marks they must not leave out."""

import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.attribution.window import WindowSum
from circuit.config.terms import COMPONENTS
from circuit.reports.accounts_attribution import attribution
from circuit.statistics import Mean


def window_sum(
    scalar="route", rule="trapezoid", parts=(2.0, 6.5, -0.7, 0.0), residual=0.02, **terms
):
    components = dict(zip(COMPONENTS, parts, strict=True))
    return WindowSum(
        scalar,
        rule,
        growth=sum(parts) + sum(terms.values()) + residual,
        movement=10.0,
        components=components,
        terms=terms,
        residual=residual,
        absolute_residual=abs(residual),
        comparators={"raw_sgd": 0.5, "clipped_sgd": 0.4},
    )


GROUPS = pd.DataFrame(
    [
        ("route", component, group, "head", size, 1)
        for component, sizes in (
            ("momentum", (5.0, 1.5, -4.0)),
            ("current_gradient", (-3.0, 5.0, -5.0)),
        )
        for group, size in zip(("L1H2", "L0H1", "L0MLP"), sizes, strict=True)
    ],
    columns=["scalar", "component", "group", "grouping", "attribution", "groups"],
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


def test_the_answer_says_what_built_it_and_what_opposed_it(tmp_path):
    found = account(window_sum(), window_sum(rule="left", residual=2.0))
    written(found, "update_attribution", tmp_path)
    assert found.answer == (
        "route (L1H2) changed by +7.82 score (95% interval +6.90 to +8.80 over 48 events) from "
        "step 400 to 1,300: momentum +6.5, the current gradient +2 raised it; weight decay −0.7 "
        "lowered it. Of parameters by head, L0H1 +6.5, L1H2 +2 raised it; L0MLP −9 lowered it. The "
        "split of current gradient and momentum is a convention. It moved by 10 score up and down "
        "in all, of which trapezoid leaves 0.200% unexplained (closure residual); left leaves "
        "20.000%."
    )
    assert found.marks == []


def test_terms_of_bases_and_rivals_are_told_and_counted(tmp_path):
    found = account(window_sum(basis_motion=3.0, rank_cut_jump=-0.5))
    written(found, "update_attribution", tmp_path)
    assert "motion of the basis +3, the current gradient +2 raised it" in found.answer
    assert "weight decay −0.7, jumps at the rank cut −0.5 lowered it" in found.answer
    numbers = numbers_of(found)
    assert str(numbers["route (L1H2): basis_motion"]) == "+3.00 score"


def test_of_a_shrinking_scalar_what_raised_it_is_what_opposed_the_change():
    found = account(window_sum(parts=(-1.0, -4.0, 1.0, 0.0), residual=0.0))
    assert "changed by −4.00 score" in found.answer
    assert "weight decay +1 raised it; momentum −4, the current gradient −1 lowered it" in (
        found.answer
    )


def test_of_two_checkpoints_the_parameter_groups_are_told():
    """One component that is the whole growth says nothing by itself."""
    chord = window_sum()._replace(components={"checkpoint_difference": 7.8}, terms={})
    assert (
        "to 1,300: of parameters by head, L0H1 +6.5, L1H2 +2 raised it; L0MLP −9 lowered it."
        in (account(chord).answer)
    )
    assert "the difference of checkpoints" not in account(chord).answer
    assert "convention" not in account(chord).answer


def test_a_residual_above_its_bound_is_marked():
    rough = window_sum(residual=0.5)
    assert account(window_sum(), rough._replace(scalar="other")).marks == [
        "other: the closure residual is 5.00% of the total absolute movement, above the bound of "
        "1.00%."
    ]
    assert account(rough, bound=0.1).marks == []
    # A comparator's residual is what it is there to show.
    assert account(window_sum(), window_sum(rule="left", residual=4.0)).marks == []


def test_of_many_scalars_the_worst_closure_is_a_number():
    rough = window_sum(scalar="other", residual=-0.5)
    worst = numbers_of(account(window_sum(), rough))["largest closure residual of 2 scalars"]
    assert worst.value == pytest.approx(0.05)
    assert "other" in worst.note


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


def test_summands_and_residual_of_the_numbers_are_the_growth():
    numbers = numbers_of(account(window_sum()))
    growth = numbers.pop("growth of route (L1H2)").value
    assert sum(number.value for number in numbers.values()) == pytest.approx(growth)


def test_the_largest_groups_are_told_with_their_whole_contribution():
    """Over components, in the order in which they come."""
    top = account(window_sum()).tables[1].frame
    assert top["group"].tolist() == ["L1H2", "L0H1", "L0MLP"]
    assert top["attribution"].tolist() == [2.0, 6.5, -9.0]


def test_the_question_tells_analyses_apart():
    assert account(window_sum()).question == "Which part of which update built route?"
    others = [window_sum(scalar=name) for name in ("route", "a", "b")]
    assert account(*others).question.endswith("built route and 2 others?")
    between = window_sum()._replace(components={"checkpoint_difference": 7.8})
    assert account(between).question == "Between checkpoints, which parameters built route?"
