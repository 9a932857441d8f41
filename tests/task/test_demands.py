"""What programs demand, by hand and against obvious loops over their words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program_words import VOCABULARY, edges, events, frame, programs, read_demands

from circuit.config.benchmark import SPLITS
from circuit.errors import BenchmarkError
from circuit.task.audit import audit
from circuit.task.demands import PROGRAM_UNITS, READ_UNITS, SHORTCUTS, split_demands
from circuit.task.relations import RELATIONS, graph_table, relation_edges, versions
from circuit.task.shortcuts import HEURISTICS, WRITTEN
from circuit.task.streams import event_grid

BY_HAND = "W K00 V000 W K01 V001 W K00 V002 R K00 V002 R K01 V001 W K01 V003 R K01 V003 R K00 V002"


def test_the_event_graph_of_a_program_by_hand():
    grid = event_grid(frame(BY_HAND), VOCABULARY)
    assert versions(grid).tolist() == [[1, 1, 2, 2, 1, 2, 2, 2]]
    found = {name: np.argwhere(edge[0]).tolist() for name, edge in relation_edges(grid).items()}
    assert found == {
        "overwrite": [[0, 2], [1, 5]],
        "support": [[1, 4], [2, 3], [2, 7], [5, 6]],
        "stale_write": [[0, 3], [0, 7], [1, 6]],
        "other_key_write": [[0, 4], [0, 6], [1, 3], [1, 7], [2, 4], [2, 6], [5, 7]],
        "same_answer": [[3, 7]],
        "stale_answer": [[4, 6]],
        "other_key_answer": [[3, 4], [3, 6], [4, 7], [6, 7]],
    }


def test_demands_of_a_program_by_hand():
    found = split_demands(frame(BY_HAND), VOCABULARY)
    (program,) = found.programs[list(PROGRAM_UNITS)].to_dict("records")
    assert program == {"active_keys": 2, "writes": 4, "overwrites": 2, "reads": 4, "length": 26}
    reads = found.reads
    assert reads["writes_since_support"].tolist() == [0, 1, 0, 1]
    assert reads["stale_distractors"].tolist() == [1, 0, 1, 1]
    assert reads["other_key_distractors"].tolist() == [1, 2, 2, 2]
    assert reads["prior_answers"].tolist() == [0, 1, 2, 3]
    assert reads["answer_shown"].tolist() == [False, False, False, True]
    assert reads["last_written_value"].tolist() == [True, False, True, False]
    assert reads["second_last_written_value"].tolist() == [False, True, False, True]
    assert reads["third_last_written_value"].tolist() == [False] * 4
    assert reads["any_written_value"].tolist() == [1 / 3, 1 / 3, 1 / 4, 1 / 4]
    assert reads["oracle"].all()
    assert len(found.written) == 4


def test_counting_back_past_the_first_write_is_no_hit():
    """Fourth last of one write would be the first again if it wrapped around."""
    reads = split_demands(frame("W K00 V000 R K00 V000"), VOCABULARY).reads
    assert reads[list(WRITTEN)].to_numpy().tolist() == [[True, False, False, False]]


@settings(max_examples=40)
@given(st.lists(programs(), min_size=1, max_size=3))
def test_demands_of_any_programs_agree_with_loops_over_their_words(texts):
    split = frame(*texts)
    found = split_demands(split, VOCABULARY)
    listed = [events(text) for text in texts]
    expected = [read for program in listed for read in read_demands(program)]
    assert set(READ_UNITS) | set(SHORTCUTS) < set(expected[0])
    for name in expected[0]:
        np.testing.assert_allclose(
            found.reads[name].to_numpy(dtype=float), [read[name] for read in expected], err_msg=name
        )
    every = [edge for program in listed for edge in edges(program)]
    table = found.graph.set_index(["relation", "distance"])["edges"].to_dict()
    counted: dict[tuple[str, int], int] = {}
    for name, i, j in every:
        counted[name, j - i] = counted.get((name, j - i), 0) + 1
    assert table == counted
    for name in RELATIONS:
        assert found.programs[name].sum() == sum(edge[0] == name for edge in every)


@given(programs())
def test_each_earlier_event_stands_in_one_relation_to_a_read(text):
    grid = event_grid(frame(text), VOCABULARY)
    found = relation_edges(grid)
    together = sum(edge[0].astype(int) for edge in found.values())
    read = np.flatnonzero(grid.is_read[0])
    earlier = np.tri(len(together), k=-1, dtype=int).T
    np.testing.assert_array_equal(together[:, read], earlier[:, read])
    assert (found["support"][0][:, read].sum(0) == 1).all()
    assert (found["overwrite"][0].sum(0) <= 1).all()


@pytest.mark.parametrize("split", SPLITS)
def test_counting_back_finds_what_the_query_lag_says(small, split):
    """The lag counts writes since the support; values differ, so nothing else can be right."""
    reads = split_demands(small.splits[split], small.vocabulary).reads
    for n, name in enumerate(WRITTEN):
        np.testing.assert_array_equal(reads[name], reads["writes_since_support"] == n)


def test_accuracies_are_the_audits(small):
    report = audit(small)
    for split in SPLITS:
        reads = split_demands(small.splits[split], small.vocabulary).reads
        for name in HEURISTICS:
            assert reads[name].mean() == report.value(name, split)
        assert reads["oracle"].all()


def test_a_wrong_answer_is_the_dictionarys_not_the_arrays_finding():
    reads = split_demands(frame(BY_HAND.replace("R K01 V001", "R K01 V009")), VOCABULARY).reads
    assert reads["oracle"].tolist() == [True, False, True, True]


def test_shares_of_distances_sum_to_one_and_relations_without_edges_have_no_row():
    table = graph_table(relation_edges(event_grid(frame("W K00 V000 R K00 V000"), VOCABULARY)))
    assert table.to_dict("records") == [
        {
            "relation": "support",
            "source": "write",
            "target": "read",
            "distance": 1,
            "tokens": 2,
            "edges": 1,
            "share": 1.0,
        }
    ]
    shares = split_demands(frame(BY_HAND), VOCABULARY).graph.groupby("relation")["share"].sum()
    np.testing.assert_allclose(shares, 1)


def test_a_malformed_stream_is_named():
    bad = frame(BY_HAND, BY_HAND)
    bad.at[1, "tokens"] = bad.at[1, "tokens"][:-2]
    with pytest.raises(BenchmarkError, match=r"not a whole stream.*sample s1"):
        split_demands(bad, VOCABULARY)
