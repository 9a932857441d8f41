"""A study small enough to run inside a test, and the workflow around it as a user would call it.

Two layers of width 16 learn nothing in forty steps; what is tested is which files appear, from
what, and what recomputes them. Every kind of analysis is there once.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import warm
import yaml

PROJECT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "rules", "src", "profiles", "envs", "report")

BENCHMARK: dict[str, Any] = {
    "n_keys": 4,
    "n_values": 32,
    "seed": 20,
    "in_distribution": {
        "samples": {"train": 200, "validation_iid": 32, "test_iid": 48, "heldout_pairs": 32},
        "active_keys": [2, 3],
        "overwrites": 6,
        "reads": [4, 5],
        "query_lag": [1, 2],
    },
    "structural_ood": {
        "samples": 32,
        "active_keys": [3, 4],
        "overwrites": [7, 8],
        "reads": [4, 5],
        "query_lag": [2, 3],
    },
    "counterfactual": {"samples": 32},
    "heldout_pair_fraction": 0.2,
    "probes": {"programs_per_split": 24},
    "pairs": {"pairs_per_kind": 12},
}
RECIPE: dict[str, Any] = {
    "model": {
        "n_layers": 2,
        "n_heads": 4,
        "d_model": 16,
        "d_ff": 32,
        "context": 64,
        "initialisation": "gpt2",
    },
    "optimizer": {"learning_rate": 0.002, "warmup_steps": 5},
    "batch_size": 8,
    "steps": 40,
    "checkpoint_every": 10,
}
_WINNER = {"scalar": "qk_separation", "head": "winner"}
TINY: dict[str, Any] = {
    "benchmarks": {"tiny_kv": BENCHMARK, "other_kv": {**copy.deepcopy(BENCHMARK), "seed": 21}},
    "recipes": {
        "tiny": RECIPE,
        "sparse": {"base": "tiny", "checkpoint_every": 20},
        "other": copy.deepcopy(RECIPE),
    },
    "studies": {
        "quickstart": {
            "title": "A tiny study",
            "benchmark": "tiny_kv",
            "focus": "seed7",
            "runs": {
                "seed7": {"recipe": "tiny", "seed": 7},
                "seed7_sparse": {"recipe": "sparse", "seed": 7},
                "seed11": {"recipe": "tiny", "seed": 11},
            },
            "windows": {"formation": [10, 30]},
            "replay": {"segments_per_job": 1},
            "analyses": {
                "dataset": {"kind": "dataset_geometry"},
                "behaviour": {"kind": "checkpoint_sweep", "programs": 16},
                "births": {"kind": "birth_windows", "runs": ["seed7"], "sweep": "behaviour"},
                "compare": {
                    "kind": "birth_window_compare",
                    "runs": ["seed7"],
                    "window": "births.main",
                },
                "reference_model": {
                    "kind": "reference_model",
                    "runs": ["seed7_sparse"],
                    "sweep": "behaviour",
                },
                "full_evaluation": {
                    "kind": "full_evaluation",
                    "runs": ["seed7"],
                    "sweep": "behaviour",
                },
                "head_scan": {"kind": "head_scan", "runs": ["seed7", "seed11"], "rank": 2},
                "attention": {
                    "kind": "attention_geometry",
                    "runs": ["seed7"],
                    "heads": "head_scan",
                    "pictures": 2,
                },
                "paths": {"kind": "path_logits", "runs": ["seed7"], "top": 3},
                "circuit": {"kind": "circuit_map", "runs": ["seed7"], "paths": "mediation"},
                "effects": {
                    "kind": "component_effects",
                    "runs": ["seed7"],
                    "checkpoints": [0, "final"],
                    "neurons": {"some": ["L0N3", "L1N7"]},
                    "groups": {"both": ["L1H0", "some"]},
                    "draws": 20,
                },
                "mediation": {"kind": "mediation", "runs": ["seed7"]},
                "hypothesis": {
                    "kind": "hypothesis_test",
                    "runs": ["seed7"],
                    "heads": "head_scan",
                    "checkpoints": [0, "final"],
                    "circuit": {
                        "nodes": {"winner": ["prediction"]},
                        "edges": ["embedding -> winner", "winner -> answer"],
                    },
                    "splits": ["validation_iid"],
                    "draws": 20,
                },
                "intervention": {
                    "kind": "intervention",
                    "runs": ["seed7"],
                    "checkpoints": [0, "final"],
                    "pairs": ["support_value", "distractor"],
                    "roles": ["prediction"],
                    "drawn": ["prediction"],
                    "sites": ["stages", "heads.pattern", "neurons.some"],
                    "neurons": {"some": ["L0N3", "L1N7"]},
                    "stages": ["layer_0_post_mlp"],
                    "subspaces": {"value": {"subspace": "embedding_value_identity", "ranks": [2]}},
                    "doses": [0.5],
                    "programs": 32,
                    "draws": 20,
                },
                "qk_parts": {
                    "kind": "qk_features",
                    "runs": ["seed7"],
                    "heads": "head_scan",
                    "parts": "neurons",
                    "members": 2,
                    "top": 3,
                },
                "coalitions": {
                    "kind": "coalitions",
                    "runs": ["seed7"],
                    "candidates": {
                        "looking": {"scalar": "qk_separation", "head": "L1H0"},
                        "copying": {
                            "scalar": "ov_value_margin",
                            "head": "L1H0",
                            "competitor": "mean",
                        },
                    },
                    "checkpoints": [0, "final"],
                    "path_rule": "trapezoid",
                    "draws": 20,
                    "top": 2,
                },
                "value_code": {
                    "kind": "value_code",
                    "runs": ["seed7"],
                    "checkpoints": [0, "final"],
                    "removed": ["layer_0_post_mlp"],
                    "ranks": [2, 8],
                    "programs": 32,
                    "draws": 20,
                },
                "value_transfer": {
                    "kind": "value_transfer",
                    "runs": ["seed7"],
                    "source": "layer_0_post_mlp",
                    "target": "layer_1_post_attn",
                    "checkpoints": [0, "final"],
                    "rank": 4,
                    "programs": 32,
                    "draws": 20,
                },
                "rescue": {
                    "kind": "rescue",
                    "runs": ["seed7"],
                    "checkpoints": [0, "final"],
                    "sources": {"first": ["L0H1"]},
                    "groups": {"both": ["L1H0", "L1MLP"]},
                },
                "competition": {
                    "kind": "candidates",
                    "runs": ["seed7"],
                    "window": "formation",
                    "candidates": {
                        "qk": {"scalar": "qk_separation", "head": "every"},
                        "answer": {"scalar": "correct_value_logit"},
                    },
                    "families": {"dictionary": "features"},
                    "train_programs": 16,
                },
                "prompt": {"kind": "prompt_trace", "runs": ["seed7"], "event": 1},
                "weights": {
                    "kind": "weight_svd",
                    "runs": ["seed7"],
                    "births": "births",
                    "top": 2,
                    "baseline_draws": 4,
                },
                "embeddings": {
                    "kind": "embedding_alignment",
                    "runs": ["seed7"],
                    "heads": "head_scan",
                    "rank": 2,
                    "draws": 20,
                },
                "updates": {
                    "kind": "update_geometry",
                    "runs": ["seed7"],
                    "heads": "head_scan",
                    "window": "formation",
                    "top": 1,
                    "draws": 20,
                },
                "contextual": {
                    "kind": "contextual_geometry",
                    "runs": ["seed7"],
                    "heads": "head_scan",
                    "programs": 32,
                    "rank": 2,
                    "draws": 4,
                },
                "optimizer_trace": {
                    "kind": "optimizer_trace",
                    "runs": ["seed7"],
                    "window": "formation",
                },
                "attribution": {
                    "kind": "update_attribution",
                    "runs": ["seed7", "seed11"],
                    "window": "formation",
                    "heads": "head_scan",
                    "scalars": {
                        "qk_separation": {**_WINNER},
                        "qk_separation_rank2": {**_WINNER, "rank": 2},
                    },
                    "events": 8,
                    "groupings": {"circuit": {"look_up": ["winner.q", "winner.k"]}},
                    "groups": ["head_projection", "circuit"],
                    "summed_groups": ["neuron", "layer/head"],
                },
                "between": {
                    "kind": "update_attribution",
                    "runs": ["seed7"],
                    "update": "checkpoint_difference",
                    "window": [0, 40],
                    "heads": "head_scan",
                    "scalars": {
                        "qk_separation": {**_WINNER},
                        "active": {
                            "scalar": "feature_score",
                            "dictionary": "features",
                            "features": [0, 1],
                            "role": "prediction",
                        },
                    },
                    "path_rule": "gauss_8",
                    "comparators": [],
                    "events": 8,
                },
                "data": {
                    "kind": "data_attribution",
                    "runs": ["seed7"],
                    "window": "formation",
                    "heads": "head_scan",
                    "scalars": {"qk_separation": {**_WINNER}},
                    "events": 8,
                    "data": "lag",
                    "memory": 5,
                    "programs": 16,
                },
                "progress": {
                    "kind": "scalar_progress",
                    "runs": ["seed7"],
                    "heads": "head_scan",
                    "shuffles": 2,
                },
                "write": {
                    "kind": "functional_write",
                    "runs": ["seed7"],
                    "heads": "head_scan",
                    "writes": {
                        "looked_up": {
                            "scalar": "functional_write",
                            "head": "winner",
                            "stage": "layer_1_post_mlp",
                            "role": "prediction",
                        }
                    },
                    "rank": 2,
                    "programs": 24,
                },
                "features": {
                    "kind": "dictionary",
                    "runs": ["seed7"],
                    "stage": "layer_0_post_attn",
                    "programs": 32,
                    "size": 16,
                    "steps": 40,
                    "seeds": 2,
                    "draws": 4,
                },
                "causes": {
                    "kind": "feature_causes",
                    "runs": ["seed7"],
                    "window": "formation",
                    "heads": "head_scan",
                    "scalars": {
                        "born": {
                            "scalar": "feature_drive",
                            "dictionary": "features",
                            "features": "every",
                            "role": "prediction",
                        },
                    },
                    "events": 8,
                    "top": 2,
                    "groups": ["module"],
                },
                "feature_births": {
                    "kind": "feature_births",
                    "runs": ["seed7"],
                    "stage": "layer_0_post_attn",
                    "checkpoints": [0, 20, "final"],
                    "programs": 16,
                    "size": 16,
                    "active": 4.0,
                    "steps": 30,
                    "batch_size": 32,
                    "draws": 4,
                },
                "families": {
                    "kind": "families",
                    "runs": ["seed7"],
                    "dictionaries": ["features"],
                    "roles": ["prediction"],
                    "checkpoints": [0, "final"],
                    "earlier": 0,
                    "programs": 32,
                    "candidates": 6,
                    "agreement": 0.9,
                    "bootstraps": 10,
                    "families": 2,
                    "draws": 10,
                },
                "examples": {
                    "kind": "example_gradients",
                    "runs": ["seed7"],
                    "heads": "head_scan",
                    "checkpoints": [0, "final"],
                    "reads": 16,
                    "memory_mb": 16,
                    "routes": {
                        "looking": {**_WINNER},
                        "answer": {"scalar": "correct_value_logit"},
                    },
                },
                "early": {
                    "kind": "route_features",
                    "runs": ["seed7", "seed11"],
                    "cutoffs": [0, 10],
                    "route": {"scalar": "qk_separation", "head": "every"},
                    "train_programs": 16,
                    "chunks": 2,
                },
                "foretold": {
                    "kind": "foretold",
                    "runs": ["seed7", "seed11"],
                    "features": "early",
                    "scan": "head_scan",
                },
                "closure": {
                    "kind": "closure",
                    "runs": ["seed7"],
                    "heads": "head_scan",
                    "window": [0, 40],
                    "outcomes": {"correct_value_logit": {"scalar": "correct_value_logit"}},
                    "routes": {
                        "qk_separation": {**_WINNER},
                        "ov_value_margin": {"scalar": "ov_value_margin", "head": "winner"},
                    },
                    "folds": 3,
                },
                "cross_seed": {
                    "kind": "cross_seed",
                    "runs": ["seed7", "seed11"],
                    "sweep": "behaviour",
                    "scan": "head_scan",
                    "attribution": "attribution",
                    "scalar": "qk_separation",
                },
            },
        },
        # Shares nothing with the study above, and no test runs it.
        "other": {
            "title": "Another study",
            "benchmark": "other_kv",
            "focus": "alone",
            "runs": {"alone": {"recipe": "other", "seed": 1}},
            "analyses": {"head_scan": {"kind": "head_scan", "rank": 2}},
        },
    },
}
ABSENT = object()
"""As a value in :func:`changed`: take the key away."""


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with other values at dotted paths."""
    result = copy.deepcopy(dict(config))
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = result
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is ABSENT:
            del place[last]
        else:
            place[last] = copy.deepcopy(value)
    return result


