"""Whole files or none, equal bytes for equal content, and messages for everything damaged."""

import enum
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from circuit.artifacts import (
    atomic_path,
    content_sha256,
    digest_json,
    digest_tensors,
    provenance,
    read_json,
    read_rows,
    read_tensors,
    read_units,
    sha256_bytes,
    sha256_file,
    write_json,
    write_rows,
    write_tensors,
    write_text,
)
from circuit.errors import ArtifactError, CheckpointError, CircuitError

ROWS = pd.DataFrame(
    {
        "step": [100, 200, 300],
        "role": ["match", "copy", "match"],
        "growth": [0.25, -1.5, np.nan],
        "causal": [True, False, True],
    }
)
UNITS = {"step": "step", "growth": "nats"}
TENSORS = {"weight": torch.arange(6.0).view(2, 3), "step": torch.tensor(7)}


def message(call: Callable[[], Any], kind: type[CircuitError] = ArtifactError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return str(caught.value)


WRITERS: dict[str, Callable[[Path], None]] = {
    "text": lambda path: write_text(path, "new"),
    "json": lambda path: write_json(path, {"new": 1}),
    "rows": lambda path: write_rows(path, ROWS, UNITS),
    "tensors": lambda path: write_tensors(path, TENSORS),
}


class TestAtomicPath:
    def test_writes_and_makes_parents(self, tmp_path: Path) -> None:
        target = tmp_path / "a" / "b.txt"
        write_text(target, "grüße\r\n")
        assert target.read_bytes() == "grüße\r\n".encode()
        assert os.listdir(target.parent) == ["b.txt"]

    def test_temporary_is_beside_the_target_with_its_ending(self, tmp_path: Path) -> None:
        target = tmp_path / "plot.svg"
        with atomic_path(target) as first, atomic_path(target) as second:
            assert first.parent == second.parent == tmp_path
            assert first.suffix == ".svg"
            assert first != second, "two attempts at once must not share a file"
            first.write_text("1")
            second.write_text("2")
            assert not target.exists(), "nothing may appear before the block ends"
        assert target.read_text() == "1"  # the outer block ends last
        assert os.listdir(tmp_path) == ["plot.svg"]

    @pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
    def test_failure_leaves_the_old_file_alone(
        self, tmp_path: Path, failure: BaseException
    ) -> None:
        target = tmp_path / "x.txt"
        target.write_text("old")

        def write() -> None:
            with atomic_path(target) as temporary:
                temporary.write_text("half")
                raise failure

        with pytest.raises(type(failure)) as caught:
            write()
        assert caught.value is failure
        assert target.read_text() == "old"
        assert os.listdir(tmp_path) == ["x.txt"]

    def test_writing_nothing_is_an_error(self, tmp_path: Path) -> None:
        target = tmp_path / "x.txt"

        def write_elsewhere() -> None:
            with atomic_path(target):
                pass

        assert message(write_elsewhere) == (
            f"nothing was written — where: {target}"
            " — expected: a file at the temporary path that atomic_path yielded"
            " — what to do: write to the yielded path, not to the target"
        )

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
    def test_truly_full_device(self, tmp_path: Path) -> None:
        target = tmp_path / "x.txt"

        def write() -> None:
            with atomic_path(target) as temporary:
                temporary.write_text("half")
                with open("/dev/full", "w") as full:
                    full.write("x" * 10_000)

        assert message(write) == full_disk(target)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    @pytest.mark.parametrize("writer", WRITERS)
    def test_full_disk_in_every_writer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, code: int
    ) -> None:
        target = tmp_path / "old"
        target.write_text("old")

        def full(descriptor: int) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", full)
        assert message(lambda: WRITERS[writer](target)) == full_disk(target)
        assert target.read_text() == "old"
        assert os.listdir(tmp_path) == ["old"]

    def test_full_disk_told_only_in_text(self, tmp_path: Path) -> None:
        """Rust and C++ writers raise their own types."""
        target = tmp_path / "x"

        def write() -> None:
            with atomic_path(target) as temporary:
                temporary.write_text("half")
                raise RuntimeError("I/O error: No space left on device (os error 28)")

        assert message(write) == full_disk(target)

    def test_other_system_errors_are_not_called_a_full_disk(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match=r"Not a directory|File exists"):
            write_text(tmp_path / "file" / "x", "")


