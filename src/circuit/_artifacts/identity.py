"""What an artifact says of itself: its place in the workflow, and the digest of its content.

1. A file is written for one place, such as ``results/{study}/{run}/{analysis}/rows.parquet``: the
   place names study, run, analysis and what it is. It is kept inside the file, so a file that was
   exchanged for another run's, or another analysis', is noticed.
2. The digest is of what the file holds, not of its bytes, so it survives other versions of what
   writes and reads; what was cut, repeated, edited or damaged is noticed.

Both are checked by the one reader of each format. A place is relative to the working directory, or
the file's name alone outside of it, so nothing of a machine is kept.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from circuit._artifacts.files import StrPath
from circuit.errors import ArtifactError

KEY = "artifact"
_DO = "delete the file and let snakemake make it again"


def place(path: StrPath) -> str:
    """Where a file lies, without what is a machine's own."""
    path, here = Path(path), Path.cwd()
    if path.is_absolute():
        path = path.relative_to(here) if path.is_relative_to(here) else Path(path.name)
    return path.as_posix()


def claim(path: StrPath, sha256: str) -> dict[str, str]:
    """What a file that is written to `path` says of itself."""
    return {"path": place(path), "sha256": sha256}


def require(path: StrPath, said: Any, sha256: str) -> None:
    """Refuse a file that is not what it says, or says something else than its name.

    Args:
        path: where it was found.
        said: its claim.
        sha256: digest of what was read.

    Raises:
        ArtifactError: it has no claim, was made for another place, or holds something else.
    """
    if not isinstance(said, Mapping) or set(said) != {"path", "sha256"}:
        raise ArtifactError(
            "file does not say what it is",
            where=path,
            expected="a file that this library wrote, with its place and digest inside",
            do=_DO,
        )
    if not f"/{Path(path).absolute().as_posix()}".endswith(f"/{said['path']}"):
        raise ArtifactError(
            f"file is another one than its name says: it was written as {said['path']}",
            where=path,
            expected="the file that was made for this place",
            do=_DO,
        )
    if said["sha256"] != sha256:
        raise ArtifactError(
            "file is damaged or was edited: it does not hold what its digest was taken of",
            where=path,
            expected=f"content with SHA-256 {str(said['sha256'])[:12]}…, found {sha256[:12]}…",
            do=_DO,
        )
