"""Figures of the data, drawn from a small benchmark of two splits."""

from functools import lru_cache

from circuit.config.benchmark import BenchmarkSettings
from circuit.measures.dataset import DatasetTables, dataset_geometry
from circuit.reports import figures_dataset, figures_events
from circuit.task.benchmark import build_benchmark

SETTINGS = {
    "n_keys": 4,
    "n_values": 32,
    "seed": 3,
    "in_distribution": {
        "samples": dict.fromkeys(("train", "validation_iid", "test_iid", "heldout_pairs"), 60),
        "active_keys": [2, 3],
        "overwrites": 5,
        "reads": [3, 4],
        "query_lag": [1, 2],
    },
    "structural_ood": {
        "samples": 30,
        "active_keys": 4,
        "overwrites": 6,
        "reads": 5,
        "query_lag": [2, 3],
    },
    "counterfactual": {"samples": 30},
    "heldout_pair_fraction": 0.25,
    "probes": {"programs_per_split": 8},
    "pairs": {"pairs_per_kind": 4},
}


@lru_cache(maxsize=1)
def tables() -> DatasetTables:
    b = build_benchmark(BenchmarkSettings.model_validate(SETTINGS))
    return dataset_geometry(b.splits, b.vocabulary, b.heldout_pairs)


DRAW = {
    "split_axes": lambda p: figures_dataset.split_axes(
        tables().rows, "second_last_written_value", p
    ),
    "distractors": lambda p: figures_dataset.distractors(tables().histograms, p),
    "event_graph": lambda p: figures_events.event_graph(tables().graph, tables().rows, p),
    "pair_matrix": lambda p: figures_events.pair_matrix(tables().pairs, tables().overlaps, p),
}
SAYS = {
    "split_axes": [
        "n = 30–60 programs",
        "95% intervals over programs",
        "all comparisons taken together",
        "query lag",
        "active keys",
        "structural_ood",
        "% of reads",
        "shortcut: second",
    ],
    "distractors": ["reads per split", "stale distractors", "writes before the read", "Grey steps"],
    "event_graph": [
        "overwrite: 5 per program",
        "other key write",
        "distance (tokens)",
        "are of train",
        "n = 30–60 programs",
    ],
    "pair_matrix": ["answers per 1,000 reads", "32 pairs are held out", "Shared pairs", "100%"],
}
