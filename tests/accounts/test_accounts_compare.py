"""What a comparison of two ends says, on real transplants between planted circuits."""

import numpy as np
import pytest
from account_checks import numbers_of, written

from circuit.experiments import window_compare
from circuit.experiments.weights import with_part
from circuit.experiments.window_compare import compare_ends
from circuit.model.passes import Passes
from circuit.reports import compare_parts
from circuit.reports.accounts_compare import compare

WINDOW = (500, 1300)
PASSES = Passes(whole=3, continued=5, programs=129, program_layers=172.0)
ROLES = ("prediction", "support_value", "causal_prefix")


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 171, 4))


def compared(circuit, source, target, events, groups=("module", "head")):
    ids = circuit.vocabulary.value_ids
    return compare_ends(circuit.decoder, (source, target), WINDOW, events, ids, ROLES, groups)


def told(comparison):
    return compare(comparison.rows, comparison.events, WINDOW, PASSES, 2)


@pytest.fixture(scope="module")
def formed(planted, untrained, events):
    """The matching head, and nothing else, forms."""
    atoms = planted.decoder.layout.groups("head").eq(planted.matching_head).to_numpy()
    source = with_part(planted.decoder.layout, planted.flat, untrained.flat, atoms)
    return compared(planted, source, planted.flat, events)


def test_the_part_that_carries_the_change_is_named_with_its_control(formed, tmp_path):
    found = told(formed)
    written(found, "birth_window_compare", tmp_path)
    first, second, third = found.answer.split(". ")
    change = formed.rows[formed.rows["kind"] == "change"].set_index(["measure", "half"])
    grown = change.loc[("answer_margin", "all"), "effect"]
    assert first.startswith(
        "Putting the weights of L1H2 back to those of step 500 takes away 100% (95% interval 100% "
        f"to 100%) of the answer margin's change from step 500 to 1,300 (+{grown:.2f} logit), "
        "against "
    )
    assert first.endswith("for a random change of the same size")
    assert second.startswith("Put into the model of step 500, the state at prediction, ")
    assert third == (
        "Put back to those of step 500, the states at these roles and stages each take away more "
        "than half: prediction (layer_1_post_attn to final_norm)."
    )
    assert found.marks == []


def test_numbers_are_of_the_half_that_did_not_choose(formed, events):
    numbers = numbers_of(told(formed))
    taken = numbers["share of the change that L1H2 takes away"]
    assert (taken.value, taken.unit) == (pytest.approx(1), "share")
    assert taken.count == len(events) // 2
    assert taken.note == "events that did not choose it"
    excess = numbers["share of the change that L1H2 takes away, beyond the random change"]
    control = numbers["share of the change that L1H2 takes away, random change of the same size"]
    assert excess.value == pytest.approx(taken.value - control.value)
    assert numbers["reads answered right at step 1,300"].value == 1
    assert numbers["reads answered right at step 500"].value < 0.3
    for does in ("bring", "take away"):
        total = numbers[f"sum over groups (head) of the shares that they {does}"]
        assert total.value == pytest.approx(1)
    assert numbers["forward passes"].value == 172 / (43 * 2)


def test_tables_have_every_state_and_the_largest_groups_of_every_grouping(formed):
    weights, states = told(formed).tables
    assert len(states.frame) == 6 * 3
    assert "43 events" in weights.title
    assert "43 events" in states.title
    assert states.units == weights.units
    counts = weights.frame.groupby("grouping")["group"].size()
    assert counts.to_dict() == {"head": compare_parts.MOST + 1, "module": compare_parts.MOST + 1}
    assert weights.frame["group"].iloc[0] == "L1H2"
    assert (weights.frame["group"] == window_compare.SUM).sum() == 2


def test_parts_that_need_each_other_are_told_to_bring_nothing_alone(
    planted, untrained, events, tmp_path
):
    pair = [planted.previous_token_head, planted.matching_head]
    atoms = planted.decoder.layout.groups("head").isin(pair).to_numpy()
    source = with_part(planted.decoder.layout, planted.flat, untrained.flat, atoms)
    layers = compared(planted, source, planted.flat, events, groups=("head",))
    rows = layers.rows[layers.rows["kind"] != "activation"]  # weights alone
    found = compare(rows, layers.events, WINDOW, PASSES, 2)
    written(found, "birth_window_compare", tmp_path)
    assert "no part is shown to bring half of it: " in found.answer
    assert "No role's states at one stage, put back, are shown to take away half" in found.answer


def test_no_change_is_said_plainly(untrained, events, tmp_path):
    found = told(compared(untrained, untrained.flat, untrained.flat, events))
    written(found, "birth_window_compare", tmp_path)
    assert found.answer == (
        "From step 500 to 1,300 the answer margin did not change beyond its interval (0 logit, 95% "
        "interval 0 to 0), so there is no change that a part could carry."
    )
    assert found.marks == [
        "The change's interval holds 0: shares of it are left out, effects are given."
    ]
    assert not [name for name in numbers_of(found) if "share" in name]


def test_a_group_that_takes_no_more_than_chance_is_not_said_to_carry(formed, tmp_path):
    rows = formed.rows.copy()
    rows.loc[rows["donor"] == "excess", "low"] = -0.1
    found = compare(rows, formed.events, WINDOW, PASSES, 2)
    written(found, "birth_window_compare", tmp_path)
    assert found.answer.startswith("No group's weights, put back to those of step 500, are shown")


def test_another_choice_of_the_other_half_and_a_wrong_whole_are_marked(formed):
    rows = formed.rows.copy()
    other = (rows["group"] == "L0H1") & (rows["donor"] == "excess")
    rows.loc[other & (rows["half"] == "confirmation"), "fraction"] = 2.0
    rows.loc[(rows["grouping"] == "whole"), "fraction"] = 0.9
    assert compare(rows, formed.events, WINDOW, PASSES, 2).marks == [
        "The confirmation half of the events would have chosen L0H1 instead of L1H2.",
        "All weights of one end put into the other do not give the other end.",
    ]


def test_names_are_those_of_the_library():
    """Copied so that reports do without torch; they must stay the same."""
    assert (compare_parts.BRINGS, compare_parts.TAKES) == window_compare.DIRECTIONS
    assert compare_parts.SUM == window_compare.SUM
    assert compare_parts.MARGIN in window_compare.MEASURES
    assert np.isfinite(compare_parts.MOST)
