"""The generator's rules, checked by code that shares nothing with it."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit.config.benchmark import BenchmarkSettings, ProgramSettings, Range
from circuit.config.feasibility import longest_lag, most_places
from circuit.errors import BenchmarkError
from circuit.task.draws import Draws
from circuit.task.programs import (
    Event,
    decode,
    draw_program,
    encode,
    latent_program,
    oracle,
    replace_value,
    write_order,
)
from circuit.task.vocabulary import Vocabulary

VOCABULARY = Vocabulary(8, 128)
PINNED = [213, 133, 342, 540, 290, 270]


@st.composite
def program_rules(draw) -> ProgramSettings:
    """Rules that can be satisfied by orders of writes that are not rare."""
    keys = Range(*sorted(draw(st.tuples(st.integers(2, 5), st.integers(2, 5)))))
    overwrites = Range(*sorted(draw(st.tuples(st.integers(2, 12), st.integers(2, 12)))))
    lo = draw(st.integers(1, min(longest_lag(keys.lo, overwrites.lo), keys.lo - 1)))
    hi = draw(st.integers(lo, max(lo, min(longest_lag(keys.hi, overwrites.hi), keys.hi))))
    # With two keys there is only one order; with more, the most places need a rare one.
    most = min(
        most_places(n, overwrites.lo, Range(lo, hi)) * (1 if n == 2 else 0.6)
        for n in range(keys.lo, keys.hi + 1)
    )
    most = max(1, int(most))
    reads = Range(*sorted(draw(st.tuples(st.integers(1, most), st.integers(1, most)))))
    return ProgramSettings(
        active_keys=keys, overwrites=overwrites, reads=reads, query_lag=Range(lo, hi)
    )


def check_rules(program, rules: ProgramSettings) -> None:
    """Definitions, section 1, read off the stream from left to right, without cleverness."""
    writes = [event for event in program if event.op == "W"]
    keys = {event.key for event in writes}
    assert rules.active_keys.lo <= len(keys) <= rules.active_keys.hi
    assert rules.overwrites.lo <= len(writes) - len(keys) <= rules.overwrites.hi
    assert rules.reads.lo <= len(program) - len(writes) <= rules.reads.hi
    assert len({event.value for event in writes}) == len(writes)
    assert {event.key for event in writes[: len(keys)]} == keys  # each once, before any overwrite
    assert all(a.key != b.key for a, b in itertools.pairwise(writes))
    for number in range(len(keys), len(writes)):
        before = Counter(event.key for event in writes[:number])
        assert before[writes[number].key] == min(before.values())

    places = set()
    for number, read in enumerate(program):
        if read.op == "W":
            continue
        earlier = [event for event in program[:number] if event.op == "W"]
        own = [event for event in earlier if event.key == read.key]
        assert len(own) >= 2, "the support write is an overwrite"
        assert read.value == own[-1].value
        lag = len(earlier) - 1 - earlier.index(own[-1])
        assert rules.query_lag.lo <= lag <= rules.query_lag.hi
        assert (len(earlier), read.key) not in places, "places are drawn without replacement"
        places.add((len(earlier), read.key))


@given(program_rules(), st.integers(0, 2**40), st.integers(0, 5))
def test_every_program_obeys_its_rules(rules, seed, sample):
    values = list(range(40))
    allowed = {key: [v for v in values if (v + key) % 7] for key in range(6)}
    program = draw_program(Draws(seed, "any", sample), rules, allowed, "any")
    check_rules(program, rules)
    assert all(event.value in allowed[event.key] for event in program)
    assert draw_program(Draws(seed, "any", sample), rules, allowed, "any") == program
    assert decode(encode(program, VOCABULARY), VOCABULARY) == program


@given(st.integers(2, 6), st.integers(1, 20), st.integers(0, 2**32))
def test_least_overwritten_key_comes_next(n_keys, overwrites, seed):
    order = write_order(Draws(seed), list(range(n_keys)), overwrites)
    assert sorted(order[:n_keys]) == list(range(n_keys))
    for start in range(0, len(order), n_keys):
        turn = order[start : start + n_keys]
        assert len(set(turn)) == len(turn), "a round writes no key twice"
    assert all(a != b for a, b in itertools.pairwise(order))


def test_ties_in_the_order_of_writes_are_broken_evenly():
    orders = Counter(tuple(write_order(Draws(3, i), [0, 1, 2], 3)) for i in range(4800))
    # 3! first rounds, each followed by 2 · 2 second rounds that start with another key.
    assert len(orders) == 24
    assert all(130 < count < 275 for count in orders.values())


def test_places_are_drawn_evenly():
    rules = ProgramSettings.model_validate(
        {"active_keys": 2, "overwrites": 5, "reads": 1, "query_lag": 1}
    )
    allowed = {key: list(range(20)) for key in range(2)}
    slots = Counter(
        next(i for i, e in enumerate(draw_program(Draws(1, i), rules, allowed, "")) if e.op == "R")
        for i in range(2000)
    )
    assert set(slots) == {4, 5, 6, 7}
    assert all(420 < count < 580 for count in slots.values())


def test_an_order_that_never_has_enough_places_is_refused():
    # The settings' check allows it, but only orders that repeat one round have 285 places.
    rules = ProgramSettings.model_validate(
        {"active_keys": 6, "overwrites": 60, "reads": 285, "query_lag": [1, 5]}
    )
    assert most_places(6, 60, Range(1, 5)) == 285
    with pytest.raises(BenchmarkError) as caught:
        draw_program(Draws(0), rules, {key: list(range(99)) for key in range(6)}, "structural_ood")
    assert str(caught.value) == (
        "no order of 6 keys and 60 overwrites with 285 places for reads at query lag 1..5 in 5000"
        " tries — where: structural_ood — expected: orders with enough places to be common"
        " — what to do: lower structural_ood.reads, raise structural_ood.overwrites or widen"
        " structural_ood.query_lag"
    )


def test_keys_that_compete_for_too_few_values_are_refused():
    rules = ProgramSettings.model_validate(
        {"active_keys": 2, "overwrites": 4, "reads": 1, "query_lag": 1}
    )
    with pytest.raises(BenchmarkError, match="no distinct values for the 6 writes to keys"):
        draw_program(Draws(0), rules, {key: list(range(5)) for key in range(2)}, "in_distribution")


def test_draws_are_the_same_on_every_machine_and_version():
    """Pinned: a change here changes every benchmark."""
    draws = Draws(7, "train", 0, 0)
    assert [draws.below(1000) for _ in range(6)] == PINNED
    assert Draws(7, "train", 0, 1).below(1000) != PINNED[0]
    assert Draws(7, "test_iid", 0, 0).below(1000) != PINNED[0]
    assert Draws(8, "train", 0, 0).below(1000) != PINNED[0]


def test_draws_follow_numpys_stable_generators():
    """An independent reading of the definition, past the end of a block of words."""
    words = np.random.PCG64(np.random.SeedSequence(5, spawn_key=(9,))).random_raw(200)
    draws = Draws(5, 9)
    assert [draws.below(10) for _ in range(200)] == [int(word) * 10 // 2**64 for word in words]


def test_oracle_answers_with_the_latest_write():
    program = decode(
        VOCABULARY.ids("<bos> W K00 V001 W K01 V002 R K00 V001 W K00 V003 R K00 V003 <eos>"),
        VOCABULARY,
    )
    assert oracle(program) == [1, 3]
    with pytest.raises(BenchmarkError, match="event 1 reads key 5, which was not written before"):
        oracle([Event("W", 0, 1), Event("R", 5, 1)])


def test_latent_program_forgets_names_of_keys_and_reads_only():
    one = (Event("W", 3, 10), Event("W", 5, 11), Event("R", 3, 10), Event("W", 3, 12))
    renamed = (Event("W", 1, 10), Event("W", 0, 11), Event("W", 1, 12), Event("R", 0, 11))
    assert latent_program(one) == latent_program(renamed) == ((0, 10), (1, 11), (0, 12))
    assert latent_program(replace_value(one, 11, 13)) != latent_program(one)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<bos>",
        "<bos> W K00 V001",
        "W K00 V001 <eos>",
        "<bos> W V001 K00 <eos>",
        "<bos> W K00 <eos>",
        "<bos> W K00 V001 <eos> <pad>",
        "<bos> <bos> K00 V001 <eos>",
    ],
)
def test_decode_refuses_what_is_not_a_whole_stream(text):
    with pytest.raises(BenchmarkError, match="token ids are not a whole stream"):
        decode(VOCABULARY.ids(text), VOCABULARY)


def test_vocabulary_orders_special_ids_keys_and_values():
    vocabulary = Vocabulary(8, 128)
    assert vocabulary.size == len(vocabulary.tokens) == len(set(vocabulary.tokens)) == 146
    assert vocabulary.tokens[:5] == ("<pad>", "<bos>", "<eos>", "W", "R")
    assert vocabulary.tokens[9:11] == ("<reserved4>", "K00")
    assert (vocabulary.key_id(0), vocabulary.key_id(7), vocabulary.value_id(0)) == (10, 17, 18)
    assert vocabulary.tokens[-1] == "V127"
    assert vocabulary.text(vocabulary.ids("R K07  V127")) == "R K07 V127"
    with pytest.raises(IndexError):
        vocabulary.key_id(8)
    with pytest.raises(BenchmarkError) as caught:
        vocabulary.ids("R K08")
    assert str(caught.value) == (
        "token 'K08' is not in the vocabulary — where: 'R K08'"
        " — expected: W, R, K00..K07, V000..V127 or a special token"
        " — what to do: correct the token, or use a benchmark with more keys or values"
    )


def test_vocabulary_of_settings_has_the_size_the_settings_promise():
    from benchmark_examples import QUICKSTART_KV

    settings = BenchmarkSettings.model_validate(QUICKSTART_KV)
    assert Vocabulary.of(settings).size == settings.vocab_size
