"""Writing a benchmark to disk, in one go and with equal bytes for equal settings.

1. Audit the benchmark; a violation writes nothing.
2. Draw the probe set and the pairs.
3. Write the tables and the audit, then ``metadata.json`` with the digests of all tables. It is
   taken away first and comes last, so it never vouches for tables that it does not describe.

:mod:`circuit.task.store` describes the files and reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuit.artifacts import content_sha256, write_json, write_rows, write_text
from circuit.config.benchmark import SPLITS
from circuit.task.audit import audit
from circuit.task.audit_report import audit_json, audit_markdown
from circuit.task.benchmark import Benchmark
from circuit.task.pairs import build_pairs
from circuit.task.probes import build_probe_set
from circuit.task.store import (
    FORMAT,
    TABLES,
    BenchmarkMetadata,
    benchmark_digest,
    load_metadata,
    load_split,
    table_path,
)

_SLICE_UNITS = {
    "active_keys": "1",
    "writes_since_support": "1",
    "tokens_since_support": "token",
    "slot_after_write": "1",
}
_SPLIT_UNITS = {
    "changed_write": "id",
    "active_keys": "1",
    "overwrites": "1",
    "reads": "1",
    "length": "token",
    "tokens": "id",
    "answers": "id",
}
_PROBE_UNITS = {
    "read_index": "id",
    "tokens": "id",
    "prediction": "token",
    "answer": "id",
    **_SLICE_UNITS,
}
_PAIR_UNITS = {
    "read_index": "id",
    "prediction": "token",
    "clean_answer": "id",
    "corrupted_answer": "id",
    "changed_positions": "token",
    "clean_tokens": "id",
    "corrupted_tokens": "id",
}


def write_benchmark(directory: str | Path, benchmark: Benchmark) -> BenchmarkMetadata:
    """Audit a benchmark, draw its probe set and pairs, and write all files.

    Raises:
        BenchmarkError: the audit fails, or a kind of pairs cannot be built; nothing is written.
    """
    folder = Path(directory)
    report = audit(benchmark)
    probes = build_probe_set(benchmark)
    pairs = build_pairs(benchmark)

    # Until the new metadata are there, old ones must not vouch for new tables.
    (folder / "metadata.json").unlink(missing_ok=True)
    for split in SPLITS:
        what = f"one program of split {split}"
        write_rows(table_path(folder, split), benchmark.splits[split], _SPLIT_UNITS, what)
    write_rows(
        table_path(folder, "probes"), probes, _PROBE_UNITS, "one read event of the probe set"
    )
    write_rows(table_path(folder, "pairs"), pairs.pairs, _PAIR_UNITS, "one clean/corrupted pair")
    write_rows(
        table_path(folder, "pairs_skipped"), pairs.skipped, {"count": "1"}, "reads without a pair"
    )
    write_json(folder / "audit.json", audit_json(report, pairs))
    write_text(folder / "audit.md", audit_markdown(benchmark, report, pairs))

    files = {table: content_sha256(table_path(folder, table)) for table in TABLES}
    write_json(folder / "metadata.json", _metadata(benchmark, files))
    return load_metadata(folder)


def load_benchmark(directory: str | Path) -> Benchmark:
    """Read a whole benchmark back, every split verified.

    Raises:
        ArtifactError: a file is missing or damaged.
        BenchmarkError: a file is not the one that the metadata describe.
    """
    folder = Path(directory)
    metadata = load_metadata(folder)
    splits = {split: load_split(table_path(folder, split)) for split in SPLITS}
    return Benchmark(metadata.settings, metadata.vocabulary, metadata.heldout_pairs, splits)


def _metadata(benchmark: Benchmark, files: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of ``metadata.json``."""
    return {
        "format": FORMAT,
        "settings": benchmark.settings.model_dump(mode="json"),
        "vocabulary": {
            "n_keys": benchmark.vocabulary.n_keys,
            "n_values": benchmark.vocabulary.n_values,
            "size": benchmark.vocabulary.size,
            "tokens": benchmark.vocabulary.tokens,
        },
        "heldout_pairs": benchmark.heldout_pairs,
        "counts": {
            split: {
                "programs": len(frame),
                "reads": int(frame["reads"].sum()),
                "tokens": int(frame["length"].sum()),
                "longest": int(frame["length"].max()),
            }
            for split, frame in benchmark.splits.items()
        },
        "files": files,
        "digest": benchmark_digest(files),
    }
