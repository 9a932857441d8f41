"""What an evaluation says of the planted circuit, and of an untrained one."""

import pandas as pd
import pytest
from viewing import outcome, viewed

from circuit.estimates import estimates
from circuit.measures.sweep.behaviour import (
    MEASURES,
    SplitReads,
    measured_reads,
    read_pass,
    summarise,
    with_guess,
)
from circuit.measuring import Table

SPLITS = ("validation_iid", "heldout_pairs")


@pytest.fixture(scope="module")
def rows_of(planted_benchmark):
    def rows(circuit):
        parts = []
        for name in SPLITS:
            split = SplitReads(planted_benchmark.splits[name], circuit.vocabulary, 8)
            logits = read_pass(circuit.decoder, circuit.flat, split).logits
            parts.append(summarise(measured_reads(split, logits)).assign(split=name))
        found = estimates(pd.concat(parts, ignore_index=True), unit=MEASURES, step=9)
        return with_guess(found, "accuracy", len(circuit.vocabulary.value_ids))

    return rows


def seen(rows, folder):
    settings = {"sweep": "behaviour", "splits": list(SPLITS)}
    return viewed("full_evaluation", {"rows": Table(rows, "it")}, folder, settings, {"step": 9})


@pytest.mark.parametrize(("name", "verdict"), [("planted", "shown"), ("untrained", "open")])
def test_accuracy_is_shown_beyond_a_guess(name, verdict, rows_of, request, tmp_path):
    report = seen(rows_of(request.getfixturevalue(name)), tmp_path)
    for split in SPLITS:
        found = outcome(report, "accuracy", split=split)
        assert found.verdict == verdict or (name == "untrained" and found.verdict != "shown")
        assert found.control == "guess"


def test_a_checkpoint_chosen_by_a_split_says_that_it_is_biased_there(rows_of, planted, tmp_path):
    rows = rows_of(planted)
    assert "biased" not in seen(rows, tmp_path)["answer"]
    best = pd.DataFrame({"split": ["heldout_pairs"], "slice": "all", "slice_value": "", "mean": 9})
    best = estimates(best, unit="step", step=9, measure="best_checkpoint")
    report = seen(pd.concat([rows, best]), tmp_path)
    assert "heldout_pairs, so the number there is biased upwards" in report["answer"]
