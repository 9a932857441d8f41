"""What all settings share: they are immutable, and a misspelt key is an error that says so."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from circuit.errors import nearest


class Frozen(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    return name


Name = Annotated[str, AfterValidator(_check_name)]
"""A name that is also one folder's name."""