class Tree:
    """A folder with the workflow's files, a configuration of its own and maybe results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def new(folder: Path, config: Mapping[str, Any] = TINY) -> Tree:
        """The project's workflow in an empty folder; file times are the originals'."""
        folder.mkdir(parents=True, exist_ok=True)
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        for part in PARTS:
            source = PROJECT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=ignore)
            else:
                shutil.copy2(source, folder / part)
        tree = Tree(folder)
        tree.configure(config)
        return tree

    def copy(self, folder: Path) -> Tree:
        """A copy with its results, which Snakemake finds as finished as here."""
        shutil.copytree(self.folder, folder, symlinks=True)  # copies file times
        return Tree(folder)

    def path(self, name: str) -> Path:
        """A file of the tree."""
        return self.folder / name

    def configure(self, config: Mapping[str, Any]) -> None:
        """Write the configuration."""
        text = yaml.safe_dump(dict(config), sort_keys=False)
        self.path("workflow_config.yaml").write_text(text)

    def command(self, *arguments: str) -> list[str]:
        """The command line of a call of snakemake."""
        return [sys.executable, "-m", "snakemake", "--nocolor", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment without settings of Snakemake's own."""
        return {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE_")}

    def call(self, *arguments: str, typed: bool = False) -> subprocess.CompletedProcess[str]:
        """Call snakemake; stdout and stderr come together, as on a screen.

        ``typed``: by its command line, instead of by a process that has loaded it (``warm.py``).
        """
        with TemporaryFile("w+") as output:
            if typed:
                command = self.command(*arguments)
                where = {"cwd": self.folder, "env": self.environment}
                status = subprocess.call(command, stdout=output, stderr=output, **where)
            else:
                command = ["--nocolor", *arguments]
                status = warm.call(self.folder, command, self.environment, output)
            output.seek(0)
            return subprocess.CompletedProcess(command, status, output.read())

    def run(self, *arguments: str, cores: int = 1) -> str:
        """Call snakemake for real; it must succeed."""
        done = self.call("--cores", str(cores), *arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def dry_run(self, *targets: str, typed: bool = False) -> str:
        """What ``snakemake -n`` prints; it must succeed."""
        done = self.call("-n", *targets, typed=typed)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *targets: str) -> dict[str, int]:
        """Rules that would run, with the number of jobs of each."""
        return jobs_in(self.dry_run(*targets))


def dry_runs(calls: Sequence[tuple[Tree, Sequence[str]]]) -> list[str]:
    """What ``snakemake -n`` prints for each tree and its targets, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda one: one[0].call("-n", *one[1]).stdout, calls))


def jobs_in(text: str) -> dict[str, int]:
    """The table of jobs in a dry run's output: rule → count, the study's own target left out."""
    if "Nothing to be done" in text:
        return {}
    table = text.rpartition("Job stats:")[2]
    rows = re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)
    assert rows[-1][0] == "total", text
    return {rule: int(count) for rule, count in rows[:-1] if rule != "quickstart"}
