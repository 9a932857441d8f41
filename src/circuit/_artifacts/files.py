"""Whole files or none, and digests of them.

Writing goes in four steps, so that no reader ever meets half a file:

1. a name is chosen beside the target, on the same file system, unique to this attempt;
2. the caller writes there;
3. the content is forced to the disk (``fsync``), so that a crash cannot leave a renamed but
   empty file;
4. the name is moved over the target, which is atomic.

Any failure in between removes the temporary file and leaves an older target untouched.
"""

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from circuit.errors import ArtifactError

StrPath = str | os.PathLike[str]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_TEXTS = ("no space left on device", "disk quota exceeded")


@contextmanager
def atomic_path(path: StrPath) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes `path`, on any exception it vanishes.

    The temporary name ends as the target's does, for writers that take the format from it.
    Missing parent directories are made.

    Raises:
        ArtifactError: the disk is full, or the block wrote nothing to the yielded path.
    """
    target = Path(path)
    temporary = target.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(6)}-{target.name}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if not temporary.is_file():
            raise ArtifactError(
                "nothing was written",
                where=target,
                expected="a file at the temporary path that atomic_path yielded",
                do="write to the yielded path, not to the target",
            )
        # safetensors makes files that only their owner can read; results are for the group.
        temporary.chmod(0o666 & ~_umask())
        _sync(temporary)
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if _disk_is_full(error):
            raise ArtifactError(
                f"no space left on device while writing {target}",
                where=target,
                expected="room for the whole file; nothing half-written was left",
                do="free space and rerun",
            ) from error
        raise
    # The file is whole and in place. That its name, too, survives a power cut is worth asking
    # for, but some network file systems cannot say, and that is no failure.
    with suppress(OSError):
        _sync(target.parent)


def write_bytes(path: StrPath, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: StrPath, text: str) -> None:
    """Write `text` to `path` as UTF-8 with its line ends as given, whole or not at all."""
    write_bytes(path, text.encode())


def sha256_bytes(content: bytes) -> str:
    """Return the SHA-256 of `content`, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: StrPath) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits.

    Raises:
        ArtifactError: the file is missing or cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise missing(path) from error
    except OSError as error:
        raise ArtifactError(
            f"file cannot be read ({error.strerror})",
            where=path,
            expected="a readable file",
            do="check the path and its permissions",
        ) from error


def missing(path: StrPath) -> ArtifactError:
    """The error for a file that should have been made by an earlier job."""
    return ArtifactError(
        "file is missing",
        where=path,
        expected="a file made by an earlier job",
        do="ask snakemake for this path, which makes it",
    )


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Force a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_is_full(error: BaseException) -> bool:
    """Whether `error` reports a full disk; writers outside Python say so only in their text."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return isinstance(error, Exception) and any(text in str(error).lower() for text in _FULL_TEXTS)
