"""What carries a change is what was planted to carry it; where nothing changed, nothing does."""

import numpy as np
import pytest
from planted import untrained_twin

from circuit.experiments.edits import with_part
from circuit.experiments.window_compare import (
    ANOTHER,
    BRINGS,
    EVENT_UNITS,
    MEASURES,
    RANDOM,
    SUM,
    TAKES,
    compare_ends,
)
from circuit.statistics import RESAMPLES

DIRECTIONS = (BRINGS, TAKES)
ROLES = ("prediction", "support_value", "causal_prefix")


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


def shares(comparison, measure="answer_margin_share", half="all", against=""):
    rows, _ = comparison
    chosen = rows[(rows["measure"] == measure) & (rows["half"] == half)]
    control = {"control": {"states": ANOTHER, "weights": RANDOM, "all weights": RANDOM}}.get(
        against
    )
    beside = chosen["what"].map(control) if control else against
    chosen = chosen[chosen["against"] == beside]
    states = chosen[chosen["what"] == "states"].set_index(["direction", "stage", "role"])
    weights = chosen[chosen["what"].str.endswith("weights")]
    weights = weights.set_index(["direction", "grouping", "part"])
    return states["mean"].sort_index(), weights["mean"].sort_index()


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
    _, weights = shares(found, "correct_share")
    brought, taken = weights[BRINGS, "head"], weights[TAKES, "head"]
    for head in pair:
        assert brought[head] < 0.2
        assert taken[head] > 0.7
    assert brought[SUM] < 0.3
    assert taken[SUM] > 1.5


def test_from_an_untrained_twin_every_planted_head_is_needed_to_answer(planted, untrained, events):
    found = compared(planted, untrained.flat, planted.flat, events)
    _, weights = shares(found, "correct_share")
    taken, brought = weights[TAKES, "head"], weights[BRINGS, "head"]
    assert taken[planted.matching_head] > 0.8
    assert taken[planted.previous_token_head] > 0.8
    assert brought.drop(SUM).max() < 0.2  # no part alone lets the twin answer
    _, excess = shares(found, "correct_share", against="excess")
    others = [f"L1H{h}" for h in (0, 1, 3)]
    assert excess[TAKES, "head"][others].abs().max() < 0.1


def test_the_whole_model_is_1_and_the_halves_are_parts_of_the_events(matching, events):
    for measure in MEASURES:
        for half in ("selection", "confirmation", "all"):
            _, weights = shares(matching, f"{measure}_share", half)
            for direction in DIRECTIONS:
                assert weights[direction, "whole", "all"] == pytest.approx(1, abs=1e-12)
    rows = matching[0][matching[0]["what"] != "end"]
    counts = rows.groupby("half")["count"].unique()
    assert counts.map(list).to_dict() == {"selection": [22], "confirmation": [21], "all": [43]}


def test_effects_and_shares_are_means_over_events_and_their_ratio(matching, events):
    """The change is drawn with the effect: each resample of events has its own."""
    rows, values = matching
    table = values.pivot(index=["measure", "event"], columns="step", values="value")
    change = (table[300] - table[100])["answer_margin"].to_numpy()
    rows = rows[rows["half"] == "all"].set_index(["direction", "grouping", "part", "against"])
    by = {name: part.sort_index() for name, part in rows.groupby("measure")}
    whole = by["answer_margin"].loc[("change", "", "", "")]
    assert whole["mean"] == pytest.approx(change.mean())
    assert whole["low"] < whole["mean"] < whole["high"]
    share = by["answer_margin_share"].loc[("change", "", "", "")]
    assert (share["mean"], share["low"], share["high"]) == (1, 1, 1)
    key = (TAKES, "head", "L1H2", RANDOM)
    control = by["answer_margin_share"].loc[key]
    assert control["mean"] == pytest.approx(by["answer_margin"].loc[key, "mean"] / change.mean())
    assert control["low"] < control["mean"] < control["high"]
    assert len(np.unique(change)) == len(events) < RESAMPLES


def test_excess_is_what_the_control_does_not_carry(matching):
    for measure in ("answer_margin", "answer_margin_share"):
        of = {a: shares(matching, measure, against=a)[1] for a in ("", "control", "excess")}
        gap = of[""] - of["control"] - of["excess"]
        assert gap.abs().max() < 1e-9


def test_states_of_another_event_carry_another_answer(matching):
    states, _ = shares(matching, against="control")
    late = "layer_1_post_mlp", "prediction"
    assert states[(BRINGS, *late)] < 0.2
    assert states[(TAKES, *late)] > 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_where_nothing_changed_there_is_nothing_to_share_out(planted, events, seed):
    """Neither between a state and itself nor, beyond the interval, between two untrained twins."""
    source, target = untrained_twin(planted), untrained_twin(planted, seed)
    found = compared(planted, source.flat, target.flat, events)
    rows = found[0][~found[0]["measure"].str.startswith("answer_margin_fixed_source")]
    change, shared = rows[rows["direction"] == "change"], rows["measure"].str.endswith("_share")
    bare = change[change["measure"].isin(MEASURES)]
    assert ((bare["low"] <= 0) & (bare["high"] >= 0)).all()
    assert rows.loc[shared, ["mean", "low", "high"]].isna().all(axis=None)
    assert rows.loc[~shared, "mean"].notna().all()
    _, brought = shares(found, "correct")
    assert brought.abs().max() == 0  # no part of one lets the other answer


def test_every_number_is_told_once_and_both_ends_are_told(matching):
    rows, events = matching
    assert set(events.select_dtypes("number")) == set(EVENT_UNITS)
    assert set(events["measure"]) == set(MEASURES)
    keys = ["direction", "what", "grouping", "part", "stage", "role", "against", "measure"]
    assert not rows.duplicated([*keys, "half", "step"]).any()
    end = rows[(rows["what"] == "end") & (rows["measure"] == "correct")].set_index("step")["mean"]
    by_hand = events[events["measure"] == "correct"].groupby("step")["value"].mean()
    assert end.to_dict() == pytest.approx(by_hand.to_dict())
