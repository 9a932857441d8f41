"""One planted program, step by step: every planted part is found where it acts."""

import math

import numpy as np
import pytest
import torch
from path_models import whole_pass

from circuit.errors import AnalysisError
from circuit.measures.paths.direct import TARGETS
from circuit.measures.paths.second_order import terms
from circuit.measures.paths.trace import POSITIONS, UNITS, prompt_trace
from circuit.model.tap import Tap

EVENT = 7


@pytest.fixture(scope="module")
def found(planted, planted_events):
    return prompt_trace(planted.decoder, planted.flat, planted_events, EVENT, planted.vocabulary, 4)


def most_looked_at(found, head, position):
    rows = found.attention
    looks = rows[(rows["head"] == head) & (rows["query_role"] == position)]
    return looks.loc[looks["attention"].idxmax()]


def test_facts_say_what_stands_where(found, planted, planted_events):
    facts, words = found.facts, planted.vocabulary.tokens
    assert facts["sample_id"] == planted_events.sample_id[EVENT]
    assert len(facts["tokens"]) == len(facts["roles"]) == int(planted_events.length[EVENT])
    at = facts["positions"]
    assert facts["tokens"][at["support_value"]] == facts["answer"] == facts["said"]
    assert facts["tokens"][at["prediction"]] == facts["key"]
    assert facts["roles"][at["support_value"] - 1] == "support_key"
    assert facts["roles"][at["prediction"]] == "query_key"
    assert facts["answer"] == words[int(planted_events.answer[EVENT])]
    assert facts["answer_probability"] == facts["said_probability"] > 0.5
    assert facts["residual"] < 1e-10 * facts["correct_logit"]


def test_the_matching_head_looks_at_the_support_value_and_is_the_one_that_adds_most(found, planted):
    assert found.facts["looker"] == planted.matching_head
    most = most_looked_at(found, planted.matching_head, "prediction")
    assert most["role"] == "support_value"
    assert most["attention"] > 0.95
    shares = found.attention.groupby(["query_role", "head"])["attention"].sum()
    np.testing.assert_allclose(shares, 1, atol=1e-9)


def test_the_previous_token_head_looks_one_back_from_the_support_value(found, planted):
    most = most_looked_at(found, planted.previous_token_head, "support_value")
    assert most["role"] == "support_key"
    assert most["attention"] > 0.95
    assert most_looked_at(found, planted.op_head, "support_value")["role"] == "support_op"


def test_the_matching_heads_write_promotes_the_answer(found, planted):
    writes = found.writes[found.writes["role"] == "prediction"].set_index("component")
    best = writes["value_margin"].idxmax()
    assert best == planted.matching_head
    assert writes.loc[best, "promoted"].startswith(f"{found.facts['answer']} +")
    assert writes["value_margin"].sum() == pytest.approx(found.facts["value_margin"], rel=1e-6)


def test_at_the_support_value_a_write_is_what_later_heads_carry_of_it(
    found, planted, planted_events
):
    writes = found.writes[found.writes["role"] == "support_value"].set_index("component")
    assert writes["value_margin"].idxmax() == "token_embedding"
    assert set(writes.index) == {
        "token_embedding", "position_embedding", "L0H0", "L0H1", "L0H2", "L0H3",
        "L0.b_O", "L0MLP", "L0.b_out",
    }  # fmt: skip
    one = planted_events.select(torch.tensor([EVENT])).crop()
    seen, read = whole_pass(planted.decoder, planted.flat, one, planted.vocabulary)
    margin = TARGETS.index("value_margin")
    carried = [
        float(t.values[0, margin])
        for t in terms(seen, read)
        if (t.source, t.positions) == ("L0H1", "support_value") and "H" in t.through
    ]
    assert len(carried) == 4
    assert writes.loc["L0H1", "value_margin"] == pytest.approx(sum(carried), rel=1e-9)


