"""Reading and writing every generated file: the one door to the disk.

Files appear whole or not at all, equal content gives equal bytes, damaged files are refused by
name, and no number is stored without its unit. Nothing here imports torch, pandas or pyarrow
before a function needs it.

    atomic_path, write_bytes, write_text            whole files
    sha256_file, sha256_bytes, digest_json          digests, 64 hexadecimal digits
    write_json, read_json                           canonical JSON
    write_rows, read_rows, read_units               tidy Parquet with units
    content_sha256                                  digest of the rows, whatever the file's bytes
    write_tensors, read_tensors, digest_tensors     safetensors
    provenance                                      where a result came from
"""

from circuit._artifacts.files import (
    atomic_path,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_text,
)
from circuit._artifacts.provenance import provenance
from circuit._artifacts.records import digest_json, read_json, write_json
from circuit._artifacts.rows import content_sha256, read_rows, read_units, write_rows
from circuit._artifacts.tensors import digest_tensors, read_tensors, write_tensors

__all__ = [
    "atomic_path",
    "content_sha256",
    "digest_json",
    "digest_tensors",
    "provenance",
    "read_json",
    "read_rows",
    "read_tensors",
    "read_units",
    "sha256_bytes",
    "sha256_file",
    "write_bytes",
    "write_json",
    "write_rows",
    "write_tensors",
    "write_text",
]
