"""What every setting says of itself by its type: bounds, and whether a list may repeat."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import circuit
from circuit.config.base import Frozen
from circuit.config.marks import Mark
from circuit.config.study import WorkflowSettings

SOURCES = Path(circuit.__file__).parent
BOUNDED_BY_OTHERS = {"programs", "within", "confirming", "probe", "probe_count"}
"""Marks of numbers whose largest value the rest of the configuration gives."""


def schemas(of: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of a JSON schema that is one, with its place."""
    if isinstance(of, dict):
        if isinstance(of.get("type"), str):
            yield where, of
        for key, part in of.items():
            yield from schemas(part, f"{where}.{key}")
    elif isinstance(of, list):
        for number, part in enumerate(of):
            yield from schemas(part, f"{where}.{number}")


def models(of: Any) -> Iterator[Any]:
    yield of
    for below in of.__subclasses__():
        yield from models(below)


def test_every_number_has_bounds_and_every_list_names_each_once() -> None:
    bounded = {
        name
        for model in models(Frozen)
        for name, field in model.model_fields.items()
        if any(isinstance(m, Mark) and m.what in BOUNDED_BY_OTHERS for m in field.metadata)
    }
    loose = []
    for where, schema in schemas(WorkflowSettings.model_json_schema()):
        name = where.rpartition(".")[2]
        if schema["type"] == "integer" and name not in bounded:
            loose += [] if {"minimum", "maximum"} <= set(schema) else [where]
        if schema["type"] == "array" and "maxItems" not in schema:
            one_of_several = where.rpartition(".anyOf.")[0].rpartition(".")[2] == "runs"
            loose += [] if "uniqueItems" in schema or one_of_several else [where]
    assert loose == []


def test_every_text_file_names_its_encoding() -> None:
    """A locale that is not UTF-8 would read and write other bytes, or fail."""
    unnamed = []
    for file in SOURCES.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called != "os.open" and re.search(r"^open$|[.](open|read_text|write_text)$", called):
                binary = any(ast.unparse(a).strip("'").endswith("b") for a in node.args)
                if not (binary or any(k.arg == "encoding" for k in node.keywords)):
                    unnamed.append(f"{file.name}:{node.lineno}")
    assert unnamed == []
