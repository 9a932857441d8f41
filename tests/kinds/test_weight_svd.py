"""What weights say that end in the planted circuit, and weights that were never trained."""

import pytest
import torch
from viewing import changed, outcome, viewed

from circuit.measures.weights.patterns import pattern_rows, weight_patterns
from circuit.measures.weights.svd import weight_svd
from circuit.measuring import Table

STEPS = [0, 100, 200, 300, 400]
NONE = {"main": {"start": 0, "stop": 400, "found": False, "evidence": []}}
WINDOWS = {
    "window_1": {"start": 200, "stop": 300},
    "accuracy": {"start": 200, "stop": 300, "birth": 300},
}


def measured(circuit, theta, windows):
    rows, spectra = weight_svd(circuit.decoder, theta, STEPS, 4, 12, 0)
    patterns = pattern_rows(rows, *weight_patterns(rows, windows, 50, 0), windows)
    return {"rows": rows, "spectra": spectra, "patterns": patterns}


@pytest.fixture(scope="module")
def formed(planted, untrained):
    return measured(planted, lambda at: (untrained if at < 300 else planted).flat, WINDOWS)


def seen(found, folder):
    units = {"spectra": {"index": "1", "place": "1"}}
    tables = {name: Table(rows, name, units.get(name, {})) for name, rows in found.items()}
    facts = {"matrices": 76}
    return viewed("weight_svd", tables, folder, {"births": "births", "top": 4}, facts)


def test_the_most_compressed_matrix_is_told_beside_the_band_of_all(formed, planted, tmp_path):
    report = seen(formed, tmp_path)
    most = outcome(report, "the most compressed matrix")
    assert (most.verdict, most.control) == ("shown", "untrained")
    assert most.about["component"] == planted.op_head  # it writes one flag


def test_births_are_no_more_in_windows_than_chance_puts_there(formed, tmp_path):
    report = seen(formed, tmp_path)
    assert outcome(report, "births in windows", pattern="growth").control == "shifted windows"
    at = {"measure": "matched", "pattern": "growth", "against": "shifted windows"}
    for low, high, came in ((98, 99, "opposite"), (0, 1, "shown")):
        rows = changed(formed["patterns"], at, low=low, high=high)
        found = seen({**formed, "patterns": rows}, tmp_path)
        assert outcome(found, "births in windows", pattern="growth").verdict == came


def test_weights_that_only_tremble_show_nothing(untrained, tmp_path):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(5, len(untrained.flat), generator=generator, dtype=torch.float64)
    found = measured(untrained, lambda at: untrained.flat + 1e-3 * noise[at // 100], NONE)
    report = seen(found, tmp_path)
    for pattern in ("growth", "compression", "stabilisation"):
        assert outcome(report, "median step of {pattern}", pattern=pattern).verdict == "open"
        assert outcome(report, "births in windows", pattern=pattern).verdict == "open"
    assert outcome(report, "compressed matrices").verdict == "open"
    assert outcome(report, "the most compressed matrix").verdict == "open"
