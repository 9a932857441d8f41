import itertools

import pytest
from benchmark_examples import QUICKSTART_KV, SYMBOLIC_KV_BASE, changed
from pydantic import ValidationError

from circuit.config.benchmark import BenchmarkSettings, Range
from circuit.config.feasibility import check_feasible, longest_lag, most_places
from circuit.errors import BenchmarkError


def test_reference_benchmark_has_146_ids_and_fits_the_reference_context():
    settings = BenchmarkSettings.model_validate(SYMBOLIC_KV_BASE)
    assert settings.vocab_size == 146
    assert settings.max_length == 83
    assert settings.n_heldout_pairs == 102


def test_quickstart_benchmark_is_small():
    settings = BenchmarkSettings.model_validate(QUICKSTART_KV)
    assert (settings.vocab_size, settings.max_length) == (46, 53)
    assert settings.probes.programs_per_split == settings.pairs.pairs_per_kind == 96


def test_an_integer_is_the_range_of_that_number():
    settings = BenchmarkSettings.model_validate(SYMBOLIC_KV_BASE)
    assert settings.in_distribution.overwrites == Range(8, 8)
    assert (str(Range(8, 8)), str(Range(2, 3))) == ("8", "2..3")


def test_settings_survive_json():
    settings = BenchmarkSettings.model_validate(QUICKSTART_KV)
    again = BenchmarkSettings.model_validate_json(settings.model_dump_json())
    assert again == settings
    assert again.structural_ood.overwrites.hi == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_distribution.reads": [5, 4]}, r"range \[5, 4\] starts above its end"),
        ({"in_distribution.read": 4}, "unknown key 'read'; did you mean 'reads'?"),
        ({"in_distribution.overwrites": "many"}, "overwrites"),
        ({"in_distribution.overwrites": [1, 2, 3]}, "overwrites"),
        ({"in_distribution.samples.train": 0}, "greater than or equal to 1"),
        ({"heldout_pair_fraction": 0.0}, "greater than 0"),
        ({"pairs.split": "test"}, "test_iid"),
    ],
)
def test_malformed_settings_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        BenchmarkSettings.model_validate(changed(QUICKSTART_KV, changes))


