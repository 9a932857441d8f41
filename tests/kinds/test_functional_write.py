"""What a view says of writes that were planted, and of those of untrained twins."""

import pandas as pd
import pytest
from planted import untrained_twin
from viewing import changed, outcome, viewed

from circuit.config.scalar import ScalarSettings
from circuit.measures.writes.functional import follow_writes
from circuit.measures.writes.per_value import effects_per_value
from circuit.measuring import Table
from circuit.scalars.registry import ScalarContext, resolve_write

WRITE = {
    "scalar": "functional_write",
    "outcome": "answer_margin",
    "competitor": "fixed_target",
    "gradient": "integrated",
    "role": "prediction",
    "head": "L1H2",
    "stage": "layer_1_post_mlp",
}


@pytest.fixture(scope="module")
def followed(planted, planted_events):
    """A function from two states to the rows of the planted head's write."""
    ids = planted.vocabulary.value_ids

    def rows(*states):
        def writes_of(events):
            context = ScalarContext(planted.decoder, events, ids, {}, states.__getitem__, (0, 1), 1)
            return {"answer": resolve_write(ScalarSettings.model_validate(WRITE), context)}

        probes = planted_events.select(range(0, 171, 4))
        roles = ("prediction", "support_value")
        effects = follow_writes(
            planted.decoder, states.__getitem__, (0, 1), probes, ids, writes_of(probes),
            {"answer": 1}, "L1H0", roles, 4, 0,
        )  # fmt: skip
        per_value = effects_per_value(
            planted.decoder, states.__getitem__, (0, 1), planted_events, planted.vocabulary,
            writes_of, 0,
        )  # fmt: skip
        per_value = per_value.assign(source="L1H2", target=effects["target"].iloc[0])
        both = pd.concat([effects, per_value], ignore_index=True)
        return both.fillna(dict.fromkeys(("side", "role", "part", "value"), ""))

    return rows


@pytest.fixture(scope="module")
def formed(followed, planted, untrained):
    return followed(untrained.flat, planted.flat)


def seen(rows, folder):
    settings = {"heads": "scan", "writes": {"answer": WRITE}}
    return viewed("functional_write", {"rows": Table(rows, "one number")}, folder, settings)


def test_the_planted_write_helps_beyond_both_controls(formed, planted, tmp_path):
    report = seen(formed, tmp_path)
    worth = outcome(report, "worth")
    assert worth.verdict == "shown"
    assert worth.control == "gradient of another event; bottom head"
    assert planted.matching_head in report["answer"]
    assert outcome(report, "worth at the start").verdict == "open"
    assert outcome(report, "worth beside the cost of removal").verdict == "open"
    assert outcome(report, "half-way step of {write}").verdict == "shown"
    assert report["marks"] == []


def test_a_write_that_reads_no_better_for_its_own_answer_is_not_shown(formed, tmp_path):
    beyond = {"against": "excess over gradient of another event", "part": "whole", "step": 1}
    assert outcome(seen(changed(formed, beyond, low=-0.1), tmp_path), "worth").verdict == "open"


def test_what_passes_by_the_target_is_marked(formed, tmp_path):
    loss = {"against": "ablation", "step": 1}
    report = seen(changed(formed, loss, mean=90.0, low=80.0, high=100.0), tmp_path)
    assert "removing its source" in report["marks"][0]


def test_an_untrained_write_is_not_shown_to_help(followed, planted, tmp_path):
    report = seen(followed(untrained_twin(planted, 1).flat, untrained_twin(planted).flat), tmp_path)
    assert outcome(report, "worth").verdict != "shown"
