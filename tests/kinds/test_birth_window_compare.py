"""What a comparison of two ends says, on real transplants between planted circuits."""

import pytest
from planted import untrained_twin
from viewing import changed, outcome, viewed

from circuit.experiments.edits import with_part
from circuit.experiments.window_compare import EVENT_UNITS, RANDOM, TAKES, compare_ends
from circuit.measuring import Table

WINDOW = (500, 1300)
ROLES = ("prediction", "support_value", "causal_prefix")


@pytest.fixture(scope="module")
def compared(planted, planted_events):
    """A function from two states to the tables of their comparison."""
    events, ids = planted_events.select(range(0, 171, 4)), planted.vocabulary.value_ids

    def tables(source, target):
        ends, groups = (source, target), ("head",)
        rows, values = compare_ends(planted.decoder, ends, WINDOW, events, ids, ROLES, groups)
        return {"rows": Table(rows, "one part"), "events": Table(values, "one", EVENT_UNITS)}

    return tables


@pytest.fixture(scope="module")
def formed(compared, planted, untrained):
    """The matching head, and nothing else, forms."""
    atoms = planted.decoder.layout.groups("head").eq(planted.matching_head).to_numpy()
    source = with_part(planted.decoder.layout, planted.flat, untrained.flat, atoms)
    return compared(source, planted.flat)


def seen(tables, folder):
    settings = {"window": WINDOW, "groups": ["head"]}
    return viewed("birth_window_compare", tables, folder, settings, {"window": list(WINDOW)})


def test_the_part_that_carries_the_change_is_named_with_its_control(formed, planted, tmp_path):
    report = seen(formed, tmp_path)
    for name in ("weights that take it away", "weights that bring most"):
        found = outcome(report, name)
        assert (found.verdict, found.about["part"]) == ("shown", planted.matching_head)
        assert found.control == RANDOM
    assert outcome(report, "state that brings most").about["role"] == "prediction"
    assert outcome(report, "states that it rests on", role="prediction").verdict == "shown"
    assert outcome(report, "states that it rests on", role="support_value").verdict == "opposite"
    assert outcome(report, "all weights", direction="brings").verdict == "shown"
    assert not any("weights" in mark for mark in report["marks"])


def test_a_head_no_better_than_a_random_change_is_not_said_to_carry_it(formed, tmp_path):
    paired = {"against": "excess", "direction": TAKES, "measure": "answer_margin_share"}
    rows = changed(formed["rows"].frame, paired, low=-0.1)
    report = seen({**formed, "rows": Table(rows, "one part")}, tmp_path)
    assert outcome(report, "weights that take it away").verdict == "open"
    assert "No group's weights" in report["answer"]


def test_where_nothing_changed_effects_are_told_and_no_shares(compared, planted, tmp_path):
    report = seen(compared(untrained_twin(planted).flat, untrained_twin(planted, 1).flat), tmp_path)
    assert outcome(report, "change of the answer margin").verdict == "open"
    assert len(report["marks"]) == 1
    assert {found["name"] for found in report["findings"]} == {
        "change of the answer margin",
        "reads answered right",
    }