def test_neurons_are_the_ones_that_move_the_margin_most(found, planted, planted_events):
    at = found.facts["positions"]["prediction"]
    tap = Tap(capture=["layer_1_neurons", "final_norm_scale"])
    one = planted_events.select(torch.tensor([EVENT])).crop()
    planted.decoder.forward(planted.views, one.tokens, tap)
    active = tap.cache["layer_1_neurons"][0, at]
    embedding, ids = planted.views["embedding.token"], planted.vocabulary.tokens.index
    gain = planted.views["final_norm.gain"]
    read = gain * (embedding[ids(found.facts["answer"])] - embedding[ids(found.facts["rival"])])
    read = (read - read.mean()) / tap.cache["final_norm_scale"][0, at]
    adds = active * (planted.views["layer_1.mlp.W_out"] @ read)
    mine = found.neurons[(found.neurons["role"] == "prediction") & (found.neurons["layer"] == 1)]
    assert list(mine["neuron"]) == adds.abs().topk(4).indices.tolist()
    for row in mine.itertuples():
        assert row.value_margin == pytest.approx(float(adds[row.neuron]), rel=1e-9)
        assert row.activation == pytest.approx(float(active[row.neuron]))


def test_the_lens_ends_at_the_models_answer_and_always_has_the_right_one(found):
    for (_, role), part in found.lens.groupby(["stage", "role"]):
        assert part["is_answer"].sum() == 1
        assert set(range(1, 5)) <= set(part["rank"])
        assert part["probability"].between(0, 1).all()
        assert role in POSITIONS
    last = found.lens[(found.lens["role"] == "prediction") & (found.lens["order"] == 4)]
    first = last[last["rank"] == 1].iloc[0]
    assert first["token"] == found.facts["said"]
    assert first["logit"] == pytest.approx(found.facts["correct_logit"])


def test_paths_are_ordered_and_direct_ones_sum_to_the_margin(found, planted):
    assert found.paths["value_margin"].abs().is_monotonic_decreasing
    direct = found.paths[found.paths["modules"] == 0]
    assert direct["value_margin"].sum() == pytest.approx(found.facts["value_margin"], rel=1e-10)
    assert found.paths["through"].iloc[0] in ("logit", planted.matching_head)
    assert f"token_embedding → {planted.matching_head} → logit" in set(found.paths["path"].head(2))


def test_what_made_it_look_there_is_the_previous_token_heads_key(found, planted):
    rows = found.matching.set_index("source")["separation"]
    assert rows.drop("whole").idxmax() == planted.previous_token_head
    assert rows.drop("whole").sum() == pytest.approx(rows["whole"], rel=1e-10)


def test_the_untrained_twin_tells_of_no_lookup(found, untrained, planted_events):
    """One prompt has no interval, so what is planted says what is much."""
    before = prompt_trace(
        untrained.decoder, untrained.flat, planted_events, EVENT, untrained.vocabulary, 4
    )
    even = 1 / (before.facts["positions"]["prediction"] + 1)
    looks = before.attention[before.attention["query_role"] == "prediction"]
    assert looks.loc[looks["role"] == "support_value", "attention"].max() < 3 * even
    lens = before.lens[(before.lens["role"] == "prediction") & before.lens["is_answer"]]
    assert lens["rank"].min() > 4
    through_heads = before.paths[before.paths["path"].str.contains(r"L\dH\d")]
    assert through_heads["value_margin"].abs().max() < 0.2 * found.facts["value_margin"]
    before, after = (trace.matching.set_index("source")["separation"] for trace in (before, found))
    assert abs(before["whole"]) < 0.05 * after["whole"]


def test_an_event_out_of_range_is_refused_with_the_range(planted, planted_events):
    for event in (len(planted_events), -1):
        with pytest.raises(AnalysisError, match=f"no event {event} .*0 to 170"):
            prompt_trace(
                planted.decoder, planted.flat, planted_events, event, planted.vocabulary, 4
            )


def test_every_number_has_a_unit(found):
    for name, units in UNITS.items():
        frame = getattr(found, name)
        assert set(frame.select_dtypes("number")) == set(units)
        assert not frame.isna().any(axis=None)
    assert all(math.isfinite(v) for v in found.facts.values() if isinstance(v, float))
