"""A row's number as words say it, and what words may name besides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from circuit.errors import AnalysisError
from circuit.estimates import EXCESS
from circuit.evidence import Estimate
from circuit.reports.document import Number
from circuit.reports.quantities import format_interval, format_number, format_value
from circuit.reports.rows import fill, select

_DECIMALS = 6  # of estimated shares: float32's rounding would make an interval of its own


@dataclass(frozen=True)
class Context:
    """What conditions, templates and drawings by hand may name.

    Attributes:
        facts: what measuring said of itself.
        paths: the files of tables, records and tensors, by name.
    """

    tables: Mapping[str, pd.DataFrame]
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    paths: Mapping[str, str] = field(default_factory=dict)

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

    def say(self, template: str, fields: Mapping[str, Any]) -> str:
        """A template with its fields filled in, settings and facts among them.

        Raises:
            AnalysisError: it names a field that there is not.
        """
        return fill(template, {**self.settings, "facts": self.facts, **fields})


class Said:
    """A row's number as templates write it: ``+8.9 score (95% interval +7.5 to +10.3)``.

    Attributes:
        mean, low, high, unit, count: of the row; shares without the rounding of float32.
    """

    def __init__(self, row: pd.Series) -> None:
        self.unit, self.count = str(row["unit"]), int(row["count"])
        digits = _DECIMALS if self.unit == "share" and pd.notna(row["low"]) else None
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
        """The number with its unit, in the digits that its interval allows; ``step 1,200``."""
        if self.unit == "step" and not self._signed and not math.isnan(self.mean):
            return f"step {self.mean:,.0f}"
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
        if (low is None) != (high is None):
            end = self.high if low is None else self.low
            told = format_value(end, self.unit, signed=self._signed)
            bounded = f"interval {'up to' if low is None else 'from'} {told}, open at its other end"
            note, low, high = "; ".join(filter(None, (note, bounded))), None, None
        mean = None if math.isnan(self.mean) else self.mean
        count = self.count or None
        return Number(name, mean, self.unit, low, high, count, note, signed=self._signed)
