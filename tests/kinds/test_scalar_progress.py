"""Which scalar is said to be fit, on a 'run' that ends in the planted circuit or in a twin."""

import pytest
import torch
from planted import untrained_twin
from viewing import changed, outcome, viewed

from circuit.kinds.scalar_progress.measure import all_rows
from circuit.measures.writes.progress import measure_heads
from circuit.measuring import Table

STEPS = (0, 100, 200, 300, 400, 500, 600)
SHARES = (0.0, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0)
ROLES = {"winner": "L1H2", "runner_up": "L0H1", "bottom": "L1H0"}
WINNER = "fitness of {scalar} of {head}"
BOTTOM = "fitness of {scalar} of the bottom control {head}"


@pytest.fixture(scope="module")
def followed(planted, planted_events):
    """A function from two states to the rows of a 'run' along the line between them."""
    events = planted_events.select(range(0, 171, 3))

    def rows(first, last):
        states = dict(zip(STEPS, (torch.lerp(first, last, u) for u in SHARES), strict=True))
        ids = planted.vocabulary.value_ids
        found = measure_heads(
            planted.decoder, states.__getitem__, STEPS, events, ids, "fixed_source", 2, 0
        )
        return all_rows(found, ROLES, "fixed_source", 0)

    return rows


@pytest.fixture(scope="module")
def formed(followed, planted, untrained):
    return followed(untrained.flat, planted.flat)


def seen(rows, folder):
    table = {"rows": Table(rows, "one number")}
    return viewed("scalar_progress", table, folder, {"heads": "scan"}, ROLES)


@pytest.fixture(scope="module")
def report(formed, tmp_path_factory):
    return seen(formed, tmp_path_factory.mktemp("formed"))


def test_a_scalar_of_the_planted_head_is_fit_and_none_of_the_control(report):
    winner = outcome(report, WINNER)
    assert (winner.verdict, winner.about["head"], winner.compared) == ("shown", "L1H2", 6)
    assert winner.about["scalar"] in report["answer"]
    assert outcome(report, BOTTOM).verdict != "shown"
    assert report["marks"] == []
    [table] = [each for each in report["tables"] if "winner's scalars" in each["title"]]
    lines = {
        row[table["columns"].index("scalar")]: dict(zip(table["columns"], row, strict=True))
        for row in table["rows"]
    }
    assert lines["ov_value_margin_fixed"]["sees attention"] == "refuted"
    assert lines["head_value_margin_dla_moving"]["smooth"] == "refuted"
    assert lines[winner.about["scalar"]]["specific"] == "met"


def test_a_choice_that_the_other_half_does_not_confirm_is_not_shown(formed, report, tmp_path):
    chosen = outcome(report, WINNER).about["scalar"]
    share = {"measure": "growth_share", "part": "shuffled", "half": "confirmation"}
    rows = changed(formed, {**share, "scalar": chosen}, mean=0.1, low=-0.1, high=0.3)
    other = seen(rows, tmp_path)
    assert outcome(other, WINNER).verdict == "open"
    assert outcome(other, WINNER).about["scalar"] == chosen
    assert "may change with other events' values too" in other["answer"]


def test_a_bound_decides(formed, tmp_path):
    table = {"rows": Table(formed, "one number")}
    settings = {"heads": "scan", "follows": 0.9999}
    report = viewed("scalar_progress", table, tmp_path, settings, ROLES)
    assert outcome(report, WINNER).verdict != "shown"


def test_between_two_untrained_networks_no_scalar_is_fit(followed, planted, untrained, tmp_path):
    report = seen(followed(untrained.flat, untrained_twin(planted, seed=1).flat), tmp_path)
    assert outcome(report, WINNER).verdict != "shown"
    assert outcome(report, BOTTOM).verdict != "shown"
