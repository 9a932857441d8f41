"""What the data say of a sound benchmark, and of damaged or equal splits."""

import pytest
from viewing import outcome, viewed

from circuit.measures.dataset import GRAPH_UNITS, dataset_geometry
from circuit.measuring import Table
from circuit.task.pair_counts import OVERLAP_UNITS, PAIR_UNITS

UNITS = {
    "histograms": {"value": "1"},
    "pairs": PAIR_UNITS,
    "overlaps": OVERLAP_UNITS,
    "graph": GRAPH_UNITS,
}


def seen(benchmark, splits, folder):
    found = vars(dataset_geometry(splits, benchmark.vocabulary, benchmark.heldout_pairs))
    tables = {name: Table(rows, name, UNITS.get(name, {})) for name, rows in found.items()}
    settings = {"splits": tuple(splits)}
    return viewed("dataset_geometry", tables, folder, settings, {"measures": 30})


@pytest.fixture(scope="module")
def report(planted_benchmark, tmp_path_factory):
    names = ("train", "validation_iid", "heldout_pairs", "structural_ood")
    splits = {name: planted_benchmark.splits[name] for name in names}
    return seen(planted_benchmark, splits, tmp_path_factory.mktemp("seen"))


def test_a_split_is_told_by_what_its_rules_change(report):
    for split, came in (("validation_iid", "open"), ("structural_ood", "shown")):
        assert outcome(report, "a split differs from train", split=split).verdict == came
    axes = "which of the rules' axes a split changes"
    assert outcome(report, axes, split="validation_iid").verdict == "open"
    told = [s for s in report["answer"].split(". ") if "structural_ood has" in s]
    assert len(told) == 1
    assert "more active keys" in told[0]
    assert "fewer" not in told[0]
    assert "heldout_pairs has answers without train's pairs" in report["answer"]


def test_the_best_shortcut_is_marked_and_fails_where_the_rules_change(report):
    best = outcome(report, "the best shortcut on train")
    assert (best.verdict, best.control) == ("shown", "guess")
    assert best.about["shortcut"] == "second_last_written_value"
    fails = outcome(report, "where the best shortcut of train fails")
    assert (fails.verdict, fails.about["split"]) == ("opposite", "structural_ood")
    assert (fails.control, fails.compared) == ("train", 3)
    assert any("second_last_written_value" in mark for mark in report["marks"])


def test_a_sound_benchmark_agrees_with_a_dictionary_and_a_damaged_one_is_marked(
    report, planted_benchmark, tmp_path
):
    name = "answers that a dictionary gets wrong"
    assert outcome(report, name).verdict == "open"
    train = planted_benchmark.splits["train"]
    bad = train.head(48).copy()
    program = bad["tokens"].iloc[0].copy()
    program[-2] = program[-2] + 1 if program[-2] < planted_benchmark.vocabulary.size - 1 else 20
    bad["tokens"] = [program, *bad["tokens"].iloc[1:]]
    damaged = seen(planted_benchmark, {"train": train, "test_iid": bad}, tmp_path)
    wrong = outcome(damaged, name)
    assert (wrong.verdict, wrong.about["split"]) == ("shown", "test_iid")
    assert any("damaged" in mark for mark in damaged["marks"])


def test_equal_splits_and_train_alone_differ_in_nothing(planted_benchmark, tmp_path):
    train = planted_benchmark.splits["train"]
    twins = seen(planted_benchmark, {"train": train, "validation_iid": train}, tmp_path)
    assert outcome(twins, "a split differs from train").verdict == "open"
    assert outcome(twins, "where the best shortcut of train fails").verdict == "open"
    alone = seen(planted_benchmark, {"train": train}, tmp_path)
    assert "differs" not in alone["answer"]
