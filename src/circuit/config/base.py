"""What all settings share: they are immutable, and a misspelt key is an error that says so.

Scalars are of their field's own type (no text or truth value for a number, no infinity), and a
list is one of the types here, which say whether it may be empty; none holds an entry twice.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, model_validator

from circuit.errors import nearest


class Frozen(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    guess = nearest(str(key), cls.model_fields)
                    hint = f"did you mean {guess!r}? " if guess else ""
                    valid = ", ".join(cls.model_fields)
                    raise ValueError(f"unknown key {key!r}; {hint}valid keys: {valid}")
        return data


def _check_name(name: str) -> str:
    if not name or not all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
        raise ValueError(
            f"name {name!r} becomes a folder, so it may hold only letters, digits, '_' and '-' "
            "(no path separators, dots or spaces)"
        )
    if len(name) > 100:
        raise ValueError(f"name {name!r} has {len(name)} letters; a folder's may have up to 100")
    return name


Name = Annotated[str, AfterValidator(_check_name)]
"""A name that is also one folder's name."""


Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
StepNumber = Annotated[int, Field(ge=0, le=10_000_000)]
Steps = Annotated[tuple[StepNumber, StepNumber], Strict(False)]
"""The first and the last step of a window."""
_Entry = TypeVar("_Entry")


def differ(entries: Any) -> Any:
    """Refuse a list that holds an entry twice."""
    if not isinstance(entries, str) and len(set(entries)) < len(entries):
        twice = next(entry for entry in entries if entries.count(entry) > 1)
        raise ValueError(f"{twice!r} is named twice; name each once")
    return entries


Listed = Annotated[
    tuple[_Entry, ...],
    Strict(False),
    AfterValidator(differ),
    Field(json_schema_extra={"uniqueItems": True}),
]
"""A list that may be empty."""
Several = Annotated[Listed[_Entry], Field(min_length=1)]
"""A list of at least one."""
