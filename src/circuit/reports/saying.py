"""Templates and numbers: how words of a kind's view are filled in from its rows.

A template is a text with fields in braces. Whole numbers get thousands separators, names from code
are written as people write them with the format ``words``, and a row's number (:class:`Said`) has
its unit, interval and the digits that the interval allows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from circuit.errors import AnalysisError
from circuit.estimates import EXCESS
from circuit.evidence import Estimate
from circuit.reports.document import Number
from circuit.reports.quantities import format_interval, format_number, format_value
from circuit.reports.rows import select
from circuit.reports.style import words

_DECIMALS = 6  # of shares: float32's rounding would make an interval of its own


@dataclass(frozen=True)
class Context:
    """What conditions and templates may name: tables, settings, what measuring said of itself."""

    tables: Mapping[str, pd.DataFrame]
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]

    def rows(self, table: str, where: Mapping[str, Any]) -> pd.DataFrame:
        """The rows of a table that meet some conditions; maybe none.

        Raises:
            AnalysisError: there is no such table, or a condition names what there is not.
        """
        if table not in self.tables:
            raise AnalysisError(
                f"there is no table {table!r}",
                where="the kind's view.py",
                expected=f"one of {', '.join(self.tables)}",
                do="name a table that the kind's measuring writes",
            )
        return select(self.tables[table], where, self.settings, some=False)

    def bound(self, given: float | str | None) -> float | None:
        """A bound, or the setting that holds it."""
        return float(self.settings[given[1:]]) if isinstance(given, str) else given

    def say(self, template: str, fields: Mapping[str, Any] | None = None) -> str:
        """A template with its fields filled in.

        Raises:
            AnalysisError: it names a field that there is not.
        """
        known = {**self.settings, "facts": self.facts, **(fields or {})}
        try:
            return template.format_map({name: _spoken(value) for name, value in known.items()})
        except (KeyError, AttributeError, IndexError, TypeError) as error:
            raise AnalysisError(
                f"nothing is called {error.args[0] if error.args else error!r}",
                where=template,
                expected=f"one of {', '.join(map(str, known))}; of facts: {', '.join(self.facts)}",
                do="correct the words in the kind's view.py, or let its measuring say it",
            ) from None


class _Words(str):
    """A text that the format ``words`` writes as people do."""

    def __format__(self, spec: str) -> str:
        return words(self) if spec == "words" else super().__format__(spec)


class _Whole(int):
    """A whole number with thousands separators."""

    def __format__(self, spec: str) -> str:
        return super().__format__(spec or ",")


class _Several(list[Any]):
    """Several values, separated by commas."""

    def __format__(self, spec: str) -> str:
        return ", ".join(format(value, spec) for value in self)


def _spoken(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _spoken(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return _Several(_spoken(one) for one in value)
    if isinstance(value, str):
        return _Words(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return value
    return _Whole(value)


class Said:
    """A row's number as templates write it: ``+8.9 score (95% interval +7.5 to +10.3)``.

    Attributes:
        mean, low, high, unit, count: of the row; shares without the rounding of float32.
    """

    def __init__(self, row: pd.Series) -> None:
        self.unit, self.count = str(row["unit"]), int(row["count"])
        digits = _DECIMALS if self.unit == "share" else None
        self.mean, self.low, self.high = (
            float(row[end]) if digits is None else round(float(row[end]), digits)
            for end in ("mean", "low", "high")
        )
        # A difference may be negative whatever its unit, so its sign is told.
        self._signed = True if str(row["against"]).startswith(EXCESS) else None

    @property
    def estimate(self) -> Estimate:
        """For the rule of evidence."""
        return Estimate(self.mean, self.low, self.high, self.count)

    @property
    def short(self) -> str:
        """The number with its unit, in the digits that its interval allows."""
        return format_value(self.mean, self.unit, self.low, self.high, signed=self._signed)

    @property
    def interval(self) -> str:
        """``+7.5 to +10.3``."""
        return format_interval(self.mean, self.unit, self.low, self.high, signed=self._signed)

    def __format__(self, spec: str) -> str:
        return self.short if spec == "short" else str(self)

    def __str__(self) -> str:
        return format_number(self.mean, self.unit, self.low, self.high, signed=self._signed)

    def number(self, name: str, note: str = "") -> Number:
        """As a number of the report."""
        low, high = (None if math.isnan(end) else end for end in (self.low, self.high))
        mean = None if math.isnan(self.mean) else self.mean
        count = self.count or None
        return Number(name, mean, self.unit, low, high, count, note, signed=self._signed)
