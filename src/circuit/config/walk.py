"""One walk over settings: everything that their types mark, with its place and its owner."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from circuit.config.marks import Mark


class Found(NamedTuple):
    """A marked value.

    ``where`` is its path, keys of mappings included and places in lists not; ``owner`` is the
    model whose setting it is.
    """

    where: str
    mark: Mark
    value: Any
    owner: Any

    @property
    def field(self) -> str:
        """The setting's own name."""
        return self.where.rpartition(".")[2]


def marked(settings: BaseModel, where: str) -> Iterator[Found]:
    """Every marked value of settings and of the settings within, in order of the fields.

    What is not given (None) is left out.
    """
    for name, field in type(settings).model_fields.items():
        value, at = getattr(settings, name), f"{where}.{name}"
        yield from _of(field.metadata, value, at, settings)
        yield from _walk(field.annotation, value, at, settings)


def _of(metadata: Any, value: Any, where: str, owner: BaseModel) -> Iterator[Found]:
    if value is not None:
        for mark in metadata:
            if isinstance(mark, Mark):
                yield Found(where, mark, value, owner)


def _walk(kind: Any, value: Any, where: str, owner: BaseModel) -> Iterator[Found]:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _of(inner[1:], value, where, owner)
        yield from _walk(inner[0], value, where, owner)
    elif origin in (Union, UnionType):
        for one in inner:
            if _fits(one, value):
                yield from _walk(one, value, where, owner)
    elif isinstance(value, BaseModel):
        yield from marked(value, where)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _walk(inner[1], part, f"{where}.{key}", owner)
    elif isinstance(value, tuple):
        kinds = inner[:1] * len(value) if inner[-1:] == (...,) else inner
        for one, part in zip(kinds, value, strict=True):
            yield from _walk(one, part, where, owner)


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value is of one kind of a union."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _fits(inner[0], value)
    if origin in (Union, UnionType):
        return any(_fits(one, value) for one in inner)
    if origin is Literal:
        return value in inner
    return isinstance(value, origin or kind)