IMPOSSIBLE = [
    (
        {"in_distribution.active_keys": [1, 2]},
        "1 active keys leave no other key for the next write"
        " — where: in_distribution.active_keys"
        " — expected: at least 2, since consecutive writes go to different keys"
        " — what to do: raise in_distribution.active_keys",
    ),
    (
        {"structural_ood.active_keys": 5},
        "5 active keys are more than the 4 keys there are"
        " — where: structural_ood.active_keys"
        " — expected: at most n_keys = 4"
        " — what to do: lower structural_ood.active_keys or raise n_keys",
    ),
    (
        {"in_distribution.reads": [0, 5]},
        "programs without a read ask nothing"
        " — where: in_distribution.reads"
        " — expected: at least 1"
        " — what to do: raise in_distribution.reads",
    ),
    (
        {"in_distribution.query_lag": [0, 1]},
        "a query lag of 0 asks for the value that was written last"
        " — where: in_distribution.query_lag"
        " — expected: at least 1, so that last_value_before_query scores 0"
        " — what to do: raise in_distribution.query_lag",
    ),
    (
        {"in_distribution.query_lag": [2, 2]},
        "the shortest query lag, 2, never occurs with 2 active keys and 6 overwrites"
        " — where: in_distribution.query_lag"
        " — expected: at most 1"
        " — what to do: lower in_distribution.query_lag, or raise in_distribution.active_keys or"
        " in_distribution.overwrites",
    ),
    (
        {"structural_ood.query_lag": [2, 7]},
        "the longest query lag, 7, never occurs with 4 active keys and 8 overwrites"
        " — where: structural_ood.query_lag"
        " — expected: at most 6"
        " — what to do: lower structural_ood.query_lag, or raise structural_ood.active_keys or"
        " structural_ood.overwrites",
    ),
    (
        {"in_distribution.overwrites": 4},
        "5 reads do not fit into a program of 2 active keys, 4 overwrites and query lag 1..2"
        " — where: in_distribution.reads"
        " — expected: at most 3, the number of (slot, key) places that can be allowed"
        " — what to do: lower in_distribution.reads, raise in_distribution.overwrites or widen"
        " in_distribution.query_lag",
    ),
    (
        {"n_values": 12},
        "12 values are too few for programs of up to 12 writes (structural_ood), whose values are"
        " all different"
        " — where: n_values"
        " — expected: at least 13, one more than the writes for a counterfactual"
        " — what to do: raise n_values, or lower structural_ood.active_keys or"
        " structural_ood.overwrites",
    ),
    (
        {"heldout_pair_fraction": 0.7},
        "holding out 0.7 of all pairs leaves a key 9 values, too few for programs of up to 12"
        " writes (structural_ood)"
        " — where: heldout_pair_fraction"
        " — expected: at least 13 values left to every key"
        " — what to do: lower heldout_pair_fraction or raise n_values",
    ),
    (
        {"heldout_pair_fraction": 0.1},
        "holding out 0.1 of all pairs gives a key only 3 held-out values, and one key may be"
        " written 4 times"
        " — where: heldout_pair_fraction"
        " — expected: at least 4 held-out values for every key, for split heldout_pairs"
        " — what to do: raise heldout_pair_fraction or n_values, or lower"
        " in_distribution.overwrites",
    ),
    (
        {"counterfactual.samples": 513},
        "513 counterfactual programs need as many sources, test_iid has 512"
        " — where: counterfactual.samples"
        " — expected: at most in_distribution.samples.test_iid = 512"
        " — what to do: lower counterfactual.samples or raise in_distribution.samples.test_iid",
    ),
    (
        {"structural_ood.samples": 95},
        "96 probe programs per split are more than one split has"
        " — where: probes.programs_per_split"
        " — expected: at most structural_ood.samples = 95"
        " — what to do: lower probes.programs_per_split or raise structural_ood.samples",
    ),
]


@pytest.mark.parametrize(("changes", "message"), IMPOSSIBLE, ids=[str(c) for c, _ in IMPOSSIBLE])
def test_impossible_settings_are_refused_with_what_to_do(changes, message):
    with pytest.raises(BenchmarkError) as caught:
        check_feasible(BenchmarkSettings.model_validate(changed(QUICKSTART_KV, changes)))
    assert str(caught.value) == message


def all_orders(n: int, overwrites: int) -> list[tuple[int, ...]]:
    """Every order of writes, up to the names of keys: whole rounds, no key twice in a row."""
    orders = [tuple(range(n))]
    for start in range(0, overwrites, n):
        orders = [
            (*order, *turn)
            for order in orders
            for turn in itertools.permutations(range(n), min(n, overwrites - start))
            if turn[0] != order[-1]
        ]
    return orders


def place_lags(order: tuple[int, ...], n: int) -> list[int]:
    """The lag of every key in every slot, where its latest write is an overwrite."""
    lags = []
    for slot in range(len(order)):
        for key in range(n):
            write = max((w for w in range(slot + 1) if order[w] == key), default=-1)
            if write >= n:
                lags.append(slot - write)
    return lags


@pytest.mark.parametrize(
    ("n", "overwrites"),
    [(2, 2), (2, 5), (3, 2), (3, 4), (3, 5), (3, 6), (3, 8), (4, 3), (4, 6), (4, 7), (4, 8)],
)
def test_lags_and_places_agree_with_enumerating_every_order(n, overwrites):
    lags = [place_lags(order, n) for order in all_orders(n, overwrites)]
    longest = max(lag for each in lags for lag in each)
    assert longest_lag(n, overwrites) == longest
    for lo in range(1, longest + 1):
        for hi in range(lo, longest + 2):
            most = max(sum(lo <= lag <= hi for lag in each) for each in lags)
            assert most_places(n, overwrites, Range(lo, hi)) == most, (lo, hi)
