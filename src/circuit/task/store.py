"""Reading a benchmark's directory, ``data/{benchmark}/``, and the layout of its files.

    {split}.parquet         six files, one program a row
    probes.parquet          the frozen probe set
    pairs.parquet           clean/corrupted pairs
    pairs_skipped.parquet   how many reads gave no pair, by kind and reason
    metadata.json           settings, vocabulary, held-out pairs, counts, digests
    audit.json              the audit, for machines
    audit.md                the audit, for people

``metadata.json`` holds the SHA-256 of what every table holds, and a digest of the benchmark over
those of the six splits. Reading a table compares its digest first, so a file of another benchmark,
or a damaged one, is refused by name. Files are written by :mod:`circuit.task.publish`, apart from
here so that what only reads a benchmark does not depend on the code that makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from circuit.artifacts import content_sha256, digest_json, read_json, read_rows
from circuit.config.benchmark import SPLITS, BenchmarkSettings
from circuit.errors import BenchmarkError
from circuit.task.vocabulary import Vocabulary

FORMAT = 1
TABLES = (*SPLITS, "probes", "pairs", "pairs_skipped")


@dataclass(frozen=True)
class BenchmarkMetadata:
    """What ``metadata.json`` says.

    Attributes:
        settings: what the benchmark was built from.
        vocabulary: its token ids.
        heldout_pairs: held-out (key, value) indices, ascending.
        files: name of a table (one of ``TABLES``) to the SHA-256 of what it holds.
        digest: digest of the benchmark, over the six splits' digests.
    """

    settings: BenchmarkSettings
    vocabulary: Vocabulary
    heldout_pairs: tuple[tuple[int, int], ...]
    files: Mapping[str, str]
    digest: str

    def trained_on(self, split: str) -> dict[str, Any]:
        """What decides a training's data: the split's digest and the number of token ids."""
        return {"split": self.files[split], "ids": self.vocabulary.size}


def table_path(directory: str | Path, table: str) -> Path:
    """Return the path of a table (one of ``TABLES``) in a benchmark's directory."""
    return Path(directory) / f"{table}.parquet"


def benchmark_digest(files: Mapping[str, str]) -> str:
    """Return a benchmark's digest over those of its splits (probes and pairs follow from them)."""
    return digest_json({split: files[split] for split in SPLITS})


def load_metadata(directory: str | Path) -> BenchmarkMetadata:
    """Read ``metadata.json`` of a benchmark's directory (its own path is accepted too).

    Raises:
        ArtifactError: the file is missing or not JSON.
        BenchmarkError: its content is not that of a benchmark of this format.
    """
    path = Path(directory)
    path = path if path.name == "metadata.json" else path / "metadata.json"
    content = read_json(path)
    try:
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        settings = BenchmarkSettings.model_validate(content["settings"])
        metadata = BenchmarkMetadata(
            settings=settings,
            vocabulary=Vocabulary.of(settings),
            heldout_pairs=tuple((int(key), int(value)) for key, value in content["heldout_pairs"]),
            files={table: str(content["files"][table]) for table in TABLES},
            digest=str(content["digest"]),
        )
        if metadata.digest != benchmark_digest(metadata.files):
            raise ValueError("digest does not follow from the digests of the splits")
    except (KeyError, TypeError, ValueError) as error:
        raise BenchmarkError(
            f"metadata are not usable ({str(error).splitlines()[0]})",
            where=path,
            expected=f"metadata of a benchmark, format {FORMAT}",
            do="delete the benchmark's directory and let snakemake make it again",
        ) from error
    return metadata


def load_split(path: str | Path) -> pd.DataFrame:
    """Read a split's programs (columns: see :class:`circuit.task.benchmark.Benchmark`).

    Args:
        path: ``data/{benchmark}/{split}.parquet``, beside the benchmark's ``metadata.json``.

    Raises:
        ArtifactError: a file is missing or damaged.
        BenchmarkError: the file is not the one that the metadata describe.
    """
    return _verified(Path(path), SPLITS)


def load_probes(path: str | Path) -> pd.DataFrame:
    """Read a probe set; as :func:`load_split`, for ``probes.parquet``."""
    return _verified(Path(path), ("probes",))


def load_pairs(path: str | Path) -> pd.DataFrame:
    """Read clean/corrupted pairs; as :func:`load_split`, for ``pairs.parquet``."""
    return _verified(Path(path), ("pairs",))


def _verified(path: Path, tables: tuple[str, ...]) -> pd.DataFrame:
    """Read a table whose digest is the one in the metadata beside it."""
    if path.stem not in tables or path.suffix != ".parquet":
        raise BenchmarkError(
            f"{path.name} is not a file of this kind",
            where=path,
            expected=" or ".join(f"{table}.parquet" for table in tables),
            do="pass the file's path in the benchmark's directory",
        )
    expected, found = load_metadata(path.parent).files[path.stem], content_sha256(path)
    if expected != found:
        raise BenchmarkError(
            f"{path.name} is not the file that metadata.json describes (sha256 {found[:12]}…)",
            where=path,
            expected=f"sha256 {expected[:12]}…",
            do="delete the benchmark's directory and let snakemake make it again",
        )
    return read_rows(path)
