import functools
from collections import Counter

import pandas as pd
import pytest
from benchmark_examples import QUICKSTART_KV, SMALL, changed
from hypothesis import given, settings
from hypothesis import strategies as st
from test_programs import check_rules

from circuit.config.benchmark import SPLITS, BenchmarkSettings
from circuit.config.feasibility import check_feasible
from circuit.errors import BenchmarkError
from circuit.task.benchmark import build_benchmark, draw_heldout_pairs
from circuit.task.programs import decode

TINY = changed(
    SMALL,
    {
        "in_distribution.samples": {
            "train": 6,
            "validation_iid": 4,
            "test_iid": 4,
            "heldout_pairs": 4,
        },
        "structural_ood.samples": 4,
        "counterfactual.samples": 4,
        "probes.programs_per_split": 2,
    },
)


@functools.lru_cache(maxsize=8)  # benchmarks are compared by identity
def programs(benchmark, split):
    return [decode(ids, benchmark.vocabulary) for ids in benchmark.splits[split]["tokens"]]


def test_every_split_has_its_programs_and_obeys_its_rules(base):
    assert tuple(base.splits) == SPLITS
    sizes = [len(base.splits[split]) for split in SPLITS]
    assert sizes == [8000, 1024, 1024, 1024, 1024, 1024]
    for split in SPLITS:
        for program in programs(base, split):
            check_rules(program, base.settings.rules(split))
        assert base.splits[split]["length"].max() == (83 if split == "structural_ood" else 56)
    ids = pd.concat([base.splits[split]["sample_id"] for split in SPLITS])
    assert ids.is_unique


def test_columns_describe_their_program(small):
    for split in SPLITS:
        for row, program in zip(
            small.splits[split].to_dict("records"), programs(small, split), strict=True
        ):
            writes = [event for event in program if event.op == "W"]
            answers = [event.value for event in program if event.op == "R"]
            assert row["split"] == split
            assert row["active_keys"] == len({event.key for event in writes})
            assert row["overwrites"] == len(writes) - row["active_keys"]
            assert row["reads"] == len(answers)
            assert row["length"] == len(row["tokens"]) == 3 * len(program) + 2
            assert [small.vocabulary.value_id(value) for value in answers] == list(row["answers"])
            assert (row["source_id"] == "") == (split != "counterfactual")
            assert (row["changed_write"] < 0) == (split != "counterfactual")


def test_ranges_are_used_from_end_to_end(base):
    for split in ("train", "structural_ood"):
        rules = base.settings.rules(split)
        for column in ("active_keys", "overwrites", "reads"):
            counts = base.splits[split][column].value_counts(normalize=True)
            lo, hi = getattr(rules, column)
            assert sorted(counts.index) == list(range(lo, hi + 1))
            assert counts.min() > 0.8 / len(counts), "uniform on its range"


def test_no_program_occurs_twice_even_with_other_reads_or_names_of_keys(base):
    latent = Counter()
    for split in SPLITS:
        for program in programs(base, split):
            names: dict[int, int] = {}
            for event in program:
                names.setdefault(event.key, len(names))
            latent[tuple((names[e.key], e.value) for e in program if e.op == "W")] += 1
    assert latent.total() == 13120
    assert max(latent.values()) == 1


def test_heldout_pairs_stay_in_their_split(base):
    heldout = set(base.heldout_pairs)
    assert len(heldout) == 102
    for split in SPLITS:
        used = {(event.key, event.value) for p in programs(base, split) for event in p}
        assert used <= heldout if split == "heldout_pairs" else not used & heldout
    assert {pair for p in programs(base, "heldout_pairs") for pair in {e[1:] for e in p}} == heldout


@given(st.integers(2, 9), st.integers(12, 40), st.floats(0.05, 0.9), st.integers(0, 99))
def test_heldout_pairs_are_spread_evenly(n_keys, n_values, fraction, seed):
    # Drawing pairs needs no rules of programs.
    settings = BenchmarkSettings.model_construct(
        n_keys=n_keys, n_values=n_values, seed=seed, heldout_pair_fraction=fraction
    )
    pairs = draw_heldout_pairs(settings)
    assert len(set(pairs)) == len(pairs) == round(fraction * n_keys * n_values)
    assert list(pairs) == sorted(pairs)
    by_key = Counter(key for key, _ in pairs)
    by_value = Counter(value for _, value in pairs)
    assert max(by_key.values()) - min(by_key[key] for key in range(n_keys)) <= 1
    assert max(by_value.values()) - min(by_value[value] for value in range(n_values)) <= 1


