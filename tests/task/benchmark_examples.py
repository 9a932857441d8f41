"""Benchmarks that several tests use, as a YAML reader would hand them over."""

import copy
from typing import Any

SYMBOLIC_KV_BASE: dict[str, Any] = {
    "n_keys": 8,
    "n_values": 128,
    "seed": 20,
    "in_distribution": {
        "samples": {"train": 8000, "validation_iid": 1024, "test_iid": 1024, "heldout_pairs": 1024},
        "active_keys": [2, 3],
        "overwrites": 8,
        "reads": [6, 7],
        "query_lag": [1, 2],
    },
    "structural_ood": {
        "samples": 1024,
        "active_keys": [4, 5],
        "overwrites": [10, 12],
        "reads": [8, 10],
        "query_lag": [2, 3],
    },
    "counterfactual": {"samples": 1024},
    "heldout_pair_fraction": 0.1,
    "frequency_ceiling": 0.4,
    "probes": {"programs_per_split": 96, "seed": 0},
    "pairs": {"pairs_per_kind": 96, "split": "test_iid", "seed": 0},
}

QUICKSTART_KV: dict[str, Any] = {
    "n_keys": 4,
    "n_values": 32,
    "seed": 20,
    "in_distribution": {
        "samples": {"train": 16000, "validation_iid": 512, "test_iid": 512, "heldout_pairs": 512},
        "active_keys": [2, 3],
        "overwrites": 6,
        "reads": [4, 5],
        "query_lag": [1, 2],
    },
    "structural_ood": {
        "samples": 512,
        "active_keys": [3, 4],
        "overwrites": [7, 8],
        "reads": [4, 5],
        "query_lag": [2, 3],
    },
    "counterfactual": {"samples": 512},
    "heldout_pair_fraction": 0.2,
}


def changed(example: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `example` with values replaced at dotted paths."""
    result = copy.deepcopy(example)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return result


SMALL = changed(
    QUICKSTART_KV,
    {
        "in_distribution.samples": {
            "train": 120,
            "validation_iid": 30,
            "test_iid": 60,
            "heldout_pairs": 30,
        },
        "structural_ood.samples": 30,
        "counterfactual.samples": 40,
        "probes": {"programs_per_split": 12},
        "pairs": {"pairs_per_kind": 12},
    },
)
"""The quickstart's world with few programs."""
