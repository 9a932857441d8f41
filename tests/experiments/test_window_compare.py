"""What carries a change is what was planted to carry it; where nothing changed, nothing does."""

import numpy as np
import pytest
from planted import untrained_twin

from circuit.experiments.weights import with_part
from circuit.experiments.window_compare import (
    DIRECTIONS,
    EVENT_UNITS,
    KEYS,
    MEASURES,
    SUM,
    UNITS,
    compare_ends,
)
from circuit.statistics import RESAMPLES

ROLES = ("prediction", "support_value", "causal_prefix")
BRINGS, TAKES = DIRECTIONS


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 171, 4))


def compared(circuit, source, target, events):
    ends = (source, target)
    ids = circuit.vocabulary.value_ids
    return compare_ends(circuit.decoder, ends, (100, 300), events, ids, ROLES, ("module", "head"))


def without(circuit, twin, *heads):
    """The planted network with heads that are its untrained twin's: before they formed."""
    layout = circuit.decoder.layout
    atoms = layout.groups("head").isin(heads).to_numpy()
    return with_part(layout, circuit.flat, twin.flat, atoms)


def shares(comparison, measure="answer_margin", half="all", donor="matched", value="fraction"):
    rows = comparison.rows
    chosen = rows[(rows["measure"] == measure) & (rows["half"] == half) & (rows["donor"] == donor)]
    states = chosen[chosen["kind"] == "activation"].set_index(["direction", "stage", "role"])
    weights = chosen[chosen["kind"] == "weight"].set_index(["direction", "grouping", "group"])
    return states[value].sort_index(), weights[value].sort_index()


@pytest.fixture(scope="module")
def matching(planted, untrained, events):
    """A window in which the matching head formed, and nothing else."""
    source = without(planted, untrained, planted.matching_head)
    return compared(planted, source, planted.flat, events)


def test_the_head_that_formed_carries_the_change_and_no_other_weights_do(matching, planted):
    _, weights = shares(matching)
    for direction in DIRECTIONS:
        by_head = weights[direction, "head"]
        assert by_head[planted.matching_head] == pytest.approx(1, abs=1e-9)
        assert by_head[SUM] == pytest.approx(1, abs=1e-9)
        assert by_head.drop([planted.matching_head, SUM]).abs().max() < 1e-9


def test_the_change_arrives_at_the_prediction_position_with_the_matching_head(matching):
    states, _ = shares(matching)
    for direction in DIRECTIONS:
        found = states[direction]
        for stage in ("embedding", "layer_0_post_attn", "layer_0_post_mlp"):
            assert found[stage].abs().max() < 1e-9
        for stage in ("layer_1_post_attn", "layer_1_post_mlp", "final_norm"):
            assert found[stage, "prediction"] == pytest.approx(1, abs=1e-9)
            assert found[stage, "causal_prefix"] == pytest.approx(1, abs=1e-9)
            assert abs(found[stage, "support_value"]) < 1e-9


def test_before_the_matching_head_the_change_lies_at_the_support_value(planted, untrained, events):
    """Where the previous-token head formed, a value token came to know its key."""
    source = without(planted, untrained, planted.previous_token_head)
    states, weights = shares(compared(planted, source, planted.flat, events))
    for direction in DIRECTIONS:
        early = states[direction]["layer_0_post_attn"]
        assert early["support_value"] > 0.3
        assert abs(early["prediction"]) < 0.05
        assert early["causal_prefix"] == pytest.approx(1, abs=1e-9)
        late = states[direction]["layer_1_post_attn"]
        assert late["prediction"] == pytest.approx(1, abs=1e-9)
        assert abs(late["support_value"]) < 1e-9
        by_head = weights[direction, "head"]
        assert by_head[planted.previous_token_head] == pytest.approx(1, abs=1e-9)


def test_two_heads_that_need_each_other_bring_nothing_alone_and_each_takes_it_all(
    planted, untrained, events
):
    """So shares do not sum to 1, in either direction."""
    pair = (planted.previous_token_head, planted.matching_head)
    found = compared(planted, without(planted, untrained, *pair), planted.flat, events)
    _, weights = shares(found, "correct")
    brought, taken = weights[BRINGS, "head"], weights[TAKES, "head"]
    for head in pair:
        assert brought[head] < 0.2
        assert taken[head] > 0.7
    assert brought[SUM] < 0.3
    assert taken[SUM] > 1.5