def full_disk(target: Path) -> str:
    return (
        f"no space left on device while writing {target} — where: {target}"
        " — expected: room for the whole file; nothing half-written was left"
        " — what to do: free space and rerun"
    )


class TestDigests:
    def test_known_answers(self, tmp_path: Path) -> None:
        abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        (tmp_path / "abc").write_bytes(b"abc")
        assert sha256_bytes(b"abc") == sha256_file(tmp_path / "abc") == abc
        assert digest_json({"b": [1, None], "a": "ü"}) == sha256_bytes(
            rb'{"a":"\u00fc","b":[1,null]}'
        )

    def test_missing_file(self, tmp_path: Path) -> None:
        assert message(lambda: sha256_file(tmp_path / "x")) == missing(tmp_path / "x")

    def test_unreadable_file(self, tmp_path: Path) -> None:
        assert message(lambda: sha256_file(tmp_path)) == (
            f"file cannot be read (Is a directory) — where: {tmp_path}"
            " — expected: a readable file — what to do: check the path and its permissions"
        )

    def test_json_digest_sees_content_not_form(self) -> None:
        first = digest_json({"a": (1, 2), "b": np.float32(0.5)})
        assert first == digest_json({"b": 0.5, "a": [np.int64(1), 2]})
        assert first != digest_json({"a": [2, 1], "b": 0.5})
        assert digest_json(1) != digest_json(1.0)
        assert digest_json(True) != digest_json(1)


def missing(path: Path) -> str:
    return (
        f"file is missing — where: {path} — expected: a file made by an earlier job"
        " — what to do: ask snakemake for this path, which makes it"
    )


class Colour(enum.StrEnum):
    RED = "red"


class TestJson:
    def test_canonical_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "x.json"
        write_json(
            path,
            {
                "z": np.float64(0.1),
                "a": [np.int64(3), np.bool_(True), None],
                "m": {"β": np.arange(2), "b": Colour.RED},
            },
        )
        content = {"a": [3, True, None], "m": {"b": "red", "β": [0, 1]}, "z": 0.1}
        assert path.read_text(encoding="utf-8") == (
            '{\n  "a": [\n    3,\n    true,\n    null\n  ],\n  "artifact": {\n'
            f'    "path": "x.json",\n    "sha256": "{digest_json(content)}"\n  }},\n'
            '  "m": {\n    "b": "red",\n'
            '    "β": [\n      0,\n      1\n    ]\n  },\n  "z": 0.1\n}\n'
        )
        assert read_json(path) == content

    @pytest.mark.parametrize(
        "bad", [float("nan"), float("inf"), -np.float32("inf"), np.array(np.nan)]
    )
    def test_numbers_that_are_not_finite(self, tmp_path: Path, bad: Any) -> None:
        path = tmp_path / "x.json"
        assert message(lambda: write_json(path, {"rows": [{"loss": bad}]})) == (
            f"number is {float(bad)}, which JSON cannot hold — where: {path}: $.rows[0].loss"
            " — expected: a finite number — what to do: repair the computation,"
            " or pass nan='null' where a missing number has a meaning"
        )
        assert not path.exists()
        write_json(path, {"rows": [{"loss": bad}]}, nan="null")
        assert read_json(path) == {"rows": [{"loss": None}]}

    def test_keys_that_are_not_text(self, tmp_path: Path) -> None:
        assert message(lambda: write_json(tmp_path / "x", {"a": {100: 1}})) == (
            f"key 100 is of type int — where: {tmp_path / 'x'}: $.a"
            " — expected: text keys, since JSON has no others"
            " — what to do: turn the key into text where the mapping is made"
        )

    @pytest.mark.parametrize("bad", [{1, 2}, Path("x"), object(), b"bytes", 1j])
    def test_values_without_a_form(self, tmp_path: Path, bad: Any) -> None:
        assert message(lambda: write_json(tmp_path / "x", {"a": bad})) == (
            f"value of type {type(bad).__name__} has no JSON form — where: {tmp_path / 'x'}: $.a"
            " — expected: a mapping, list, text, number, boolean or None"
            " — what to do: convert the value where the object is made"
        )

    def test_missing(self, tmp_path: Path) -> None:
        assert message(lambda: read_json(tmp_path / "x")) == missing(tmp_path / "x")

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b'{"a": 1', "Expecting ',' delimiter: line 1 column 8 (char 7)"),
            (b"", "Expecting value: line 1 column 1 (char 0)"),
            (b'{"a": NaN}', "NaN is not a JSON number"),
            (b'"\xff"', "'utf-8' codec can't decode byte 0xff in position 1: invalid start byte"),
        ],
    )
    def test_damaged(self, tmp_path: Path, content: bytes, reason: str) -> None:
        path = tmp_path / "x.json"
        path.write_bytes(content)
        assert message(lambda: read_json(path)) == (
            f"file is not valid JSON ({reason}) — where: {path}"
            " — expected: one whole JSON document in UTF-8"
            " — what to do: delete the file and let snakemake make it again"
        )


