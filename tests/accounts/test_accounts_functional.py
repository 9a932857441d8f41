"""What the account of functional writes says, where there is an effect and where there is none."""

import sys
from pathlib import Path

import pytest
from account_checks import numbers_of, written

from circuit.model.passes import Passes
from circuit.reports.accounts_functional import functional_write

# The rows that the figures are drawn from serve here too.
sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))
import figures_of_functional as frames

PASSES = Passes(whole=6, continued=40, programs=576, program_layers=1500.0)


def told(rows=None, **changed):
    tables = {
        "positions": frames.positions(),
        "subspaces": frames.subspaces(),
        "values": frames.values(),
        "spread": frames.spread(),
    }
    rows = frames.rows() if rows is None else rows
    return functional_write(rows, **{**tables, **changed}, rank=4, passes=PASSES, n_layers=2)


def test_the_first_sentence_says_what_the_write_is_worth_and_through_which_part(tmp_path):
    account = told()
    written(account, "functional_write", tmp_path)
    first = account.answer.partition(". ")[0]
    assert first.startswith("At step 500, the write of L1H2 (looked up) helps the answer: ")
    assert "in layer 1 post mlp at prediction, it is worth +3.00 logit (95% interval " in first
    assert "of it +0.75 logit through the skip connection and +2.25 logit through the MLP" in first
    assert "against 0.00 logit (95% interval −0.30 to +0.30) at step 0" in first
    assert "the bottom head L1H0 in its place +0.01 logit" in account.answer
    assert "Removing it costs the answer itself +3.50 logit" in account.answer
    assert "those at prediction do most: +1.00 logit" in account.answer
    assert "wrote in at step 0 share 0.00" in account.answer
    assert "tells 20.0% of the variance between single effects, more than chance" in account.answer


def test_numbers_are_told_for_every_write(tmp_path):
    numbers = numbers_of(told())
    assert numbers["worth of looked_up through the MLP, at step 500"].value == 2.25
    assert "worth of copied through the MLP, at step 500" not in numbers
    assert numbers["worth of the bottom head in place of copied, at step 500"].value == 0.01
    assert "worth of the bottom head in place of first_mlp, at step 500" not in numbers
    assert numbers["half-way step of looked_up"].value == 300
    assert numbers["forward passes"].value == pytest.approx(1500 / (96 * 2))


def test_a_write_that_is_worth_nothing_is_told_as_plainly(tmp_path):
    rows = frames.rows()
    rows.loc[:, "mean"] *= 0.01
    rows["low"], rows["high"] = rows["mean"] - 0.3, rows["mean"] + 0.3
    account = told(rows)
    written(account, "functional_write", tmp_path)
    assert "the write of L1H2 (looked up) neither helps nor hurts the answer: " in account.answer
    assert numbers_of(account)["half-way step of looked_up"].value is None
    assert account.marks == []


def test_what_another_event_reads_too_and_what_ablation_does_not_confirm_is_marked():
    rows = frames.rows()
    foreign = rows["of"] == "gradient of another event"
    rows.loc[foreign, ["mean", "low", "high"]] *= 10
    rows.loc[rows["of"] == "ablation", ["mean", "low", "high"]] += 5
    marks = told(rows).marks
    assert any(mark.startswith("looked_up: read by the gradients of other") for mark in marks)
    assert any("removing its source costs the answer" in mark for mark in marks)


def test_values_within_chance_are_told_as_such():
    spread = frames.spread()
    spread["share"] = 0.01
    assert (
        "1.0% of the variance between single effects, no more than chance"
        in told(spread=spread).answer
    )


def test_a_position_that_is_the_only_one_is_said_to_do_it():
    positions = frames.positions()
    only = (positions["side"] == "source") & (positions["role"] != "prediction")
    positions.loc[only, ["mean", "low", "high"]] = 0.0
    account = told(positions=positions)
    assert "It is what is written at prediction that does it." in account.answer
    table = next(t for t in account.tables if "by position" in t.title)
    assert (table.frame[["mean", "low", "high"]] != 0).any(axis=1).all()
