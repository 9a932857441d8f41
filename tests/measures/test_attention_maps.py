"""Role maps: against a loop over positions, and what they say about the planted heads."""

import numpy as np
import pytest
import torch
from head_pass import HEADS, pass_of
from program_text import reads_of

from circuit.measures.heads.maps import KEYS, QUERIES, map_rows
from circuit.model.tap import Tap
from circuit.task.events import read_events

# A role of the map and the tokens a head must look back for it, in the planted circuit.
TWO_BACK = {"support_value": "support_op", "stale_value": "two_back", "prior_answers": "two_back"}


def maps_of(circuit, events):
    rows = map_rows(pass_of(circuit, events)).set_index(["head", "query_role", "key_role"])
    return rows[rows.pop("against") == ""]


@pytest.fixture(scope="module")
def planted_maps(planted, planted_events):
    return maps_of(planted, planted_events)


@pytest.fixture(scope="module")
def untrained_maps(untrained, planted_events):
    return maps_of(untrained, planted_events)


def places(read, position):
    """Positions of every key role and place, seen from a position."""
    back = {"self": 0, "one_back": 1, "two_back": 2}
    return {
        **read.roles,
        "bos": {0},
        **{name: {position - n} for name, n in back.items()},
    }


def test_maps_equal_a_loop_over_positions(untrained, planted_benchmark):
    programs = planted_benchmark.splits["heldout_pairs"].head(10)
    words = planted_benchmark.vocabulary
    rows = maps_of(untrained, read_events(programs, words))
    entries: dict[tuple[str, str, str], list[float]] = {}
    for read in reads_of(programs, words):
        tap = Tap(capture=("layer_0_pattern", "layer_1_pattern"))
        prefix = words.ids(" ".join(read.words[: read.prediction + 1]))
        untrained.decoder.forward(untrained.views, torch.tensor([prefix]), tap)
        for head in HEADS:
            pattern = tap.cache[f"layer_{head[1]}_pattern"][0, int(head[3])].tolist()
            for query in QUERIES:
                positions = {read.prediction} if query == "prediction" else read.roles[query]
                for key in KEYS:
                    masses = [
                        sum(pattern[at][to] for to in places(read, at)[key] if to >= 0)
                        for at in positions
                    ]
                    if masses:
                        entries.setdefault((head, query, key), []).append(np.mean(masses))
    heads = rows.drop("even", level="head")
    assert set(heads.index) == set(entries)
    for entry, values in entries.items():
        row = rows.loc[entry]
        assert row["mean"] == pytest.approx(np.mean(values), rel=1e-10, abs=1e-13), entry
        assert row["count"] == len(values)
        assert row["low"] <= row["mean"] + 1e-12
        assert row["mean"] <= row["high"] + 1e-12


def test_planted_heads_look_one_and_two_back(planted_maps):
    """From a value to its key, and to the write."""
    previous = planted_maps.loc["L0H1"]
    assert previous.loc[("support_value", "support_key"), "low"] > 0.99
    assert all(previous.loc[(query, "one_back"), "low"] > 0.99 for query in QUERIES)
    for query, key in TWO_BACK.items():
        assert planted_maps.loc[("L0H2", query, key), "low"] > 0.99


def test_the_matching_head_looks_from_the_prediction_to_the_support_value(planted_maps):
    assert planted_maps.loc[("L1H2", "prediction", "support_value"), "low"] > 0.99
    others = [h for h in HEADS if h != "L1H2"]
    column = planted_maps.xs(("prediction", "support_value"), level=(1, 2))["high"]
    assert (column[others] < 0.05).all()


def test_the_untrained_twin_stays_near_even_attention(untrained_maps):
    """No head puts on a role more than a few hundredths above what even attention does."""
    table = untrained_maps["mean"].unstack("head")
    excess = table[HEADS].sub(table["even"], axis=0)
    assert excess.abs().max(axis=None) < 0.1


def test_even_attention_divides_what_a_position_may_see(planted_maps, planted_events):
    first = planted_events.support_value.double() + 1
    share = planted_maps.loc[("even", "support_value", "support_key"), "mean"]
    assert share == pytest.approx(float((1 / first).mean()), rel=1e-12)


def test_keys_that_follow_the_query_get_nothing(untrained_maps):
    for head in HEADS:
        assert untrained_maps.loc[(head, "support_key", "support_value"), "mean"] == 0


def test_events_without_the_query_role_do_not_count(planted_maps, planted_events):
    held = int(planted_events.prior_answers.any(1).sum())
    assert 0 < held < len(planted_events)
    counts = planted_maps["count"].groupby("query_role").agg(["min", "max"])
    assert tuple(counts.loc["prior_answers"]) == (held, held)
    assert tuple(counts.loc["prediction"]) == (len(planted_events),) * 2


def test_a_role_that_never_occurs_has_no_rows(untrained, planted_events):
    first = planted_events.select(~planted_events.prior_answers.any(1))
    rows = maps_of(untrained, first).reset_index()
    assert set(rows["query_role"]) == set(QUERIES) - {"prior_answers"}


def test_what_a_head_has_beyond_even_attention_is_paired(planted, planted_events):
    rows = map_rows(pass_of(planted, planted_events)).set_index(
        ["head", "query_role", "key_role", "against"]
    )
    mean = rows["mean"].unstack("against")
    even = mean.loc["even", ""]
    assert set(mean.index[mean["excess"].notna()].unique("head")) == set(HEADS)
    for head in HEADS:
        np.testing.assert_allclose(mean.loc[head, "excess"], mean.loc[head, ""] - even, atol=1e-12)
