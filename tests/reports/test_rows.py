"""Which rows a view shows: conditions, settings, first and last steps, controls, words."""

import pandas as pd
import pytest

from circuit.errors import AnalysisError
from circuit.estimates import estimates
from circuit.reports.rows import control_rows, ends, fill, select
from circuit.reports.views import Not


@pytest.fixture
def rows() -> pd.DataFrame:
    found = [
        {"step": step, "head": head, "half": half, "against": against, "mean": float(step)}
        for step in (0, 100, 200)
        for head in ("L0H0", "L0H1", "L1H0")
        for half in ("all", "selection")
        for against in ("", "shuffled", "excess")
        if not (against == "shuffled" and step == 200)
    ]
    return estimates(pd.DataFrame(found), measure="score", unit="logit")


def test_half_and_against_are_all_and_empty_unless_named(rows):
    found = select(rows, {}, {})
    assert set(found["half"]) == {"all"}
    assert set(found["against"]) == {""}
    assert set(select(rows, {"half": "selection"}, {})["half"]) == {"selection"}
    assert set(select(rows, {"against": "excess"}, {})["against"]) == {"excess"}
    bare = rows.drop(columns=["half", "against"])
    assert len(select(bare, {}, {})) == len(rows)


def test_a_tuple_says_what_and_in_which_order(rows):
    found = select(rows, {"head": ("L1H0", "L0H0"), "step": (200, 0)}, {})
    assert list(dict.fromkeys(found["head"])) == ["L1H0", "L0H0"]
    assert list(found["step"]) == [200, 0, 200, 0]


def test_not_leaves_out_values_and_what_settings_name(rows):
    assert set(select(rows, {"head": Not("L0H0", "$other")}, {"other": "L1H0"})["head"]) == {"L0H1"}
    assert set(select(rows, {"head": Not("$both")}, {"both": ["L0H0", "L1H0"]})["head"]) == {"L0H1"}


def test_settings_are_put_in(rows):
    assert set(select(rows, {"head": "$one"}, {"one": "L0H1"})["head"]) == {"L0H1"}
    many = select(rows, {"head": "$many"}, {"many": ["L1H0", "L0H1"]})
    assert list(dict.fromkeys(many["head"])) == ["L1H0", "L0H1"]


def test_first_and_last_are_of_the_rows_that_other_conditions_leave(rows):
    assert set(select(rows, {"step": "last"}, {})["step"]) == {200}
    assert set(select(rows, {"step": "last", "against": "shuffled"}, {})["step"]) == {100}
    assert set(select(rows, {"step": ("first", "last")}, {})["step"]) == {0, 200}
    assert set(select(rows, {"step": Not("first")}, {})["step"]) == {100, 200}


def test_controls_stand_beside_the_same_rows(rows):
    found = control_rows(rows, {"head": "L0H0", "step": "first"}, ("shuffled",), {})
    assert list(found["against"]) == ["shuffled"]
    assert list(found["step"]) == [0]
    assert list(found["half"]) == ["all"]
    with pytest.raises(AnalysisError, match="no row has step"):  # the estimates' last, not its own
        control_rows(rows, {"step": "last"}, ("shuffled",), {})


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"haed": "L0H0"}, "no column 'haed' .* did you mean head"),
        ({"head": "L9H9"}, "no row has head 'L9H9' .* one of L0H0, L0H1, L1H0"),
        ({"head": "$heads"}, "no setting 'heads' .* one of rank"),
        ({"head": Not("L0H0", "L0H1", "L1H0")}, "no row has head any but"),
    ],
)
def test_conditions_that_cannot_be_met_say_why(rows, where, message):
    with pytest.raises(AnalysisError, match=message):
        select(rows, where, {"rank": 4})


def test_words_are_filled_in(rows):
    facts = {"reference": 15000, "heads": ["L0H0", "L1H0"]}
    text = "rank {rank}, {facts[reference]}, {facts[heads]}, {first} to {last}, {bound:.0%}"
    known = {"rank": 4, "bound": 0.5, "facts": facts, **ends(rows.assign(step=rows["step"] * 100))}
    assert fill(text, known) == "rank 4, 15,000, L0H0, L1H0, 0 to 20,000, 50%"
    for wrong, name in (("{steps}", "steps"), ("{facts[heds]}", "heds")):
        with pytest.raises(AnalysisError, match=f"nothing is called '{name}'"):
            fill(wrong, known)
