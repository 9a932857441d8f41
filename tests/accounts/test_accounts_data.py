"""What the attribution to data says: shares, memories, controls, and what it must not leave out."""

import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from account_checks import numbers_of, written

from circuit.attribution.window import window_sums
from circuit.config.attribution import DataGrouping
from circuit.reports.accounts_data import data_attribution
from circuit.reports.data_sums import cumulative, data_order, data_table, group_sums, other_sums
from circuit.reports.data_tables import MEANING, DataFindings
from circuit.statistics import Mean

sys.path.append(str(Path(__file__).parents[1] / "reports"))
import data_frames as frames

ROWS = frames.rows()
VALUES = frames.values(ROWS)
INTERVAL = Mean(5.4, 4.9, 6.0, 48)


def findings(rows=ROWS, values=VALUES, **changes):
    growths = dict.fromkeys(frames.UNITS, INTERVAL)
    plain = {"first_order": frames.first_order(), "removal": frames.removal(), **changes}
    return DataFindings(window_sums(rows, values), rows, growths, **plain)


def account(found=None, data="query_key", bound=0.01):
    heads = {"route": "L1H2"}
    return data_attribution(
        found or findings(), frames.UNITS, heads, (500, 900), "trapezoid", bound, data
    )


def main_rows(rows=ROWS):
    return rows[rows["path_rule"] == "trapezoid"]


def test_the_answer_says_which_data_through_which_memory(tmp_path):
    found = account()
    written(found, "data_attribution", tmp_path)
    first = found.answer.partition(" Together")[0]
    assert first.startswith("route (L1H2) changed by +5.")
    assert "from step 500 to 900" in first
    assert "the key that an answer's read asks for" in first
    assert "K01 (+2.3" in first
    assert "raised it and K03 (−0.5" in first
    assert "lowered it." in first
    assert "through momentum, which remembers earlier ones; gradients from before the window" in (
        found.answer
    )
    assert "Trapezoid leaves" in found.answer
    assert found.marks == []


def test_groups_and_terms_sum_to_the_growth():
    groups, terms = group_sums(main_rows()), other_sums(main_rows())
    total = groups.groupby("scalar")["total"].sum() + terms.groupby("scalar")["total"].sum()
    growth = VALUES.groupby("scalar")["growth"].sum()
    pd.testing.assert_series_equal(total, growth, check_names=False, rtol=1e-9)
    assert set(groups["data_group"]) == set(frames.GROUPS)
    assert "before_window" in set(terms["term"])
    assert not {"raw_sgd", "clipped_sgd"} & set(terms["term"])


def test_running_sums_end_at_the_growth_whatever_is_told():
    rows = main_rows(frames.rows(12))
    told, others = data_order(group_sums(rows), "route", 4)
    table = cumulative(rows, "route", told, others)
    assert len(told) == 4
    assert len(others) == 8
    assert "rest (8 groups)" in table.columns
    growth = frames.values(frames.rows(12))
    growth = growth.loc[growth["scalar"] == "route", "growth"].sum()
    assert table.iloc[-1].sum() == pytest.approx(growth, rel=1e-9)


def test_a_last_group_is_told_rather_than_called_a_rest():
    told, others = data_order(group_sums(main_rows()), "route", 4)
    assert len(told) == 5
    assert others == []


def test_per_target_is_the_share_for_the_number_of_targets():
    table = data_table(main_rows(), frames.first_order())
    lead = table[table["scalar"] == "route"].set_index("data_group")
    assert list(lead.index[:2]) == ["K01", "other_tokens"]
    share = lead["total"] / lead["total"].abs().sum()
    np.testing.assert_allclose(lead["share"], share)
    np.testing.assert_allclose(lead["per_target"], share / lead["share_of_targets"])
    assert lead.loc["K01", "share_of_targets"] == pytest.approx(0.028)
    assert lead.loc["K01", "raw_sgd"] == pytest.approx(0.04 / 3 * lead.loc["K01", "momentum"])


def test_groups_that_cancel_are_said_to(tmp_path):
    assert "cancel" not in account().answer
    rows = ROWS[ROWS["data_group"] != "K00"].copy()
    rows.loc[rows["data_group"] == "K01", "attribution"] *= 300
    rows.loc[rows["data_group"] == "other_tokens", "attribution"] *= -357
    found = account(findings(rows, frames.values(rows)))
    written(found, "data_attribution", tmp_path)
    first = found.answer.partition(" Together")[0]
    assert "lowered it, but they cancel but for 0." in first
    assert first.endswith("so that none of them explains it.")
    assert found.marks[0].startswith("The groups pull against each other")
    assert "route (0." in found.marks[0]
    assert not account(findings(rows, frames.values(rows)), data="sample").marks


def test_random_buckets_are_told_as_the_control(tmp_path):
    found = account(data="sample")
    written(found, "data_attribution", tmp_path)
    assert "random buckets of programs, which differ by chance alone, " in found.answer
    assert "The buckets are random, so this is the control" in found.answer
    assert "For its number of targets" not in found.answer


def test_that_supporters_support_is_said_to_be_by_construction(tmp_path):
    found = account(data="supports_opposes")
    written(found, "data_attribution", tmp_path)
    assert "nearly so by construction" in found.answer


def test_a_residual_above_the_bound_is_marked(tmp_path):
    found = account(bound=1e-6)
    written(found, "data_attribution", tmp_path)
    assert any("above the bound" in mark for mark in found.marks)


def test_a_removal_that_is_not_as_predicted_is_marked(tmp_path):
    removal = frames.removal()
    removal["parameters_missed"] = 0.4
    found = account(findings(removal=removal))
    written(found, "data_attribution", tmp_path)
    assert found.marks == [
        "Removing 0.01 of a group from step 500 moves the parameters otherwise than predicted by "
        "up to 40% of the prediction."
    ]


def test_many_groups_are_told_by_the_largest(tmp_path):
    rows = frames.rows(40)
    found = account(findings(rows, frames.values(rows)))
    report, _ = written(found, "data_attribution", tmp_path)
    assert "36 more (" in found.answer
    assert all(len(table["rows"]) <= 40 for table in report["tables"])


def test_a_scalar_that_did_not_change_has_no_shares(tmp_path):
    rows = ROWS.assign(attribution=0.0)
    found = account(findings(rows, frames.values(rows)))
    written(found, "data_attribution", tmp_path)
    assert "nothing raised it and nothing lowered it" in found.answer


def test_numbers_have_the_parts_that_the_answer_tells():
    numbers = numbers_of(account())
    assert numbers["growth of route (L1H2)"].count == 48
    at_once = numbers["route (L1H2): all groups at once: the gradients of the steps themselves"]
    remembered = numbers["route (L1H2): all groups through momentum"]
    assert remembered.value == pytest.approx(3 * at_once.value)
    assert numbers["route (L1H2): weight decay"].value < 0
    assert "margin: switches of the rival" in numbers
    held = [n for name, n in numbers.items() if name.endswith("coefficient held")]
    assert held[0].value == pytest.approx(1e-11)


def test_every_grouping_has_words():
    assert set(MEANING) == set(get_args(DataGrouping))
