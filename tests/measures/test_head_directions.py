"""Singular directions of heads: what the planted ones tell apart, and how it is computed."""

import numpy as np
import pytest
import torch
from head_pass import pass_of

from circuit.errors import AnalysisError
from circuit.measures.heads.directions import DIRECTION_UNITS, MIN_EVENTS, head_directions

KEYS = {"K00", "K01", "K02", "K03"}


def directions_of(circuit, events, directions=3, tokens=4):
    seen = pass_of(circuit, events)
    return head_directions(seen, circuit.flat, circuit.vocabulary, directions, tokens)


@pytest.fixture(scope="module")
def of_planted(planted, planted_events):
    items, agreements = directions_of(planted, planted_events)
    return items, agreements.set_index(["head", "direction"])


@pytest.fixture(scope="module")
def planted_rows(of_planted):
    return of_planted[0]


@pytest.fixture(scope="module")
def of_untrained(untrained, planted_events):
    return directions_of(untrained, planted_events)


def side_of(rows, matrix, direction, side, level, head="L1H2"):
    chosen = (rows["head"] == head) & (rows["matrix"] == matrix)
    chosen &= (rows["direction"] == direction) & (rows["side"] == side)
    return rows[chosen & (rows["level"] == level)].sort_values("rank")


@pytest.mark.parametrize("direction", [1, 2, 3])
def test_the_matching_heads_qk_directions_read_the_same_key_on_both_sides(of_planted, direction):
    """The query reads the key it stands on; the key side, the key one token back."""
    planted_rows, agreements = of_planted
    query = side_of(planted_rows, "QK", direction, "query", "token")
    key = side_of(planted_rows, "QK", direction, "key", "token")
    assert set(query["item"]) == set(key["item"]) == KEYS
    assert query["item"].iloc[0] == key["item"].iloc[0]
    assert query["projection"].iloc[0] > 1
    assert key["low"].iloc[0] > 1
    assert (query["offset"].iloc[0], key["offset"].iloc[0]) == (0, 1)
    assert min(query["explained"].iloc[0], key["explained"].iloc[0]) > 0.99
    assert agreements.loc[("L1H2", f"QK {direction}"), "low"] > 0.99


