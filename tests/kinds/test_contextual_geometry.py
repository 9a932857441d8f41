"""What groups of states say in the planted circuit, in its untrained twin, and in between."""

import pytest
from viewing import changed, outcome, viewed

from circuit.kinds.contextual_geometry.settings import Settings
from circuit.measures.states.contextual import contextual_geometry
from circuit.measures.states.tables import PAIR_UNITS, PROJECTION_UNITS
from circuit.measures.sweep.behaviour import SplitReads
from circuit.measuring import Table

HEADS = {"winner": (1, 2), "runner_up": (0, 1), "bottom": (1, 0)}
UNITS = {"pairwise": PAIR_UNITS, "projections": PROJECTION_UNITS}


@pytest.fixture(scope="module")
def geometry(planted, planted_benchmark):
    """A function from states, as if they were a run's checkpoints, to the kind's tables."""
    words = planted_benchmark.vocabulary
    split = SplitReads(planted_benchmark.splits["train"], words, 120)
    asked = Settings.model_validate({"kind": "contextual_geometry", "heads": "head_scan"})

    def tables(*states):
        about = split, words, HEADS, asked, asked.rank, asked.shrinkage
        steps = range(len(states))
        return contextual_geometry(planted.decoder, states.__getitem__, steps, *about)._asdict()

    return tables


@pytest.fixture(scope="module")
def formed(geometry, planted, untrained):
    return geometry(untrained.flat, planted.flat)


def seen(found, folder):
    tables = {name: Table(rows, name, UNITS.get(name, {})) for name, rows in found.items()}
    return viewed("contextual_geometry", tables, folder, {"heads": "head_scan"})


def test_the_planted_circuit_knows_the_answer_where_its_head_wrote_it(formed, tmp_path):
    report = seen(formed, tmp_path)
    knows = outcome(report, "what states know", role="prediction", group="answer")
    assert (knows.verdict, knows.about["site"]) == ("shown", "layer_1_post_attn")
    assert knows.control == "shuffled labels; step 0"
    for side in ("qk_query", "qk_key", "ov_input"):
        winner = outcome(report, "what the winner sees", side=side)
        assert (winner.verdict, winner.about["head"]) == ("shown", "L1H2")
        assert outcome(report, "what the bottom control sees", side=side).verdict == "open"
    assert "shuffled labels" in winner.control
    assert "random directions" in winner.control


def test_a_token_that_names_its_group_is_no_finding(formed, tmp_path):
    told = [f for f in seen(formed, tmp_path)["findings"] if f["name"] == "what states know"]
    cells = {(f["about"]["role"], f["about"]["group"]) for f in told}
    assert cells == {("prediction", "answer"), ("support_value", "query_key")}


def test_without_training_nothing_is_known(geometry, untrained, tmp_path):
    report = seen(geometry(untrained.flat, untrained.flat), tmp_path)
    assert outcome(report, "what states know", role="prediction").verdict == "open"
    assert outcome(report, "what the winner sees", side="ov_input").verdict == "open"


def test_less_than_shuffled_labels_is_the_opposite(formed, tmp_path):
    row = {"measure": "variance_share", "side": "qk_key", "chosen": "winner", "step": 1}
    row |= {"matched": "yes", "against": ""}
    rows = changed(formed["rows"], row, mean=1e-4, low=1e-5, high=2e-4)
    report = seen({**formed, "rows": rows}, tmp_path)
    assert outcome(report, "what the winner sees", side="qk_key").verdict == "opposite"