class TestRows:
    def test_round_trip(self, tmp_path: Path) -> None:
        # A folder called name=value must not become a column.
        path = tmp_path / "seed=7" / "rows.parquet"
        write_rows(path, ROWS, {"role": "name", **UNITS}, description="one update")
        pd.testing.assert_frame_equal(read_rows(path), ROWS)
        assert read_units(path) == {"step": "step", "role": "name", "growth": "nats"}
        schema = pq.read_schema(path)
        assert schema.metadata[b"description"] == b"one update"
        assert schema.field("growth").metadata[b"unit"] == b"nats"
        assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"

    def test_columns_come_in_the_order_asked_for(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "x", ROWS, UNITS)
        frame = read_rows(tmp_path / "x", ["growth", "step"])
        pd.testing.assert_frame_equal(frame, ROWS[["growth", "step"]])

    def test_no_rows_keep_columns_and_types(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "x", ROWS.iloc[:0], UNITS)
        pd.testing.assert_frame_equal(read_rows(tmp_path / "x"), ROWS.iloc[:0])

    def test_equal_content_gives_equal_bytes(self, tmp_path: Path) -> None:
        one, same, unlike = (tmp_path / folder / "rows" for folder in "abc")
        write_rows(one, ROWS, UNITS)
        # Made another way: another index, text as objects, units in another order.
        other = ROWS.astype({"role": object}).set_axis([5, 6, 7])
        write_rows(same, other, dict(reversed(UNITS.items())))
        assert one.read_bytes() == same.read_bytes()
        assert content_sha256(one) == content_sha256(same)
        write_rows(unlike, ROWS, {**UNITS, "growth": "bits"})
        assert one.read_bytes() != unlike.read_bytes()
        assert content_sha256(one) != content_sha256(unlike)

    @pytest.mark.parametrize(
        "values",
        [
            [1.5, 2.5],
            [1, 2],
            np.array([1, 2], dtype=np.uint8),
            pd.array([1, None], dtype="Int64"),
            pd.Categorical([1, 2]),
            [[1.0], [2.0, 3.0]],
            [{"x": 1}, {"x": 2}],
        ],
    )
    def test_no_number_without_a_unit(self, tmp_path: Path, values: Any) -> None:
        frame = pd.DataFrame({"score": values})
        assert message(lambda: write_rows(tmp_path / "x", frame, {})) == (
            f"numeric columns without a unit: score — where: {tmp_path / 'x'}"
            " — expected: a unit for every numeric column ('1', 'id' and 'step' are units too)"
            " — what to do: add the columns to `units`"
        )
        assert os.listdir(tmp_path) == []
        write_rows(tmp_path / "x", frame, {"score": "1"})
        assert read_units(tmp_path / "x") == {"score": "1"}

    def test_unit_for_no_column(self, tmp_path: Path) -> None:
        assert message(lambda: write_rows(tmp_path / "x", ROWS, {**UNITS, "grwth": "nats"})) == (
            f"unit given for 'grwth', which is not a column — where: {tmp_path / 'x'}"
            " — expected: one of step, role, growth, causal — what to do: did you mean 'growth'?"
        )

    def test_empty_unit(self, tmp_path: Path) -> None:
        assert message(lambda: write_rows(tmp_path / "x", ROWS, {**UNITS, "growth": " "})) == (
            f"unit of 'growth' is empty — where: {tmp_path / 'x'}"
            " — expected: a unit, '1' for counts and ratios — what to do: state the unit in `units`"
        )

    def test_index_that_carries_data(self, tmp_path: Path) -> None:
        frame = ROWS.groupby("role")[["growth"]].sum()
        assert message(lambda: write_rows(tmp_path / "x", frame, {"growth": "nats"})) == (
            f"rows have the named index role — where: {tmp_path / 'x'}"
            " — expected: identifiers as columns"
            " — what to do: call reset_index() before writing"
        )

    @pytest.mark.parametrize("columns", [["a", "a"], ["a", 0]])
    def test_column_names(self, tmp_path: Path, columns: list[Any]) -> None:
        frame = pd.DataFrame([["x", "y"]], columns=columns)
        assert message(lambda: write_rows(tmp_path / "x", frame, {})) == (
            f"column names are not text, or repeat: {columns} — where: {tmp_path / 'x'}"
            " — expected: a text name for each column, each only once"
            " — what to do: rename the columns"
        )

    def test_mixed_types_in_a_column(self, tmp_path: Path) -> None:
        frame = pd.DataFrame({"a": ["text", 1]})
        text = message(lambda: write_rows(tmp_path / "x", frame, {}))
        assert text.startswith("rows have no Parquet form (")
        assert text.endswith(
            f" — where: {tmp_path / 'x'} — expected: one type in each column"
            " — what to do: convert the column where the rows are made"
        )

    def test_column_that_is_not_there(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "x", ROWS, UNITS)
        assert message(lambda: read_rows(tmp_path / "x", ["step", "roles"])) == (
            f"column 'roles' is not in the rows — where: {tmp_path / 'x'}"
            " — expected: one of step, role, growth, causal — what to do: did you mean 'role'?"
        )

    @pytest.mark.parametrize("read", [read_rows, read_units])
    def test_missing(self, tmp_path: Path, read: Callable[[Path], Any]) -> None:
        assert message(lambda: read(tmp_path / "x")) == missing(tmp_path / "x")

    @pytest.mark.parametrize("keep", [0, 3, 40, -1])
    @pytest.mark.parametrize("read", [read_rows, read_units])
    def test_truncated(self, tmp_path: Path, read: Callable[[Path], Any], keep: int) -> None:
        path = tmp_path / "x"
        write_rows(path, ROWS, UNITS)
        path.write_bytes(path.read_bytes()[:keep])
        text = message(lambda: read(path))
        assert text.startswith("file is not whole, valid Parquet (")
        assert text.endswith(
            f" — where: {path} — expected: rows written by write_rows"
            " — what to do: delete the file and let snakemake make it again"
        )

    def test_damaged_within(self, tmp_path: Path) -> None:
        """The footer is whole, the pages are not."""
        path = tmp_path / "x"
        write_rows(path, ROWS, UNITS)
        content = path.read_bytes()
        path.write_bytes(content[:4] + bytes(120) + content[124:])
        assert message(lambda: read_rows(path)).startswith("file is not whole, valid Parquet (")


