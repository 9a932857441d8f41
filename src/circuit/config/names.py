"""Names that must lead somewhere, in the configuration and in the runs that it is meant for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from circuit.config.terms import HEAD_ROLES
from circuit.errors import AnalysisError, ConfigError, nearest


def need(
    name: str, valid: Iterable[str], what: str, where: str, do: str = "correct the name or add it"
) -> None:
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
            do=f"did you mean {guess!r}?" if guess else do,
        )


def need_scan(head: str | None, scan: str | None, where: str) -> None:
    """Refuse a head that a scan chooses, such as ``winner``, where no scan is named.

    Raises:
        ConfigError: naming the head and the setting that is missing.
    """
    if head in HEAD_ROLES and scan is None:
        raise ConfigError(
            what=f"head {head!r} is one that a scan chooses, and none is named",
            where=where,
            expected="heads: the name of an analysis of kind head_scan",
            do="add heads, or name a head such as L1H3",
        )


@contextmanager
def told_of(run: str, where: str) -> Iterator[None]:
    """What a model does not have, as an error of the configuration: in which run, and where."""
    try:
        yield
    except AnalysisError as error:
        raise ConfigError(
            what=f"{error.what} in run {run!r}",
            where=where,
            expected=error.expected,
            do=error.do,
        ) from None
