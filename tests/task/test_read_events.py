"""Roles and slices against a slow, obvious loop over each stream's tokens."""

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuit.errors import AnalysisError, BenchmarkError
from circuit.task.events import (
    MASK_ROLES,
    POSITION_ROLES,
    ROLES,
    answer_positions,
    read_events,
    token_matrix,
)
from circuit.task.streams import SLICES, read_table
from circuit.task.vocabulary import PAD, Vocabulary

VOCABULARY = Vocabulary(4, 32)


def frame(*texts: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sample_id": [f"s{i}" for i in range(len(texts))],
            "tokens": [VOCABULARY.ids(f"<bos> {text} <eos>") for text in texts],
        }
    )


def slow_reads(tokens: list[str]) -> list[dict]:
    """Definitions, section 2, for every read of one stream, token by token."""
    found = []
    for a, token in enumerate(tokens):
        if not (token.startswith("V") and tokens[a - 2] == "R"):
            continue
        key = tokens[a - 1]
        writes = [p for p in range(a - 2) if tokens[p] == "W"]
        support = [p for p in writes if tokens[p + 1] == key][-1]
        others = [p for p in writes if p != support]
        found.append(
            {
                "tokens": tokens[:a],
                "answer": token,
                "prediction": {a - 1},
                "query_key": {a - 1},
                "support_op": {support},
                "support_key": {support + 1},
                "support_value": {support + 2},
                "stale_value": {p + 2 for p in others if tokens[p + 1] == key},
                "value_distractors": {p + 2 for p in others},
                "key_distractors": {p + 1 for p in others},
                "prior_answers": {p + 2 for p in range(a - 2) if tokens[p] == "R"},
                "causal_prefix": set(range(a)),
                "active_keys": len({t for t in tokens if t.startswith("K")}),
                "writes_since_support": sum(p > support for p in writes),
                "tokens_since_support": a - 1 - (support + 2),
                "slot_after_write": len(writes),
            }
        )
    return found


@pytest.mark.parametrize("split", ["train", "heldout_pairs", "structural_ood", "counterfactual"])
def test_roles_and_slices_agree_with_a_loop_over_tokens(small, split):
    programs, vocabulary = small.splits[split], small.vocabulary
    events = read_events(programs, vocabulary)
    expected = [
        {"sample_id": sample, "read_index": index, **read}
        for sample, ids in zip(programs["sample_id"], programs["tokens"], strict=True)
        for index, read in enumerate(slow_reads([vocabulary.tokens[t] for t in ids]))
    ]
    assert len(events) == len(expected) == programs["reads"].sum()
    assert events.tokens.shape[1] == max(len(read["tokens"]) for read in expected)
    masks = {role: events.role_mask(role) for role in ROLES}
    for i, read in enumerate(expected):
        assert (events.sample_id[i], events.read_index[i]) == (
            read["sample_id"],
            read["read_index"],
        )
        length = int(events.length[i])
        assert [vocabulary.tokens[t] for t in events.tokens[i, :length]] == read["tokens"]
        assert (events.tokens[i, length:] == PAD).all()
        assert vocabulary.tokens[events.answer[i]] == read["answer"]
        assert vocabulary.tokens[events.query_key_id[i]] == read["tokens"][-1]
        for role, mask in masks.items():
            assert set(mask[i].nonzero()[:, 0].tolist()) == read[role], role
        for name in SLICES:
            assert events.slice(name)[i] == read[name], name


def test_the_answer_is_not_among_the_tokens_of_its_event(small):
    events = read_events(small.splits["test_iid"], small.vocabulary)
    assert (events.length == events.prediction + 1).all()
    last = events.tokens.gather(1, events.length[:, None] - 1)
    assert ((last >= small.vocabulary.key_ids.start) & (last < small.vocabulary.key_ids.stop)).all()


def test_whole_programs_and_cut_programs_tell_the_same(small):
    programs, vocabulary = small.splits["structural_ood"], small.vocabulary
    events = read_events(programs, vocabulary)
    places = answer_positions(programs, vocabulary)
    tokens, lengths = token_matrix(programs)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (len(programs), lengths.max())
    assert lengths.tolist() == programs["length"].tolist()
    assert (tokens == PAD).sum() == (lengths.max() - lengths).sum()
    assert len(places) == len(events)
    assert torch.equal(tokens[places.row, places.prediction + 1], places.answer)
    assert torch.equal(tokens[places.row, places.support_value], places.answer)
    for name in ("read_index", "answer", *SLICES, *POSITION_ROLES[:1], *POSITION_ROLES[2:]):
        assert torch.equal(getattr(places, name), getattr(events, name)), name