class TestTensors:
    def test_round_trip(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        write_tensors(path, TENSORS, {"step": "7", "recipe": "{}"})
        tensors, metadata = read_tensors(path)
        assert list(tensors) == ["step", "weight"]
        for name, tensor in tensors.items():
            torch.testing.assert_close(tensor, TENSORS[name], rtol=0, atol=0)
        assert metadata == {"step": "7", "recipe": "{}"}

    def test_views_of_one_storage(self, tmp_path: Path) -> None:
        flat = torch.arange(12.0, requires_grad=True)
        views = {"all": flat, "head": flat[:4], "turned": flat[4:].view(2, 4).T}
        write_tensors(tmp_path / "x", views)
        tensors, metadata = read_tensors(tmp_path / "x")
        for name, view in views.items():
            torch.testing.assert_close(tensors[name], view.detach(), rtol=0, atol=0)
        assert metadata == {}

    def test_equal_content_gives_equal_bytes(self, tmp_path: Path) -> None:
        keys = [f"key{number}" for number in range(20)]  # one order in 20! would pass by luck
        write_tensors(tmp_path / "a" / "x", TENSORS, {key: key for key in keys})
        write_tensors(
            tmp_path / "b" / "x",
            dict(reversed(TENSORS.items())),
            {key: key for key in reversed(keys)},
        )
        assert (tmp_path / "a" / "x").read_bytes() == (tmp_path / "b" / "x").read_bytes()

    def test_digest_is_that_of_the_file(self, tmp_path: Path) -> None:
        tensors = {**TENSORS, "turned": TENSORS["weight"].T}
        write_tensors(tmp_path / "x", tensors, {"b": "1", "a": "2"}, vouched=True)
        digest = digest_tensors(tensors, {"a": "2", "b": "1"})
        assert digest == sha256_file(tmp_path / "x")
        assert digest != digest_tensors(tensors, {"a": "2"})
        nudged = {**tensors, "turned": torch.nextafter(tensors["turned"], torch.tensor(9.0))}
        assert digest != digest_tensors(nudged, {"a": "2", "b": "1"})

    def test_file_from_elsewhere(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        save_file(TENSORS, tmp_path / "x", metadata={"format": "pt"})
        assert read_tensors(tmp_path / "x")[1] == {"format": "pt"}

    def test_metadata_that_are_not_text(self, tmp_path: Path) -> None:
        call = lambda: write_tensors(tmp_path / "x", TENSORS, {"step": 7})  # type: ignore[dict-item]  # noqa: E731
        assert message(call, CheckpointError) == (
            f"metadata are not text: step — where: {tmp_path / 'x'}"
            " — expected: text for every key"
            " — what to do: turn the values into text (json.dumps for structures)"
        )

    def test_missing(self, tmp_path: Path) -> None:
        assert message(lambda: read_tensors(tmp_path / "x"), CheckpointError) == (
            f"tensor file is missing — where: {tmp_path / 'x'}"
            " — expected: a file made by an earlier job"
            " — what to do: ask snakemake for this path, which makes it"
        )

    @pytest.mark.parametrize("keep", [0, 5, 20, -1])
    def test_truncated(self, tmp_path: Path, keep: int) -> None:
        path = tmp_path / "step000100.safetensors"
        write_tensors(path, TENSORS)
        path.write_bytes(path.read_bytes()[:keep])
        text = message(lambda: read_tensors(path), CheckpointError)
        assert text.startswith("tensor file is not whole, valid safetensors (")
        assert text.endswith(
            f" — where: {path} — expected: a file written by write_tensors"
            " — what to do: delete the file and let snakemake make it again"
        )


def _json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """What an editor does: the text is changed, what it says of itself stays."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(content)), encoding="utf-8")


def _parquet(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Rows changed and written again with all metadata of file and columns."""
    table = pq.read_table(path)
    changed = change(table)
    fields = [table.schema.field(name) for name in changed.column_names]
    pq.write_table(changed.cast(pa.schema(fields, metadata=table.schema.metadata)), path)


def _flipped(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)


LIES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a number": ("json", lambda p: _json(p, lambda c: {**c, "value": 2.0})),
    "a further key": ("json", lambda p: _json(p, lambda c: {**c, "more": 1})),
    "a missing key": ("json", lambda p: _json(p, lambda c: {k: c[k] for k in c if k != "value"})),
    "a text for a number": ("json", lambda p: _json(p, lambda c: {**c, "value": "1.0"})),
    "an empty ranking": ("json", lambda p: _json(p, lambda c: {**c, "ranking": []})),
    "nothing": ("json", lambda p: p.write_text("{}")),
    "a list": ("json", lambda p: p.write_text("[]")),
    "a text": ("json", lambda p: p.write_text('"x"')),
    "no claim": ("json", lambda p: _json(p, lambda c: {**c, "artifact": "mine"})),
    "a folder": ("json", lambda p: (p.unlink(), p.mkdir())),  # type: ignore[func-returns-value]
    "half of the rows": ("rows", lambda p: _parquet(p, lambda t: t.slice(0, len(t) // 2))),
    "rows twice": ("rows", lambda p: _parquet(p, lambda t: pa.concat_tables([t, t]))),
    "no rows": ("rows", lambda p: _parquet(p, lambda t: t.slice(0, 0))),
    "a missing column": ("rows", lambda p: _parquet(p, lambda t: t.drop_columns(["role"]))),
    "rows in another order": ("rows", lambda p: _parquet(p, lambda t: t.take([2, 1, 0]))),
    "a missing number": (
        "rows",
        lambda p: _parquet(
            p, lambda t: t.set_column(2, "growth", pa.array([None, 1.0, 2.0], t.schema.types[2]))
        ),
    ),
    **{
        f"a flipped bit of {form} at {at}": (form, partial(_flipped, at=at))
        for form, at in (("rows", 0.1), ("rows", 0.5), ("tensors", 0.3), ("tensors", 0.95))
    },
    "rows of pandas": ("rows", lambda p: pd.read_parquet(p).to_parquet(p)),
    "a folder of rows": ("rows", lambda p: (p.unlink(), p.mkdir())),  # type: ignore[func-returns-value]
}


class TestArtifactsThatLie:
    """Damaged, edited, cut and exchanged files are refused by every reader, in one message."""

    def write(self, form: str, path: Path) -> Callable[[Path], Any]:
        if form == "json":
            write_json(path, {"value": 1.0, "ranking": ["L0H0"]})
            return read_json
        if form == "rows":
            write_rows(path, ROWS, UNITS)
            return read_rows
        write_tensors(path, TENSORS, {"stage": "embedding"})
        return read_tensors

    @pytest.mark.parametrize("lie", LIES)
    def test_changed(self, tmp_path: Path, lie: str) -> None:
        form, change = LIES[lie]
        path = tmp_path / "artifact"
        read = self.write(form, path)
        read(path)
        change(path)
        with pytest.raises(CircuitError, match=re.escape(str(path))) as refused:
            read(path)
        assert "what to do: " in str(refused.value)

    @pytest.mark.parametrize("form", ["json", "rows", "tensors"])
    def test_exchanged(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
        """The file of another run, whole and sound, is not this run's; a moved tree stays whole."""
        monkeypatch.chdir(tmp_path)
        own, other = (Path(f"results/study/{run}/scan/artifact") for run in ("seed7", "seed11"))
        read = self.write(form, own)
        other.parent.mkdir(parents=True)
        shutil.copy(own, other)
        assert message(lambda: read(other)) == (
            f"file is another one than its name says: it was written as {own} — where: {other}"
            " — expected: the file that was made for this place"
            " — what to do: delete the file and let snakemake make it again"
        )
        shutil.copytree("results", "elsewhere/results")
        read(tmp_path / "elsewhere" / own)


class TestProvenance:
    def record(self, **changes: Any) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "inputs": {},
            "settings": {"rank": 8},
            "modules": ["circuit/b.py@1", "circuit/a.py@2"],
            "seeds": {"model": 7},
            "threads": 2,
        }
        return provenance(**{**arguments, **changes})

    def test_holds_what_makes_the_artifact_again(self, tmp_path: Path) -> None:
        record = self.record()
        assert record["settings"] == {"rank": 8}
        assert record["settings_sha256"] == digest_json({"rank": 8})
        assert record["code"] == ["circuit/a.py@2", "circuit/b.py@1"]
        assert record["seeds"] == {"model": 7}
        assert record["threads"] == 2
        assert record["device"] == "cpu"
        assert record["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
        assert {"torch", "numpy", "pandas", "snakemake"} <= set(record["versions"])
        assert set(record["platform"]) == {"system", "machine", "cpu"}
        write_json(tmp_path / "report.json", record)

    def test_inputs_are_named_and_digested(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project = tmp_path / "project"
        write_text(project / "data" / "train", "abc")
        write_text(tmp_path / "outside", "def")
        monkeypatch.chdir(project)
        record = self.record(
            inputs={
                "tokens": "data/train",
                "absolute": project / "data" / "train",
                "many": ["data/train", tmp_path / "outside"],
            }
        )
        train = {"path": "data/train", "sha256": sha256_bytes(b"abc")}
        outside = {"path": "outside", "sha256": sha256_bytes(b"def")}
        assert record["inputs"] == {"tokens": train, "absolute": train, "many": [train, outside]}
        assert list(record["inputs"]) == ["absolute", "many", "tokens"]
        text = json.dumps(record)
        assert str(tmp_path) not in text
        assert os.uname().nodename not in text.split('"'), "no host name in published results"

    def test_missing_input(self, tmp_path: Path) -> None:
        assert message(lambda: self.record(inputs={"x": tmp_path / "x"})) == missing(tmp_path / "x")


def test_importing_costs_nothing() -> None:
    """Rules that only tabulate must not wait for torch, nor the Snakefile for pandas."""
    code = (
        "import sys, circuit.artifacts, circuit.fingerprint\n"
        "print(sorted({'torch', 'pandas', 'pyarrow', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
