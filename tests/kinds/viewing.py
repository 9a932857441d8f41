"""A kind's view of tables made up for a test, or measured on the planted circuit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from circuit.artifacts import read_json, write_json, write_rows
from circuit.config.registry import KINDS, view_files
from circuit.job import Facts
from circuit.measuring import Table
from circuit.reports.viewing import view

_DRAWN: set[str] = set()
"""Rows that were drawn, but for their values (:func:`_structure`)."""


class _Outputs(dict[str, str]):
    """Outputs by name, as items and as attributes."""

    __getattr__ = dict.__getitem__


def viewed(
    kind: str,
    tables: Mapping[str, Table],
    folder: Path,
    settings: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    records: Mapping[str, Any] | None = None,
    draw: bool | None = None,
) -> dict[str, Any]:
    """The ``report.json`` of a view.

    Its figures are drawn in ``folder`` unless rows that differ from these in values alone were
    drawn before: drawing is what takes long.

    Args:
        settings: those that have no default, or another value.
        draw: whether in any case, for a test that looks at a figure; False: never.
    """
    asked = KINDS[kind].model_validate({"kind": kind, **(settings or {})})
    files = {name: str(folder / file) for name, file in KINDS[kind].measured_files().items()}
    for name, table in tables.items():
        write_rows(files[name], table.frame, table.every_unit, table.what)
    for name, content in (records or {}).items():
        write_json(files[name], content)
    plain = asked.model_dump(mode="json", exclude={"runs"})
    provenance = {"settings": plain, "inputs": {}, "code": []}
    measured = {"schema": 1, "facts": dict(facts or {}), "passes": None, "provenance": provenance}
    write_json(files["measured"], measured, nan="null")
    out = _Outputs({name: str(folder / file) for name, file in view_files(kind).items()})
    job = Facts("it", "study", "run", json.dumps(plain), kind, (), (), files, out, 1)
    seen = vars(import_module(f"circuit.kinds.{kind}.view"))
    alike = _structure(kind, tables, plain, facts)
    if (alike in _DRAWN) if draw is None else not draw:
        seen = {**seen, "VIEWS": ()}
        out = {name: out[name] for name in ("report_json", "report_md")}
    _DRAWN.add(alike)
    view(SimpleNamespace(**seen), job)
    for file in map(Path, out.values()):
        assert file.stat().st_size > 0
        if file.suffix == ".svg":
            _check_picture(file)
    return read_json(out["report_json"])


def _structure(kind: str, tables: Mapping[str, Table], *about: object) -> str:
    """A digest of a view's rows that tells which numbers are missing, but not what they are."""
    digest = sha256(repr((kind, about)).encode())
    for name, table in tables.items():
        frame = table.frame.reset_index(drop=True)
        floats = frame.select_dtypes("float").columns
        frame = frame.assign(**{column: frame[column].isna() for column in floats}).astype(str)
        digest.update(repr((name, [*frame])).encode())
        digest.update(pd.util.hash_pandas_object(frame).to_numpy().tobytes())
    return digest.hexdigest()


def _check_picture(file: Path) -> None:
    """A figure is valid, fetches nothing, and shows no value that code has for a missing one."""
    text = file.read_text()
    for element in ElementTree.fromstring(text).iter():
        for key, value in element.attrib.items():
            if key.endswith("href"):
                assert value.startswith(("#", "data:image/png;base64,")), value
    assert not re.search(r">[^<]*\b(None|nan|NaN)\b[^<]*<", text), file


def outcome(report: Mapping[str, Any], name: str, **about: Any) -> SimpleNamespace:
    """The finding of this name (about these keys): verdict, about, control, compared."""
    [found] = [
        one
        for one in report["findings"]
        if one["name"] == name and about.items() <= one["about"].items()
    ]
    return SimpleNamespace(**found)


def changed(rows: pd.DataFrame, where: Mapping[str, Any], **to: Any) -> pd.DataFrame:
    """A copy of rows with other values in those that meet some conditions."""
    chosen = pd.Series(True, index=rows.index)
    for key, value in where.items():
        chosen &= rows[key] == value
    assert chosen.any(), f"no row has {dict(where)}"
    found = rows.copy()
    for key, value in to.items():
        found.loc[chosen, key] = value
    return found