@pytest.mark.parametrize("direction", [1, 2, 3])
def test_the_matching_heads_ov_directions_write_the_value_they_read(of_planted, direction):
    planted_rows, agreements = of_planted
    reads = side_of(planted_rows, "OV", direction, "reads", "token")
    writes = side_of(planted_rows, "OV", direction, "writes", "token")
    signs = [dict(zip(s["item"], np.sign(s["projection"]), strict=True)) for s in (reads, writes)]
    top = list(signs[0])[:2]  # both ends of one planted axis
    assert {int(token[1:]) // 2 for token in top} == {int(top[0][1:]) // 2}
    assert all(signs[0][token] == signs[1][token] for token in top)
    assert agreements.loc[("L1H2", f"OV {direction}"), "low"] > 0.99
    assert reads["offset"].iloc[0] == 0


def test_the_untrained_twin_neither_matches_nor_copies(of_untrained):
    items, agreements = of_untrained
    assert agreements["mean"].abs().max() < 0.6
    key = items[(items["side"] == "key") & (items["level"] == "token")]
    assert (key["explained"] < 0.9).all()


def test_places_are_means_of_kinds_of_position(planted, planted_events, planted_rows):
    """The planted query side is off its mean at keys, the key side at written values."""
    for side, place in (("query", "key"), ("key", "value")):
        level = side_of(planted_rows, "QK", 1, side, "place")
        assert level["item"].iloc[0] == place
        assert set(level["item"]) == {"key", "value", "W", "R", "<bos>"}
        weighted = (level["projection"] * level["count"]).sum()
        assert weighted / level["count"].sum() == pytest.approx(0, abs=1e-12)
        assert level["count"].sum() == int(planted_events.length.sum())


def test_projections_equal_a_loop_over_positions(untrained, planted_events):
    """Mean of what is left of the projection, by the token so many places before."""
    events = planted_events.select(range(0, 171, 6))
    rows, _ = directions_of(untrained, events, directions=1, tokens=3)
    seen = pass_of(untrained, events)
    words, views = untrained.vocabulary.tokens, untrained.views
    w = views["layer_1.attn.W_QKV"]
    u, values, _ = np.linalg.svd((w[0, 1].T @ w[1, 1]).numpy())
    states = seen.sites["layer_1_attn_input"].numpy()
    found = side_of(rows, "QK", 1, "query", "token", head="L1H1")
    offset = int(found["offset"].iloc[0])
    place = {"K": "key", "V": "value"}
    at = []  # place, token so many places before, projection
    for event in range(len(events)):
        for position in range(int(events.length[event])):
            own = words[int(events.tokens[event, position])]
            before = int(events.tokens[event, position - offset]) if position >= offset else 0
            at.append((place.get(own[0], own), words[before], states[event, position] @ u[:, 0]))
    mean = np.mean([p for *_, p in at])
    of_place = {kind: np.mean([p for k, _, p in at if k == kind]) for kind, *_ in at}
    places = side_of(rows, "QK", 1, "query", "place", head="L1H1")
    sign = np.sign(places["projection"].iloc[0] / (of_place[places["item"].iloc[0]] - mean))
    for row in places.itertuples():
        assert row.projection == pytest.approx(sign * (of_place[row.item] - mean), rel=1e-9)
    for row in found.itertuples():
        left = [p - of_place[k] for k, token, p in at if token == row.item]
        assert row.projection == pytest.approx(sign * np.mean(left), rel=1e-9)
        assert row.count == len(left)
        assert row.low <= row.projection <= row.high
    assert found["singular_value"].iloc[0] == pytest.approx(values[0], rel=1e-12)


def test_written_logits_are_those_of_the_unembedding(planted, planted_rows):
    """A unit written along the direction, through the final norm's gain and the embedding."""
    w, w_o = planted.views["layer_1.attn.W_QKV"], planted.views["layer_1.attn.W_O"]
    _, _, vh = torch.linalg.svd(w[2, 2].T @ w_o[2])
    state = (vh[0] - vh[0].mean()) * planted.views["final_norm.gain"]
    ids = planted.vocabulary.value_ids
    logits = planted.views["embedding.token"][ids.start : ids.stop] @ state
    expected = (logits - logits.mean()).abs()
    writes = side_of(planted_rows, "OV", 1, "writes", "token")
    for row in writes.itertuples():
        assert abs(row.projection) == pytest.approx(float(expected[int(row.item[1:])]), rel=1e-9)
        assert row.low == row.high == row.projection
        assert row.count == 1
    assert writes["explained"].isna().all()


def test_the_first_sides_largest_projection_is_positive(planted_rows, of_untrained):
    for rows in (planted_rows, of_untrained[0]):
        first = rows[rows["side"].isin(["query", "reads"]) & (rows["rank"] == 1)]
        size = first["projection"].abs()
        largest = size.groupby([first["head"], first["matrix"], first["direction"]]).idxmax()
        assert (first.loc[largest, "projection"] > 0).all()


def test_tokens_of_few_events_are_not_named(planted, planted_events):
    few, _ = directions_of(planted, planted_events.select(range(MIN_EVENTS + 1)), 1, 50)
    tokens = few[(few["level"] == "token") & (few["side"] == "reads")]
    assert (tokens["count"] >= MIN_EVENTS).all()
    assert tokens.groupby("head")["item"].nunique().max() < 50


def test_more_directions_than_the_head_is_wide_are_refused(planted, planted_events):
    with pytest.raises(AnalysisError, match="17 singular directions are too many"):
        directions_of(planted, planted_events.select(range(4)), directions=17)


def test_every_number_has_a_unit(planted_rows):
    assert set(planted_rows.assign(step=0).select_dtypes("number")) == set(DIRECTION_UNITS)
