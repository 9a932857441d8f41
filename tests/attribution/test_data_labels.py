"""Labels of training's targets against a reading of every program, token by token."""

from typing import get_args

import numpy as np
import pytest
import torch

from circuit.attribution.data_labels import GROUPINGS, OTHER, label_programs
from circuit.config.attribution import DataGrouping
from circuit.errors import AnalysisError
from circuit.task.events import token_matrix

READS = ("query_key", "answer_value", "lag", "active_keys", "tokens_since_support")
READS += ("slot_after_write",)


@pytest.fixture(scope="module")
def programs(planted_benchmark):
    return planted_benchmark.splits["train"]


def told(words: list[str], data: str) -> list[str]:
    """The group of every target of a program, from its text alone."""
    groups: list[str] = []
    written: dict[str, tuple[int, int]] = {}  # key: writes so far, and place of the value
    writes = 0
    keys = {words[i + 1] for i, word in enumerate(words) if word == "W"}
    for start in range(1, len(words) - 1, 3):
        operation, key, value = words[start : start + 3]
        last = OTHER
        if operation == "W":
            writes += 1
            written[key] = (writes, start + 2)
        else:
            since, place = written[key]
            last = {
                "query_key": key,
                "answer_value": value,
                "lag": f"lag {writes - since}",
                "active_keys": f"{len(keys)} active keys",
                "tokens_since_support": f"{start + 1 - place} tokens since support",
                "slot_after_write": f"after write {writes}",
            }.get(data, OTHER)
        if data == "token":
            groups += ["operation", "key", "written_value" if operation == "W" else "answer"]
        else:
            groups += [OTHER, OTHER, last]
    return [*groups, "end" if data == "token" else OTHER]


@pytest.mark.parametrize("data", [*READS, "token"])
def test_every_target_has_the_group_that_its_program_says(programs, planted_benchmark, data):
    vocabulary = planted_benchmark.vocabulary
    found = label_programs(programs, vocabulary, data)
    width = max(map(len, programs["tokens"])) - 1
    assert found.labels.shape == (len(programs), width)
    for tokens, labels in zip(programs["tokens"], found.labels.tolist(), strict=True):
        expected = told([vocabulary.tokens[token] for token in tokens], data)
        assert [found.groups[label] for label in labels if label >= 0] == expected
        assert labels[len(expected) :] == [-1] * (width - len(expected))


@pytest.mark.parametrize("data", [*READS, "token", "sample"])
def test_every_group_has_a_target(programs, planted_benchmark, data):
    found = label_programs(programs, planted_benchmark.vocabulary, data)
    assert set(found.labels[found.labels >= 0].tolist()) == set(range(len(found.groups)))
    assert len(set(found.groups)) == len(found.groups)
    assert found.groups[-1] == (OTHER if data in READS else found.groups[-1])


def test_groups_of_numbers_are_in_numeric_order(programs, planted_benchmark):
    found = label_programs(programs, planted_benchmark.vocabulary, "tokens_since_support")
    numbers = [int(name.split()[0]) for name in found.groups[:-1]]
    assert numbers == sorted(numbers)
    assert len(numbers) > 1


def test_buckets_are_whole_programs_of_even_numbers_drawn_by_seed(programs, planted_benchmark):
    found, again, other = (
        label_programs(programs, planted_benchmark.vocabulary, "sample", 5, seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(found.labels, again.labels)
    assert not torch.equal(found.labels, other.labels)
    _, lengths = token_matrix(programs)
    for row, length in zip(found.labels, lengths.tolist(), strict=True):
        assert len(set(row[: length - 1].tolist())) == 1
        assert (row[length - 1 :] == -1).all()
    sizes = np.bincount(found.labels[:, 0])
    assert len(sizes) == len(found.groups) == 5
    assert sizes.max() - sizes.min() <= 1


def test_labels_of_a_batch_are_those_of_its_programs(programs, planted_benchmark, curved):
    found = label_programs(programs, planted_benchmark.vocabulary, "lag")
    batch = curved.stream.batch(7)
    labels = found.of(batch)
    assert labels.shape == batch.targets.shape
    assert torch.equal(labels >= 0, batch.targets >= 0)
    for row, expected in zip(labels, batch.rows, strict=True):
        assert torch.equal(row, found.labels[expected, : labels.shape[1]].long())


def test_settings_and_library_know_the_same_groupings():
    assert set(GROUPINGS) == set(get_args(DataGrouping))


def test_an_unknown_grouping_is_refused_with_the_nearest_name(programs, planted_benchmark):
    with pytest.raises(AnalysisError, match="unknown grouping of data 'query_keys'") as refused:
        label_programs(programs, planted_benchmark.vocabulary, "query_keys")
    assert "did you mean 'query_key'?" in str(refused.value)


def test_more_buckets_than_programs_are_refused(programs, planted_benchmark):
    with pytest.raises(AnalysisError, match="3 programs cannot be dealt into 4 buckets"):
        label_programs(programs.head(3), planted_benchmark.vocabulary, "sample", 4)


def test_who_supports_is_not_known_beforehand(programs, planted_benchmark, curved):
    found = label_programs(programs, planted_benchmark.vocabulary, "supports_opposes")
    assert found.groups == ("supports", "opposes")
    with pytest.raises(AnalysisError, match="depend on the parameters"):
        found.of(curved.stream.batch(0))