def test_a_counterfactual_differs_from_its_source_in_one_write_and_its_answers(base):
    sources = dict(
        zip(base.splits["test_iid"]["sample_id"], programs(base, "test_iid"), strict=True)
    )
    twins = base.splits["counterfactual"]
    assert twins["source_id"].is_unique
    for row, twin in zip(twins.to_dict("records"), programs(base, "counterfactual"), strict=True):
        source = sources[row["source_id"]]
        changes = [(a, b) for a, b in zip(source, twin, strict=True) if a != b]
        assert all(a[:2] == b[:2] for a, b in changes), "only values change"
        assert len({(a.value, b.value) for a, b in changes}) == 1, "one value by one other"
        written = [(a, b) for a, b in changes if a.op == "W"]
        assert len(written) == 1
        assert len(changes) > 1, "an answer depends on it"
        write = [event for event in source if event.op == "W"][row["changed_write"]]
        assert write == written[0][0]
        assert written[0][1].value not in {event.value for event in source}


def test_the_same_settings_give_the_same_benchmark(small):
    again = build_benchmark(BenchmarkSettings.model_validate(SMALL))
    other = build_benchmark(BenchmarkSettings.model_validate(changed(SMALL, {"seed": 21})))
    assert again.heldout_pairs == small.heldout_pairs != other.heldout_pairs
    for split in SPLITS:
        pd.testing.assert_frame_equal(again.splits[split], small.splits[split])
        assert not set(map(bytes, other.splits[split]["tokens"])) & set(
            map(bytes, small.splits[split]["tokens"])
        )


def test_more_samples_leave_the_earlier_ones_of_the_split_as_they_are(small):
    """Samples have names, so growing a split is not drawing another benchmark."""
    more = build_benchmark(
        BenchmarkSettings.model_validate(changed(SMALL, {"in_distribution.samples.train": 150}))
    )
    pd.testing.assert_frame_equal(more.splits["train"].iloc[:120], small.splits["train"])


CROWDED = changed(
    TINY,
    {
        "n_keys": 2,
        "n_values": 8,
        "heldout_pair_fraction": 0.25,
        "in_distribution.active_keys": 2,
        "in_distribution.overwrites": 2,
        "in_distribution.reads": 1,
        "in_distribution.query_lag": 1,
        "structural_ood.active_keys": 2,
        "structural_ood.overwrites": 3,
        "structural_ood.reads": 1,
        "structural_ood.query_lag": 1,
        "in_distribution.samples.heldout_pairs": 2,
        "probes.programs_per_split": 1,
    },
)


def test_repeated_programs_are_drawn_again():
    """Two held-out values per key: few latent programs, all found before it is refused."""
    seen = set()
    for samples in (2, 4, 8):
        raw = changed(CROWDED, {"in_distribution.samples.heldout_pairs": samples})
        benchmark = build_benchmark(BenchmarkSettings.model_validate(raw))
        seen = {
            tuple(e.value for e in p if e.op == "W") for p in programs(benchmark, "heldout_pairs")
        }
        assert len(seen) == samples
    # Two keys in either order, and for each two values in either order: 2 · 2 · 2 programs.
    with pytest.raises(BenchmarkError) as caught:
        build_benchmark(
            BenchmarkSettings.model_validate(
                changed(CROWDED, {"in_distribution.samples.heldout_pairs": 9})
            )
        )
    assert str(caught.value) == (
        "every program that was drawn occurs already — where: heldout_pairs sample 8"
        " — expected: more different programs than samples"
        " — what to do: lower the samples of the splits, or raise n_keys, n_values or overwrites"
    )


@settings(max_examples=25)
@given(
    n_keys=st.integers(2, 5),
    n_values=st.integers(20, 40),
    fraction=st.floats(0.25, 0.35),
    seed=st.integers(0, 2**32),
    overwrites=st.integers(4, 6),
    lag=st.sampled_from([1, [1, 2]]),
)
def test_any_feasible_benchmark_obeys_the_rules(n_keys, n_values, fraction, seed, overwrites, lag):
    raw = changed(
        TINY,
        {
            "n_keys": n_keys,
            "n_values": n_values,
            "heldout_pair_fraction": fraction,
            "seed": seed,
            "in_distribution.active_keys": [2, min(n_keys, 3)],
            "in_distribution.overwrites": overwrites,
            "in_distribution.reads": [1, overwrites - 1],
            "in_distribution.query_lag": 1 if n_keys == 2 else lag,
            "structural_ood.active_keys": n_keys,
            "structural_ood.overwrites": [5, 7],
            "structural_ood.reads": [2, 4],
            "structural_ood.query_lag": 1 if n_keys == 2 else [1, 2],
        },
    )
    settings = BenchmarkSettings.model_validate(raw)
    check_feasible(settings)
    benchmark = build_benchmark(settings)
    heldout = set(benchmark.heldout_pairs)
    for split in SPLITS:
        assert len(benchmark.splits[split]) == benchmark.settings.samples(split)
        for program in programs(benchmark, split):
            check_rules(program, benchmark.settings.rules(split))
            inside = [(event.key, event.value) in heldout for event in program]
            assert all(inside) if split == "heldout_pairs" else not any(inside)
            assert 3 * len(program) + 2 <= benchmark.settings.max_length


def test_quickstart_settings_build():
    """At full size, since its world is the smallest that is meant for use."""
    benchmark = build_benchmark(BenchmarkSettings.model_validate(QUICKSTART_KV))
    assert sum(map(len, benchmark.splits.values())) == 18560
