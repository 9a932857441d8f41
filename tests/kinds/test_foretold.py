"""What is told of births that were foretold, of those that were not, and where none came."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from viewing import outcome, viewed

from circuit.measures.replication.foretold import (
    BASELINES,
    RANKED,
    ROW_UNITS,
    births,
    foretold,
    study_rows,
)
from circuit.measuring import Table

HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
STEPS = (0, 10, 20, 30, 40)


def study(foresight, runs=8, grow=True):
    """Rows of runs in which some features follow the births that come, and the predictions."""
    generator = np.random.default_rng(4)
    features, scans = [], []
    for _ in range(runs):
        order = generator.permutation(8)
        born = 20 + 10 * (order % 4) if grow else np.full(8, 100)
        curves = [np.where(np.array(STEPS) >= born[i], 5.0, 0.0) for i in range(8)]
        scan = pd.DataFrame(
            [(step, head, *[curve[i]] * 3) for head, curve in zip(HEADS, curves, strict=True)
             for i, step in enumerate(STEPS)],
            columns=["step", "head", "mean", "low", "high"],
        )  # fmt: skip
        scans.append(scan.assign(measure="qk_separation", half="all", count=9, unit="score"))
        found = []
        for name in (*RANKED, *BASELINES[:2]):
            measure, _, part = name.rstrip(")").partition(" (")
            known = foresight if name not in BASELINES else 0.0
            value = -known * scipy.stats.rankdata(born) + generator.normal(size=8)
            table = {"step": 10, "head": HEADS, "measure": measure, "part": part, "mean": value}
            found.append(pd.DataFrame(table))
        features.append(pd.concat(found).drop_duplicates(["head", "measure", "part"]))
    names = [f"run{i}" for i in range(runs)]
    told = {
        threshold: foretold(features, scans, names, "qk_separation", threshold)
        for threshold in (0.25, 0.15, 0.4)
    }
    return study_rows(told, [10], 0), told[0.25][0]


def seen(found, folder):
    rows, predictions = found
    tables = {
        "rows": Table(rows, "one score", {"threshold": "share"}),
        "predictions": Table(predictions, "one place", ROW_UNITS),
    }
    settings = {"features": "early", "scan": "scan"}
    return viewed("foretold", tables, folder, settings, {"cutoffs": 1, "predictors": 7})


def test_foresight_is_shown_beyond_chance_and_every_baseline(tmp_path):
    report = seen(study(3.0), tmp_path)
    assert outcome(report, "known from").verdict == "shown"
    best = outcome(report, "ranking at its best cutoff")
    assert (best.verdict, best.control) == ("shown", "random orders")
    for over in BASELINES:
        assert outcome(report, "ranking ahead of a baseline", over=over).verdict == "shown"
    for threshold in (0.15, 0.4):
        other = outcome(report, "births drawn at another threshold", threshold=threshold)
        assert other.verdict == "shown"


def test_without_foresight_all_is_open_and_few_runs_are_marked(tmp_path):
    report = seen(study(0.0, runs=3), tmp_path)
    assert outcome(report, "known from").verdict == "open"
    assert outcome(report, "ranking at its best cutoff").verdict == "open"
    assert any("3 runs" in mark for mark in report["marks"])


def test_where_nothing_is_born_there_is_nothing_to_foretell(tmp_path):
    report = seen(study(3.0, runs=2, grow=False), tmp_path)
    assert outcome(report, "births").verdict == "open"
    assert "nothing to foretell" in report["answer"]
    assert any("step 10" in mark for mark in report["marks"])
    with pytest.raises(ValueError, match="not enough values"):
        outcome(report, "ranking at its best cutoff")


def test_a_study_whose_routes_are_all_born_before_the_first_cutoff_is_told(tmp_path):
    rows, predictions = study(3.0, runs=2)
    born = births(
        pd.DataFrame(
            [(step, head, "qk_separation", "all", 5.0, 5.0, 5.0, 9, "score")
             for head in HEADS for step in STEPS],
            columns=["step", "head", "measure", "half", "mean", "low", "high", "count", "unit"],
        ), "qk_separation", 0.25,
    ).assign(run="a")  # fmt: skip
    rows = study_rows(dict.fromkeys((0.25, 0.15, 0.4), (predictions.iloc[:0], born)), [10], 0)
    report = seen((rows, predictions.iloc[:0]), tmp_path)
    assert any("step 10" in mark for mark in report["marks"])
