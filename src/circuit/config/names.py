"""Names that must lead somewhere."""

from __future__ import annotations

from collections.abc import Iterable

from circuit.errors import ConfigError, nearest


def need(name: str, valid: Iterable[str], what: str, where: str) -> None:
    """Refuse a name that there is not.

    Raises:
        ConfigError: naming ``what`` it should be, what there is, and the nearest spelling.
    """
    valid = list(valid)
    if name not in valid:
        guess = nearest(name, valid)
        raise ConfigError(
            what=f"{what} {name!r} does not exist",
            where=where,
            expected=f"one of {', '.join(valid)}",
            do=f"did you mean {guess!r}?" if guess else "correct the name or add it",
        )