def test_reads_can_be_chosen(small):
    programs, vocabulary = small.splits["test_iid"], small.vocabulary
    every = read_events(programs, vocabulary)
    last = read_events(programs, vocabulary, "last")
    assert last.sample_id == tuple(programs["sample_id"])
    assert last.read_index.tolist() == (programs["reads"] - 1).tolist()
    wanted = [("test_iid-00007", 1), ("test_iid-00002", 0), ("test_iid-00007", 1)]
    chosen = read_events(programs, vocabulary, wanted)
    assert list(zip(chosen.sample_id, chosen.read_index.tolist(), strict=True)) == wanted
    first = every.sample_id.index("test_iid-00007") + 1
    assert chosen.support_value[0] == every.support_value[first]
    assert chosen.tokens.shape[1] == chosen.length.max(), "cropped to the longest event"


def test_select_takes_numbers_and_masks(small):
    events = read_events(small.splits["test_iid"], small.vocabulary)
    mask = events.active_keys == 3
    some = events.select(mask)
    assert len(some) == int(mask.sum())
    assert (some.active_keys == 3).all()
    assert torch.equal(some.tokens, events.tokens[mask])
    picked = events.select([5, 0, 5])
    assert picked.sample_id == tuple(events.sample_id[i] for i in (5, 0, 5))
    assert torch.equal(picked.role_mask("stale_value"), events.stale_value[[5, 0, 5]])
    assert len(events.select([])) == 0
    assert events.select(mask.numpy()).sample_id == some.sample_id


def test_to_moves_every_tensor(small):
    events = read_events(small.splits["test_iid"], small.vocabulary).to("meta")
    assert events.tokens.device.type == events.stale_value.device.type == "meta"
    assert events.role_mask("support_value").device.type == "meta"


def test_unknown_roles_are_refused_with_the_valid_ones(small):
    events = read_events(small.splits["test_iid"], small.vocabulary, "last")
    with pytest.raises(AnalysisError) as caught:
        events.role_mask("suport_value")
    assert str(caught.value) == (
        "'suport_value' is not a role — expected: one of prediction, query_key, support_op,"
        " support_key, support_value, stale_value, value_distractors, key_distractors,"
        " prior_answers, causal_prefix — what to do: did you mean 'support_value'?"
    )
    for role in MASK_ROLES:
        with pytest.raises(AnalysisError, match="is not a role that is one position"):
            events.role_position(role)
    with pytest.raises(AnalysisError, match="'lag' is not a slice — expected: one of active_keys"):
        events.slice("lag")


def test_unknown_reads_are_refused(small):
    programs = small.splits["test_iid"]
    with pytest.raises(AnalysisError) as caught:
        read_events(programs, small.vocabulary, [("test_iid-00000", 99)])
    assert str(caught.value) == (
        "read 99 of program 'test_iid-00000' is not among the programs' reads — where: reads"
        " — expected: (sample_id, read_index) of a program that is given, read_index from 0"
        " — what to do: check that reads and programs belong to the same benchmark"
    )
    with pytest.raises(AnalysisError, match="'first' is not 'all', 'last' or"):
        read_events(programs, small.vocabulary, "first")
    with pytest.raises(AnalysisError, match="no read event is left"):
        read_events(programs, small.vocabulary, [])
    with pytest.raises(AnalysisError, match="no read event is left"):
        read_events(programs.iloc[:0], small.vocabulary)


@pytest.mark.parametrize(
    "text",
    [
        "W K00 V001 R K00",
        "W V001 K00",
        "W K00 V001 <pad> <pad> <pad>",
        "K00 W V001",
        "W K00 V001 W",
    ],
)
def test_malformed_streams_are_refused_by_sample(text):
    with pytest.raises(BenchmarkError, match="tokens are not a whole stream — where: sample s1"):
        read_events(frame("W K00 V001 R K00 V001", text), VOCABULARY)


def test_a_read_of_an_unwritten_key_is_refused_by_sample():
    with pytest.raises(BenchmarkError, match=r"event 1 reads a key that was not .* sample s1 "):
        read_table(frame("W K00 V001 R K00 V001", "W K00 V001 R K03 V001"), VOCABULARY)


@given(
    st.lists(
        st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 31)), max_size=14),
        min_size=1,
        max_size=6,
    )
)
def test_any_stream_of_events_is_understood(programs):
    """Also streams that the generator never makes: repeated values, reads of first writes."""
    texts, memories = [], []
    for program in programs:
        memory: dict[int, int] = {}
        events = []
        for write, key, value in program:
            if write:
                memory[key] = value
            elif key not in memory:
                continue
            events.append(f"{'W' if write else 'R'} K{key:02d} V{memory[key]:03d}")
        texts.append(" ".join(events))
        memories.append(memory)
    programs_frame = frame(*texts)
    expected = [
        read
        for ids in programs_frame["tokens"]
        for read in slow_reads([VOCABULARY.tokens[t] for t in ids])
    ]
    table = read_table(programs_frame, VOCABULARY)
    assert len(table) == len(expected)
    for row, read in zip(table.to_dict("records"), expected, strict=True):
        assert {row["prediction"]} == read["prediction"]
        assert {row["support_value"]} == read["support_value"]
        assert VOCABULARY.tokens[row["answer"]] == read["answer"]
        assert all(row[name] == read[name] for name in SLICES)
