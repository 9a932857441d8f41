"""Attention by role, against whole patterns and roles found by going through the words."""

import numpy as np
import pytest
import torch
from program_text import reads_of

from circuit.geometry.attention import PATTERN_UNITS, ROLES, ROW_UNITS, attention_over_training
from circuit.model.tap import Tap
from circuit.task.events import read_events

HEAD = (1, 2)  # the planted matching head
STEPS = (0, 40)
PICTURES = 5


@pytest.fixture(scope="module")
def programs(planted_benchmark):
    return planted_benchmark.splits["heldout_pairs"].head(8)


@pytest.fixture(scope="module")
def reads(programs, planted_benchmark):
    return list(reads_of(programs, planted_benchmark.vocabulary))


@pytest.fixture(scope="module")
def look(planted, untrained, programs):
    """Attention of a head over a 'run' that starts untrained and ends planted."""
    states = dict(zip(STEPS, (untrained.flat, planted.flat), strict=True))
    events = read_events(programs, planted.vocabulary)

    def get(head=HEAD, pictures=PICTURES):
        return attention_over_training(
            planted.decoder, states.__getitem__, STEPS, events, planted.vocabulary, head, pictures
        )

    return get


@pytest.fixture(scope="module")
def whole(planted, untrained, reads):
    """Attention from every read's prediction position, one forward pass per read and state."""
    found = {}
    for step, circuit in zip(STEPS, (untrained, planted), strict=True):
        for number, read in enumerate(reads):
            tap = Tap(capture=("layer_1_pattern",))
            prefix = circuit.vocabulary.ids(" ".join(read.words[: read.prediction + 1]))
            circuit.decoder.forward(circuit.views, torch.tensor([prefix]), tap)
            found[step, number] = tap.cache["layer_1_pattern"][0, HEAD[1], -1].numpy()
    return found


def test_masses_are_sums_over_the_roles_positions(look, reads, whole):
    rows, _ = look()
    assert rows["role"].tolist() == [*ROLES, *ROLES]
    for row in rows.itertuples():
        masses = [
            sum(whole[row.step, number][at] for at in read.roles[row.role])
            for number, read in enumerate(reads)
        ]
        assert row.mean == pytest.approx(np.mean(masses), rel=1e-9, abs=1e-12)
        assert row.low <= row.mean <= row.high
        assert (row.head, row.count) == ("L1H2", len(reads))


def test_the_matching_head_looks_at_the_support_value_once_planted(look, reads):
    rows, _ = look()
    at = rows.set_index(["step", "role"])
    assert at.loc[(40, "support_value"), "low"] > 0.98
    assert at.loc[(40, "value_distractors"), "high"] < 0.02
    even = 1 / min(read.prediction + 1 for read in reads)
    assert at.loc[(0, "support_value"), "high"] < 2 * even


def test_pictures_hold_whole_patterns_up_to_the_prediction(look, reads, whole):
    _, patterns = look()
    assert set(patterns["event"]) == set(range(PICTURES))
    for (step, event), part in patterns.groupby(["step", "event"]):
        assert part["position"].tolist() == list(range(reads[event].prediction + 1))
        np.testing.assert_allclose(part["attention"], whole[step, event], rtol=1e-9, atol=1e-15)
        assert part["attention"].sum() == pytest.approx(1)
        assert set(part["sample_id"]) == {reads[event].sample_id}


def test_pictured_positions_carry_their_token_and_first_role(look, reads):
    """Stale values are distractors too; a picture calls them stale."""
    _, patterns = look()
    shown = ("support_value", "query_key", "stale_value", "value_distractors", "key_distractors")
    seen = set()
    for row in patterns.itertuples():
        read = reads[row.event]
        assert row.token == read.words[row.position]
        roles = [r for r in (*shown, "prior_answers") if row.position in read.roles[r]]
        assert row.role == (roles[0] if roles else "other")
        seen.add(row.role)
    assert seen == {*shown, "prior_answers", "other"}


def test_another_head_is_another_head(look):
    rows, _ = look(head=(1, 0))
    assert set(rows["head"]) == {"L1H0"}
    assert rows.set_index(["step", "role"]).loc[(40, "support_value"), "mean"] < 0.2


def test_more_pictures_than_events_are_all_events(look, reads):
    _, patterns = look(pictures=len(reads) + 3)
    assert set(patterns["event"]) == set(range(len(reads)))


def test_every_number_has_a_unit(look):
    rows, patterns = look()
    for frame, units in ((rows, ROW_UNITS), (patterns, PATTERN_UNITS)):
        assert set(frame.select_dtypes("number")) == set(units)
