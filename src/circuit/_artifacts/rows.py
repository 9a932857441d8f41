"""Tidy rows in Parquet: one observation a row, and no number without a unit.

The unit of a column is stored in its field's metadata, so it travels with the file and any
Parquet reader sees it; so is the digest of what the column holds, and the file says what it is
(:mod:`circuit._artifacts.identity`). Counts and probabilities have the unit "1", labels "id",
training steps "step". Equal tables of one place give equal bytes: pandas' own metadata, which holds
versions, is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from circuit._artifacts.files import StrPath, atomic_path, missing, sha256_bytes
from circuit._artifacts.identity import KEY, claim, require
from circuit._artifacts.records import digest_json
from circuit.errors import ArtifactError, nearest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

_UNIT = b"unit"
_DESCRIPTION = b"description"
_SHA256 = b"sha256"
_CLAIM = KEY.encode()
_ROWS_PER_GROUP = 1 << 20  # fixed, since the split into groups is part of the bytes


def write_rows(
    path: StrPath, df: pd.DataFrame, units: Mapping[str, str], description: str = ""
) -> None:
    """Write a table of observations as Parquet (zstd), whole or not at all.

    Args:
        path: the file to write.
        df: the rows; identifiers are columns, so the index must be unnamed and is dropped.
        units: column name to unit, for every numeric column ("1", "id" and "step" are units)
            and for others where one helps. Boolean and text columns need none.
        description: what one row is, for people.

    Raises:
        ArtifactError: a numeric column has no unit, a unit names no column, the index carries
            data, column names repeat or are not text, or a column mixes types.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check_frame(path, df, units)
    try:
        table = pa.Table.from_pandas(df, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ArtifactError(
            f"rows have no Parquet form ({error})",
            where=path,
            expected="one type in each column",
            do="convert the column where the rows are made",
        ) from error
    bare = [field.name for field in table.schema if _holds_numbers(field.type)]
    without = [name for name in bare if name not in units]
    if without:
        raise ArtifactError(
            f"numeric columns without a unit: {', '.join(without)}",
            where=path,
            expected="a unit for every numeric column ('1', 'id' and 'step' are units too)",
            do="add the columns to `units`",
        )
    # Text arrives as two Arrow types, depending on the pandas dtype; one is kept.
    kinds = [pa.string() if pa.types.is_large_string(kind) else kind for kind in table.schema.types]
    table = table.cast(pa.schema(list(zip(table.column_names, kinds, strict=True))))
    fields = [
        field.with_metadata(
            {_SHA256: _digest(column)}
            | ({_UNIT: units[field.name].encode()} if field.name in units else {})
        )
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    said = json.dumps(claim(path, _summary(fields, len(table))))
    schema = pa.schema(fields, metadata={_DESCRIPTION: description.encode(), _CLAIM: said.encode()})
    with atomic_path(path) as temporary:
        pq.write_table(
            table.cast(schema),
            temporary,
            compression="zstd",
            row_group_size=_ROWS_PER_GROUP,
            write_page_checksum=True,
        )


def read_rows(path: StrPath, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read rows, all columns in the file's order or `columns` in the order given.

    Raises:
        ArtifactError: the file is missing, damaged or not Parquet, lacks a column, or is not what
            it says, or says something else than its name.
    """
    import pyarrow as pa

    try:
        with _open(path) as file:
            fields, size = list(file.schema_arrow), file.metadata.num_rows
            said = json.loads((file.schema_arrow.metadata or {}).get(_CLAIM, b"null"))
            require(path, said, _summary(fields, size))
            valid = file.schema_arrow.names
            for name in columns or ():
                if name not in valid:
                    close = nearest(name, valid)
                    raise ArtifactError(
                        f"column {name!r} is not in the rows",
                        where=path,
                        expected=f"one of {', '.join(valid)}",
                        do=f"did you mean {close!r}?" if close else "ask for another column",
                    )
            table = file.read(columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    recorded = {field.name: (field.metadata or {}).get(_SHA256) for field in fields}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if _digest(column) != recorded[name]:
            raise _damaged(path, ValueError(f"column {name!r} does not have its digest"))
    frame: pd.DataFrame = table.to_pandas()
    return frame if columns is None else frame[list(columns)]


def content_sha256(path: StrPath) -> str:
    """Digest of what the rows of a file are, as recorded in it: of equal tables it is equal.

    Raises:
        ArtifactError: the file is missing, damaged or not Parquet.
    """
    with _open(path) as file:
        return _summary(list(file.schema_arrow), file.metadata.num_rows)


def _summary(fields: Sequence[pa.Field], rows: int) -> str:
    """Digest of a table, from its number of rows and its columns' names, units and digests."""
    columns = [
        [f.name, *((f.metadata or {}).get(key, b"").decode() for key in (_UNIT, _SHA256))]
        for f in fields
    ]
    return digest_json([rows, columns])


def _digest(column: pa.ChunkedArray | pa.Array) -> bytes:
    """Digest of a column's values and of which are missing, whatever the chunks and padding."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = array.type
    parts = [array.is_valid().to_numpy(zero_copy_only=False).tobytes()]
    if pa.types.is_dictionary(kind):
        parts.append(_digest(array.dictionary_decode()))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        parts += [_digest(lengths), _digest(pc.list_flatten(array))]
    elif pa.types.is_string(kind) or pa.types.is_null(kind):
        texts = [str(text).encode() for text in array.to_pylist()]
        parts += [*(b"%d:" % len(text) for text in texts), *texts]
    elif pa.types.is_primitive(kind):
        values = pc.fill_null(array, pa.scalar(0).cast(kind))
        parts.append(values.to_numpy(zero_copy_only=False).tobytes())
    else:
        parts.append(str(array.to_pylist()).encode())
    return sha256_bytes(b"|".join(parts)).encode()


def read_units(path: StrPath) -> dict[str, str]:
    """Return the unit of every column that has one, in the file's order.

    Raises:
        ArtifactError: the file is missing, damaged or not Parquet.
    """
    with _open(path) as file:
        return {
            field.name: field.metadata[_UNIT].decode()
            for field in file.schema_arrow
            if field.metadata and _UNIT in field.metadata
        }


def _open(path: StrPath) -> pq.ParquetFile:
    """Open one file; unlike `read_table` this guesses no columns from ``name=value`` folders."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise missing(path) from error
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: StrPath, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"file is not whole, valid Parquet ({str(error).splitlines()[0]})",
        where=path,
        expected="rows written by write_rows",
        do="delete the file and let snakemake make it again",
    )


def _check_frame(path: StrPath, df: pd.DataFrame, units: Mapping[str, str]) -> None:
    """Refuse what would be lost or ambiguous on the way to Parquet."""
    if any(name is not None for name in df.index.names):
        raise ArtifactError(
            f"rows have the named index {', '.join(map(str, df.index.names))}",
            where=path,
            expected="identifiers as columns",
            do="call reset_index() before writing",
        )
    names = list(df.columns)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ArtifactError(
            f"column names are not text, or repeat: {names}",
            where=path,
            expected="a text name for each column, each only once",
            do="rename the columns",
        )
    for name, unit in units.items():
        if name not in names:
            close = nearest(name, names)
            raise ArtifactError(
                f"unit given for {name!r}, which is not a column",
                where=path,
                expected=f"one of {', '.join(names)}",
                do=f"did you mean {close!r}?" if close else "take it out of `units`",
            )
        if not unit.strip():
            raise ArtifactError(
                f"unit of {name!r} is empty",
                where=path,
                expected="a unit, '1' for counts and ratios",
                do="state the unit in `units`",
            )


def _holds_numbers(kind: pa.DataType) -> bool:
    """Whether an Arrow type is numeric, or a list or category of numbers."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind) or types.is_nested(kind):
        inner = [kind.value_type] if not types.is_struct(kind) else [f.type for f in kind]
        return any(_holds_numbers(each) for each in inner)
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))
