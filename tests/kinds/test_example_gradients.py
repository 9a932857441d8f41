"""What is said of reads' gradients: which were made to push alike, and which apart."""

import numpy as np
import pandas as pd
import pytest
import torch
from viewing import changed, outcome, viewed

from circuit.artifacts import write_tensors
from circuit.attribution import example_reads
from circuit.attribution.example_gradients import Products
from circuit.attribution.example_reads import READ_UNITS
from circuit.measuring import Table

ASKED = {
    "heads": "head_scan",
    "routes": {
        "looking": {"scalar": "qk_separation", "head": "winner"},
        "copying": {"scalar": "ov_value_margin", "head": "winner"},
    },
}
N = 60


@pytest.fixture(scope="module")
def measured():
    """Reads of six values that push alike, and of two routes against each other; steps 0 and 9."""
    draw = np.random.default_rng(0)
    value = np.arange(N) % 6
    labels = pd.DataFrame(
        {
            "split": np.where(draw.random(N) < 0.5, "train", "heldout_pairs"),
            "sample_id": [f"s{i}" for i in range(N)],
            "read_index": 0,
            "query_key": [f"K{key}" for key in draw.integers(3, size=N)],
            "answer_value": [f"V{one}" for one in value],
            "lag": draw.integers(3, size=N),
            "position": draw.integers(4, size=N),
        }
    )
    way = np.where(draw.random(N) < 0.5, 1.0, -1.0)
    routes = np.eye(20)[[10, 11]]
    gradients = draw.standard_normal((N, 20)) + 4 * np.eye(20)[value]
    gradients -= 3 * (np.outer(way > 0, routes[0]) + np.outer(way < 0, routes[1]))
    gradients += 2.5 * (np.outer(way < 0, routes[0]) + np.outer(way > 0, routes[1]))
    g, r = torch.as_tensor(gradients), torch.as_tensor(routes)
    right = torch.as_tensor(draw.random(N) < 0.5)
    found = Products(g @ g.T, g @ r.T, r @ r.T, torch.ones(N, dtype=torch.float64), right)
    kept = example_reads.gradient_products
    example_reads.gradient_products = lambda *_: found
    passes = type("Passes", (), {"whole": 0})()
    chosen = example_reads.ChosenReads(None, labels)
    of = (None, lambda _: None, (0, 9), chosen, list(ASKED["routes"]), lambda _: None, None)
    try:
        return example_reads.follow_reads(*of, memory_mb=512, seed=0, passes=passes)
    finally:
        example_reads.gradient_products = kept


def seen(found, folder, rows=None):
    folder.mkdir(exist_ok=True)
    write_tensors(folder / "products.safetensors", found.tensors)
    units = READ_UNITS | {f"alignment_{name}": "1" for name in ASKED["routes"]}
    tables = {
        "rows": Table(found.rows if rows is None else rows, "one measure", {"pairs": "1"}),
        "conflicts": Table(found.conflicts, "two groups", {"pairs": "1"}),
        "reads_table": Table(found.reads, "one read", units),
    }
    facts = {"routes": list(ASKED["routes"]), "where": ""}
    return viewed("example_gradients", tables, folder, ASKED, facts)


def test_what_reads_share_and_what_opposes_is_shown(measured, tmp_path):
    report = seen(measured, tmp_path)
    most = outcome(report, "what sharing tells most", step=9)
    assert (most.verdict, most.about["relation"]) == ("shown", "answer_value")
    assert (most.compared, most.control) == (6, "shuffled labels")
    assert "answer value" in report["answer"]
    assert outcome(report, "supporters of the two routes", step=9).verdict == "opposite"
    sharing = [one for one in report["findings"] if one["name"] == "sharing"]
    lags = [one["verdict"] for one in sharing if one["about"]["relation"] == "lag"]
    assert lags == ["open", "open"]
    assert not report["marks"]


def test_a_difference_within_its_interval_is_open(measured, tmp_path):
    where = {"measure": "cosine", "which": "difference", "against": "", "step": 9}
    report = seen(measured, tmp_path, changed(measured.rows, where, low=-1.0, high=1.0))
    assert outcome(report, "what sharing tells most", step=9).verdict == "open"


def test_too_few_reads_to_compare_are_marked(measured, tmp_path):
    few = {"relation": "lag", "which": "same", "measure": "cosine", "against": "", "step": 9}
    rows = changed(measured.rows, few, measure="reads_too_few", mean=2.0, unit="1")
    [mark] = seen(measured, tmp_path, rows)["marks"]
    assert "lag" in mark