def test_from_an_untrained_twin_every_planted_head_is_needed_to_answer(planted, untrained, events):
    found = compared(planted, untrained.flat, planted.flat, events)
    _, weights = shares(found, "correct")
    taken, brought = weights[TAKES, "head"], weights[BRINGS, "head"]
    assert taken[planted.matching_head] > 0.8
    assert taken[planted.previous_token_head] > 0.8
    assert brought.drop(SUM).max() < 0.2  # no part alone lets the twin answer
    _, excess = shares(found, "correct", donor="excess")
    others = [f"L1H{h}" for h in (0, 1, 3)]
    assert excess[TAKES, "head"][others].abs().max() < 0.1


def test_the_whole_model_is_1_and_the_halves_are_parts_of_the_events(matching, events):
    for measure in MEASURES:
        for half in ("selection", "confirmation", "all"):
            _, weights = shares(matching, measure, half)
            for direction in DIRECTIONS:
                assert weights[direction, "whole", "all"] == pytest.approx(1, abs=1e-12)
    counts = matching.rows.groupby("half")["count"].unique()
    assert counts.map(list).to_dict() == {"selection": [22], "confirmation": [21], "all": [43]}


def test_effects_and_shares_are_means_over_events_and_their_ratio(matching, events):
    """The change is drawn with the effect: each resample of events has its own."""
    table = matching.events.pivot(index=["measure", "event"], columns="step", values="value")
    change = (table[300] - table[100])["answer_margin"].to_numpy()
    rows = matching.rows.set_index([*KEYS, "half"]).sort_index()
    row = rows.loc[("", "change", *[""] * 5, "answer_margin", "all")]
    assert row["effect"] == pytest.approx(change.mean())
    assert row["effect_low"] < row["effect"] < row["effect_high"]
    assert (row["fraction"], row["low"], row["high"]) == (1, 1, 1)
    key = (TAKES, "weight", "control", "head", "L1H2", "", "", "answer_margin", "all")
    control = rows.loc[key]
    assert control["fraction"] == pytest.approx(control["effect"] / change.mean())
    assert control["low"] < control["fraction"] < control["high"]
    assert len(np.unique(change)) == len(events) < RESAMPLES


def test_excess_is_what_the_control_does_not_carry(matching):
    for value in ("fraction", "effect"):
        of = {
            d: shares(matching, donor=d, value=value)[1] for d in ("matched", "control", "excess")
        }
        gap = of["matched"] - of["control"] - of["excess"]
        assert gap.abs().max() < 1e-9


def test_states_of_another_event_carry_another_answer(matching):
    states, _ = shares(matching, donor="control")
    late = "layer_1_post_mlp", "prediction"
    assert states[(BRINGS, *late)] < 0.2
    assert states[(TAKES, *late)] > 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_where_nothing_changed_there_is_nothing_to_share_out(planted, events, seed):
    """Neither between a state and itself nor, beyond the interval, between two untrained twins."""
    source, target = untrained_twin(planted), untrained_twin(planted, seed)
    found = compared(planted, source.flat, target.flat, events)
    rows = found.rows[found.rows["measure"] != "answer_margin_fixed_source"]
    change = rows[rows["kind"] == "change"]
    assert ((change["effect_low"] <= 0) & (change["effect_high"] >= 0)).all()
    assert rows[["fraction", "low", "high"]].isna().all(axis=None)
    assert rows["effect"].notna().all()
    _, brought = shares(found, "correct", value="effect")
    assert brought.abs().max() == 0  # no part of one lets the other answer


def test_every_number_has_a_unit(matching):
    assert set(matching.rows.select_dtypes("number")) == set(UNITS)
    assert set(matching.events.select_dtypes("number")) == set(EVENT_UNITS)
    assert set(matching.events["measure"]) == set(MEASURES)
    assert not matching.rows.duplicated([*KEYS, "half"]).any()
