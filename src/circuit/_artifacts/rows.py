"""Tidy rows in Parquet: one observation a row, and no number without a unit.

The unit of a column is stored in its field's metadata, so it travels with the file and any
Parquet reader sees it. Counts and probabilities have the unit "1", labels "id", training steps
"step". Equal tables give equal bytes: pandas' own metadata, which holds versions, is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from circuit._artifacts.files import StrPath, atomic_path, missing
from circuit.errors import ArtifactError, nearest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

_UNIT = b"unit"
_DESCRIPTION = b"description"
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
    fields = [
        pa.field(
            field.name,
            # Text arrives as two Arrow types, depending on the pandas dtype; one is kept.
            pa.string() if pa.types.is_large_string(field.type) else field.type,
            metadata={_UNIT: units[field.name].encode()} if field.name in units else None,
        )
        for field in table.schema
    ]
    schema = pa.schema(fields, metadata={_DESCRIPTION: description.encode()})
    with atomic_path(path) as temporary:
        pq.write_table(
            table.cast(schema), temporary, compression="zstd", row_group_size=_ROWS_PER_GROUP
        )


def read_rows(path: StrPath, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read rows, all columns in the file's order or `columns` in the order given.

    Raises:
        ArtifactError: the file is missing, damaged or not Parquet, or lacks a column.
    """
    import pyarrow as pa

    try:
        with _open(path) as file:
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
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    frame: pd.DataFrame = table.to_pandas()
    return frame if columns is None else frame[list(columns)]


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
        return pq.ParquetFile(path)
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
