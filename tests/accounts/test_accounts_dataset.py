"""What the account of the data says, of a sound benchmark and of damaged or equal splits."""

import pytest
from account_checks import numbers_of, written

from circuit.measures.dataset import dataset_geometry
from circuit.reports.accounts_dataset import best_shortcut, dataset


def told(benchmark, splits, tmp_path):
    found = dataset_geometry(splits, benchmark.vocabulary, benchmark.heldout_pairs)
    shortcut = best_shortcut(found.rows)
    account = dataset(found.rows, found.pairs, found.overlaps, shortcut)
    content, _ = written(account, "dataset_geometry", tmp_path)
    for table in content["tables"]:
        assert len(table["rows"]) <= 40, table["title"]
    return account


@pytest.fixture(scope="module")
def account(planted_benchmark, tmp_path_factory):
    names = ("train", "validation_iid", "heldout_pairs", "structural_ood")
    splits = {name: planted_benchmark.splits[name] for name in names}
    return told(planted_benchmark, splits, tmp_path_factory.mktemp("account"))


def test_the_answer_names_what_each_split_changes(account):
    first = account.answer.split(". ")[0]
    assert first.startswith("Against train, ")
    assert "heldout_pairs changes answers with train's pairs (100% to 0%)" in first
    assert "structural_ood changes active keys (2." in first
    assert "and query lag (1." in first
    assert first.endswith("; validation_iid differs in nothing beyond chance")


def test_the_answer_tells_the_best_shortcut_and_the_dictionary(account):
    assert "the best shortcut on train, second_last_written_value, is right in 8" in account.answer
    assert "100% with 2 active keys" in account.answer
    assert "on structural_ood it is right in 0.0%." in account.answer
    assert account.answer.endswith(
        ". A dictionary that follows the stream gives every answer in every split."
    )
    (second, third) = account.marks
    assert second.startswith("second_last_written_value looks up no key and is right in 8")
    assert "on structural_ood" not in second
    assert third.startswith("third_last_written_value")


def test_numbers_have_their_counts_and_shares(account):
    numbers = numbers_of(account)
    held = numbers["answers on heldout_pairs whose pair train answers too"]
    assert (held.value, held.low, held.high) == (0, 0, 0)
    assert numbers["measures that validation_iid changes"].value == 0
    assert numbers["accuracy of a dictionary, lowest over splits"].value == 1
    best = numbers["accuracy of second_last_written_value on train"]
    assert best.unit == "share"
    assert best.low < best.value < best.high


def test_a_wrong_answer_is_told_and_marked(planted_benchmark, tmp_path):
    train = planted_benchmark.splits["train"]
    bad = train.head(48).copy()
    program = bad["tokens"].iloc[0].copy()
    program[-2] = program[-2] + 1 if program[-2] < planted_benchmark.vocabulary.size - 1 else 20
    bad["tokens"] = [program, *bad["tokens"].iloc[1:]]
    account = told(planted_benchmark, {"train": train, "test_iid": bad}, tmp_path)
    assert "gives only 99." in account.answer
    assert account.answer.endswith("% of the answers of test_iid.")
    assert any("the benchmark is damaged" in mark for mark in account.marks)


def test_equal_splits_are_told_as_equal(planted_benchmark, tmp_path):
    train = planted_benchmark.splits["train"]
    account = told(planted_benchmark, {"train": train, "validation_iid": train}, tmp_path)
    assert account.answer.startswith(
        "Against train, validation_iid differs in nothing beyond chance. "
    )


def test_train_alone_is_told_without_a_comparison(planted_benchmark, tmp_path):
    account = told(planted_benchmark, {"train": planted_benchmark.splits["train"]}, tmp_path)
    assert account.answer.startswith("There is only train, so nothing is compared. ")
    assert "structural_ood" not in account.answer


def test_a_split_that_changes_no_axis_but_something_else_is_told_so(planted_benchmark):
    found = dataset_geometry(
        {name: planted_benchmark.splits[name] for name in ("train", "validation_iid")},
        planted_benchmark.vocabulary,
        planted_benchmark.heldout_pairs,
    )
    rows = found.rows.copy()
    only = (rows["split"] == "validation_iid") & (rows["measure"] == "stale_distractors")
    rows.loc[only, "changed"] = True
    account = dataset(rows, found.pairs, found.overlaps, best_shortcut(rows))
    assert account.answer.startswith(
        "Against train, validation_iid changes none of the rules' axes but stale_distractors. "
    )
