"""A damaged or foreign file stops the job that reads it, by name; what the message says helps."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_study import BENCHMARK, TINY, Tree, changed

from circuit.artifacts import (
    content_sha256,
    read_json,
    read_rows,
    read_units,
    sha256_file,
    write_json,
    write_rows,
)
from circuit.config.benchmark import BenchmarkSettings
from circuit.task.benchmark import build_benchmark
from circuit.task.publish import write_benchmark

RUN = "results/quickstart/seed7"
CHECKPOINT = f"{RUN}/train/checkpoints/step_000020.safetensors"
SCAN = f"{RUN}/head_scan/rows.parquet"


def error_of(tree: Tree, *arguments: str) -> str:
    """The one message of a call that must fail without a traceback."""
    done = tree.call("--cores", "1", *arguments)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout
    said = set(re.findall(r"^ *error: (.*)$", done.stdout, flags=re.MULTILINE))
    assert len(said) == 1, done.stdout  # shown as it happens, and once more with the log
    return said.pop()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-50] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip])
def test_damaged_checkpoint(copied: Tree, damage: Callable[[Path], None]) -> None:
    recorded = sha256_file(copied.path(CHECKPOINT))
    damage(copied.path(CHECKPOINT))
    found = sha256_file(copied.path(CHECKPOINT))
    before = copied.path(SCAN).read_bytes()

    assert error_of(copied, SCAN) == (
        "checkpoint is damaged or was replaced: its digest differs from the manifest's — where: "
        f"{CHECKPOINT} — expected: SHA-256 {recorded[:12]}…, found {found[:12]}… — what to do: "
        "delete the file and run snakemake again; training remakes the same bytes"
    )
    assert not copied.path(SCAN).exists()  # what cannot be vouched for is gone

    if damage is flip:
        copied.path(CHECKPOINT).unlink()
        copied.run(SCAN)
        assert sha256_file(copied.path(CHECKPOINT)) == recorded
        assert copied.path(SCAN).read_bytes() == before


@pytest.mark.slow
def test_manifest_that_names_a_checkpoint_that_is_not_there(copied: Tree) -> None:
    manifest = copied.path(f"{RUN}/train/manifest.json")
    record = read_json(manifest)
    record["checkpoints"][2]["file"] = "checkpoints/step_000021.safetensors"
    write_json(manifest, record)
    assert error_of(copied, SCAN) == (
        f"checkpoint is missing — where: {RUN}/train/checkpoints/step_000021.safetensors — "
        f"expected: the checkpoint with SHA-256 {record['checkpoints'][2]['sha256'][:12]}… — what "
        "to do: run snakemake again to remake it by training, or restore the file"
    )


def test_benchmark_of_another_run(copied: Tree) -> None:
    settings = BenchmarkSettings.model_validate({**BENCHMARK, "seed": 21})
    recorded = read_json(copied.path("data/tiny_kv/metadata.json"))["digest"]
    found = write_benchmark(copied.path("data/tiny_kv"), build_benchmark(settings)).digest
    # Let go, Snakemake would see the new files and train the run again.
    assert error_of(copied, "--force", "--allowed-rules", "head_scan", "--", SCAN) == (
        "wrong benchmark for run seed7 — where: data/tiny_kv — expected: benchmark tiny_kv with "
        f"digest {recorded[:12]}…, found {found[:12]}… — what to do: use the benchmark the run was "
        "trained on, or train the run again"
    )


def test_table_that_the_metadata_do_not_describe(copied: Tree) -> None:
    """Exchanged for another table, and with fewer rows than the metadata know."""
    table, pairs = copied.path("data/tiny_kv/probes.parquet"), "data/tiny_kv/pairs.parquet"
    own, rows, units = content_sha256(table), read_rows(table), read_units(table)
    table.write_bytes(copied.path(pairs).read_bytes())
    assert error_of(copied, SCAN) == (
        "probes.parquet is not the file that metadata.json describes (sha256 "
        f"{content_sha256(table)[:12]}…) — where: data/tiny_kv/probes.parquet — expected: sha256 "
        f"{own[:12]}… — what to do: delete the benchmark's directory and let snakemake make "
        "it again"
    )
    write_rows(table, rows.iloc[:-1], units)
    assert "is not the file that metadata.json describes" in error_of(copied, SCAN)


def test_pairs_that_cannot_be_built(fresh: Callable[..., Tree]) -> None:
    """Two keys of four held-out values, each written four times: no value is left to swap in."""
    tree = fresh(
        changed(
            TINY,
            {
                "benchmarks.tiny_kv.in_distribution.active_keys": 2,
                "benchmarks.tiny_kv.in_distribution.query_lag": 1,
                "benchmarks.tiny_kv.heldout_pair_fraction": 0.125,
                "benchmarks.tiny_kv.pairs.split": "heldout_pairs",
            },
        )
    )
    text = error_of(tree, "data/tiny_kv/metadata.json")
    assert text.startswith(
        "no pair of kind support_value can be built from split heldout_pairs — where: pairs.split "
        "— expected: a split with a read that allows it; skipped were "
    )
    assert text.endswith(
        "(no_unused_value) — what to do: choose another pairs.split, or raise its samples or "
        "n_values"
    )
    assert list(tree.path("data").rglob("*.*")) == []
