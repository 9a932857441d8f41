"""Named tensors in safetensors files: loading one can run no code.

Equal tensors and metadata give equal bytes. The format stores metadata as an unordered map, so
it is kept here under one key as canonical JSON; the tensors it orders by itself. A file says what
it is (:mod:`circuit._artifacts.identity`), but for those that a manifest vouches for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from circuit._artifacts.files import StrPath, atomic_path, sha256_bytes
from circuit._artifacts.identity import KEY, claim, require
from circuit.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_KEY = "circuit"


def write_tensors(
    path: StrPath,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    vouched: bool = False,
) -> None:
    """Write named tensors of any shape and device, whole or not at all.

    Views of one storage (slices of the flat parameter vector) are allowed and written apart.

    Args:
        vouched: another file keeps this one's digest, so it says nothing of itself and equal
            tensors are equal files wherever they lie.

    Raises:
        ArtifactError: the disk is full.
        CheckpointError: metadata hold anything but text.
    """
    from safetensors.torch import save_file

    stored = _stored(metadata, path)
    if not vouched:
        said = json.dumps(claim(path, digest_tensors(tensors, metadata)))
        stored = _stored({**(metadata or {}), KEY: said}, path)
    with atomic_path(path) as temporary:
        save_file(_compact(tensors), temporary, metadata=stored)


def digest_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """SHA-256 of the file that `write_tensors` would write if it is vouched for, unwritten."""
    from safetensors.torch import save

    return sha256_bytes(save(_compact(tensors), metadata=_stored(metadata, "(not written)")))


def _compact(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One compact copy of each tensor: the format refuses shared storage and strides."""
    import torch

    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }


def _stored(metadata: Mapping[str, str] | None, path: StrPath) -> dict[str, str]:
    metadata = dict(metadata or {})
    wrong = [key for key, value in metadata.items() if not isinstance(value, str)]
    if wrong:
        raise CheckpointError(
            f"metadata are not text: {', '.join(map(str, wrong))}",
            where=path,
            expected="text for every key",
            do="turn the values into text (json.dumps for structures)",
        )
    return {_KEY: json.dumps(metadata, sort_keys=True)}


def read_tensors(path: StrPath) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the tensors (on the CPU, sorted by name) and metadata of `write_tensors`.

    A safetensors file from elsewhere is read too; its own metadata are then returned.

    Raises:
        ArtifactError: the file is not what it says, or says something else than its name.
        CheckpointError: the file is missing, truncated or not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            stored = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        metadata = json.loads(stored[_KEY]) if _KEY in stored else stored
        said = json.loads(metadata.pop(KEY)) if KEY in metadata else None
    except FileNotFoundError as error:
        raise CheckpointError(
            "tensor file is missing",
            where=path,
            expected="a file made by an earlier job",
            do="ask snakemake for this path, which makes it",
        ) from error
    except (SafetensorError, OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"tensor file is not whole, valid safetensors ({error})",
            where=path,
            expected="a file written by write_tensors",
            do="delete the file and let snakemake make it again",
        ) from error
    if said is not None:
        require(path, said, digest_tensors(tensors, metadata))
    return tensors, metadata
