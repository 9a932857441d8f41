"""Which pairs are written and answered, and that held-out ones never meet train."""

import pandas as pd
from benchmark_examples import SMALL, changed
from hypothesis import given, settings
from hypothesis import strategies as st
from program_words import VOCABULARY, frame

from circuit.config.benchmark import BenchmarkSettings
from circuit.task.benchmark import build_benchmark
from circuit.task.demands import split_demands
from circuit.task.pair_counts import overlap_table, pair_table

TINY = changed(
    SMALL,
    {
        "in_distribution.samples": dict.fromkeys(
            ("train", "validation_iid", "test_iid", "heldout_pairs"), 8
        ),
        "structural_ood.samples": 8,
        "counterfactual.samples": 8,
        "probes": {"programs_per_split": 8},
        "pairs": {"pairs_per_kind": 1},
    },
)


def tables(splits, vocabulary=VOCABULARY, heldout=()):
    demands = {name: split_demands(split, vocabulary) for name, split in splits.items()}
    pairs = pair_table(demands, vocabulary, heldout)
    return pairs, overlap_table(pairs)


def test_counts_and_overlaps_by_hand():
    splits = {
        "train": frame(
            "W K00 V000 W K01 V001 R K00 V000 R K01 V001", "W K00 V000 R K00 V000 R K00 V000"
        ),
        "test_iid": frame("W K00 V000 W K02 V005 R K02 V005", "W K01 V001 R K01 V001"),
    }
    pairs, overlaps = tables(splits, heldout=[(3, 7)])
    assert len(pairs) == 2 * 4 * 32
    seen = pairs[(pairs["writes"] > 0) | (pairs["answers"] > 0)].drop(columns="heldout")
    assert seen.to_numpy().tolist() == [
        ["train", 0, 0, 2, 3],
        ["train", 1, 1, 1, 1],
        ["test_iid", 0, 0, 1, 0],
        ["test_iid", 1, 1, 1, 1],
        ["test_iid", 2, 5, 1, 1],
    ]
    held = pairs[pairs["heldout"]]
    assert held[["key", "value"]].to_numpy().tolist() == [[3, 7], [3, 7]]
    at = overlaps.set_index(["split", "other", "of"])
    answers = at.loc[("test_iid", "train", "answers")]
    assert answers.to_list() == [2, 1, 1 / 3, 1 / 2, 1 / 2, 2]
    back = at.loc[("train", "test_iid", "answers")]
    assert back.to_list() == [2, 1, 1 / 3, 1 / 2, 1 / 4, 4]
    writes = at.loc[("test_iid", "train", "writes")]
    assert writes.to_list() == [3, 2, 2 / 3, 2 / 3, 2 / 3, 3]
    assert at.loc[("train", "train", "answers"), "jaccard"] == 1


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), fraction=st.floats(0.15, 0.4))
def test_heldout_pairs_never_overlap_train(seed, fraction):
    asked = changed(TINY, {"seed": seed, "heldout_pair_fraction": fraction})
    benchmark = build_benchmark(BenchmarkSettings.model_validate(asked))
    pairs, overlaps = tables(benchmark.splits, benchmark.vocabulary, benchmark.heldout_pairs)
    at = overlaps.set_index(["split", "other"])
    between = pd.concat(
        [at.loc[[("heldout_pairs", "train")]], at.loc[[("train", "heldout_pairs")]]]
    )
    shared = ["shared", "jaccard", "share_of_pairs", "share_of_events"]
    assert (between[shared].to_numpy() == 0).all()
    assert between["pairs"].min() > 0
    used = pairs[(pairs["writes"] > 0) | (pairs["answers"] > 0)]
    assert (used["heldout"] == (used["split"] == "heldout_pairs")).all()
