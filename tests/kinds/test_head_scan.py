"""What a head scan says of a planted head, of an untrained one, and of one in between."""

import pandas as pd
import pytest
from planted import untrained_twin
from viewing import changed, outcome, viewed

from circuit.kinds.head_scan.measure import scan_rows
from circuit.measures.heads.scan import head_scan, select_heads
from circuit.measuring import Table
from circuit.task.frozen import probe_events
from circuit.task.probes import build_probe_set


@pytest.fixture(scope="module")
def scanned(planted, untrained, planted_benchmark):
    """A function from states, as if they were checkpoints 0 and 1 of a run, to the kind's rows."""
    probes = build_probe_set(planted_benchmark)
    chosen = probes[probes["split"] == "validation_iid"].reset_index(drop=True)
    events = probe_events(chosen, planted_benchmark.vocabulary)

    def rows(*states):
        values = planted.vocabulary.value_ids
        scan = head_scan(planted.decoder, states.__getitem__, range(2), events, values, 4)
        return scan_rows(scan, select_heads(scan.events, "qk_separation", (0, 1)))

    return rows


def seen(rows, folder):
    """The report of some rows."""
    tables = {"rows": Table(rows, "one measure")}
    return viewed("head_scan", tables, folder, facts={"window": [0, 1]})


def test_the_planted_head_is_shown_to_have_learned(scanned, untrained, planted, tmp_path):
    report = seen(scanned(untrained.flat, planted.flat), tmp_path)
    grew = outcome(report, "growth of the winner")
    assert (grew.verdict, grew.about["head"]) == ("shown", planted.matching_head)
    assert grew.control.endswith("bottom")
    assert outcome(report, "support value beats every distractor").verdict == "shown"
    assert planted.matching_head in report["answer"]
    assert not report["marks"]


def test_nothing_is_shown_to_single_out_the_support_value_untrained(
    scanned, untrained, planted, tmp_path
):
    report = seen(scanned(untrained.flat, untrained_twin(planted, seed=1).flat), tmp_path)
    assert outcome(report, "support value beats every distractor").verdict == "open"
    assert outcome(report, "attention on the support value").verdict == "open"


def test_growth_within_its_interval_is_open_and_marked(scanned, untrained, planted, tmp_path):
    rows = scanned(untrained.flat, planted.flat)
    paired = {"measure": "growth", "against": "excess", "chosen": "winner"}
    report = seen(changed(rows, paired, low=-1.0), tmp_path)
    assert outcome(report, "growth of the winner").verdict == "open"
    assert planted.matching_head in report["marks"][0]
    less = pd.concat([changed(rows, paired, mean=-9.0, low=-10.0, high=-8.0)])
    assert outcome(seen(less, tmp_path), "growth of the winner").verdict == "opposite"
