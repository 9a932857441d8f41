"""What is told of a finding over seeds: where it repeats, where it does not, what is marked."""

import numpy as np
import pandas as pd
import pytest
from viewing import changed, outcome, viewed

from circuit.config.terms import COMPONENTS
from circuit.estimates import CONFIRMATION, EXCESS, estimates
from circuit.measures.replication.seeds import SeedResult, compare_seeds
from circuit.measuring import Table


def study(growths, births):
    """Rows of runs whose winner, runner-up and bottom head grow as given."""
    results = []
    for seed, (grown, birth) in enumerate(zip(growths, births, strict=True)):
        mean = np.array([*grown, grown[0] - grown[2], grown[1] - grown[2]])
        scan = pd.DataFrame({"mean": mean, "low": mean - 0.5, "high": mean + 0.5, "step": 900})
        scan["head"] = ["L1H0", "L1H1", "L0H0", "L1H0", "L1H1"]
        scan["chosen"] = ["winner", "runner_up", "bottom", "winner", "runner_up"]
        scan["against"] = ["", "", "", EXCESS, EXCESS]
        scan = scan.assign(half=CONFIRMATION, measure="growth", count=48)
        parts = dict(zip((*COMPONENTS, "residual"), (2.0, 6.0, -0.4, 0.0, 0.4), strict=True))
        results.append(
            SeedResult(f"run{seed}", seed, estimates(scan, "score", "events"), parts, birth)
        )
    return compare_seeds(results, 0)


def seen(rows, folder):
    settings = {"sweep": "a", "scan": "b", "attribution": "c", "scalar": "qk_separation"}
    facts = {"winners": ["L1H0", "L1H0", "L1H0"]}
    return viewed("cross_seed", {"rows": Table(rows, "one number")}, folder, settings, facts)


@pytest.fixture(scope="module")
def rows():
    return study([(8, 3, 0.1), (9, 2, 0.0), (7, 4, -0.1)], [600, 700, 800])


def test_growth_over_all_seeds_is_shown_beyond_the_bottom_heads(rows, tmp_path):
    report = seen(rows, tmp_path)
    grown = outcome(report, "mean growth", chosen="winner")
    assert (grown.verdict, grown.control) == ("shown", "bottom")
    assert outcome(report, "mean birth of the behaviour").verdict == "shown"
    assert len(report["marks"]) == 1
    assert "3 seeds" in report["marks"][0]


def test_growth_that_its_interval_leaves_open_is_open(rows, tmp_path):
    paired = {"measure": "growth", "run": "mean", "chosen": "winner", "against": EXCESS}
    report = seen(changed(rows, paired, low=-1.0), tmp_path)
    assert outcome(report, "mean growth", chosen="winner").verdict == "open"


def test_an_unborn_run_and_a_leading_runner_up_are_marked(tmp_path):
    report = seen(study([(8, 3, 0.1), (1, 2, 0.0), (7, 4, -0.1)], [600, 700, None]), tmp_path)
    assert sum("run2" in mark for mark in report["marks"]) == 1
    assert sum("run1" in mark for mark in report["marks"]) == 1


def test_where_no_run_is_born_that_is_said(tmp_path):
    report = seen(study([(8, 3, 0.1), (9, 2, 0.0)], [None, None]), tmp_path)
    assert outcome(report, "mean birth of the behaviour").verdict == "open"
    assert sum("never born" in mark for mark in report["marks"]) == 2
