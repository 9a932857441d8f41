"""How a number is written: with its sign, its unit and no more digits than it has.

- A quantity that can be negative always shows its sign; one that cannot (a count, a share, a norm)
  shows none. The unit decides, unless the caller does.
- With an interval, value and bounds have the decimals that give half the interval's width two
  significant digits; without, three significant digits. Counts and steps are whole.
- Only shares become percent.
"""

from __future__ import annotations

import math
from typing import TypeGuard

UNSIGNED_UNITS = frozenset(
    {
        "1",
        "checkpoints",
        "degree",
        "directions",
        "edges",
        "id",
        "keys",
        "nat/token",
        "pairs",
        "parameter unit",
        "parameter unit²",
        "probability",
        "reads",
        "s",
        "share",
        "step",
        "steps",
        "tokens",
        "unit of the measure",
        "writes",
    }
)
"""Units of quantities that are never negative, unless they are differences.

``unit of the measure`` heads columns of several measures, most of which are never negative.
"""

_WHOLE_UNITS = frozenset({"checkpoints", "id", "step", "steps"})
_DIGITS = 3
_ROUNDING = 1e-9  # an interval narrower than this share of its ends has no width
ABSENT = "not defined"


def format_number(
    value: float | None,
    unit: str,
    low: float | None = None,
    high: float | None = None,
    *,
    signed: bool | None = None,
) -> str:
    """Write a number in one line: ``+3.21 score (95% interval +2.92 to +3.51)``.

    Args:
        value: the number; None or NaN reads "not defined".
        unit: "1" is not shown, "share" is shown as percent.
        low, high: the 95% interval, both or neither.
        signed: write ``+`` before positive numbers; None lets the unit decide.
    """
    text = format_value(value, unit, low, high, signed=signed)
    interval = format_interval(value, unit, low, high, signed=signed)
    return f"{text} (95% interval {interval})" if interval else text


def format_value(
    value: float | None,
    unit: str,
    low: float | None = None,
    high: float | None = None,
    *,
    signed: bool | None = None,
    with_unit: bool = True,
) -> str:
    """The value and its unit, with the digits that its interval allows."""
    if not _finite(value):
        return ABSENT
    text = _write(value, unit, _decimals(value, unit, low, high), _signed(unit, signed))
    return f"{text} {unit}" if with_unit and unit not in ("1", "share") else text


def format_interval(
    value: float | None,
    unit: str,
    low: float | None,
    high: float | None,
    *,
    signed: bool | None = None,
) -> str:
    """``+2.92 to +3.51``, with the decimals of the value; empty without an interval."""
    if not (_finite(low) and _finite(high)):
        return ""
    decimals = _decimals(value if _finite(value) else low, unit, low, high)
    return " to ".join(
        _write(bound, unit, decimals, _signed(unit, signed)) for bound in (low, high)
    )


def _finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _signed(unit: str, signed: bool | None) -> bool:
    return unit not in UNSIGNED_UNITS if signed is None else signed


def _decimals(value: float, unit: str, low: float | None, high: float | None) -> int | None:
    """Decimals to show, or None for scientific notation (of what is written, so percent)."""
    if unit in _WHOLE_UNITS:
        return 0
    if _finite(low) and _finite(high) and high - low > _ROUNDING * max(abs(low), abs(high)):
        size, digits = (high - low) / 2, 2
    elif value == 0 or (unit == "1" and float(value).is_integer()):
        return 0
    else:
        size, digits = abs(value), _DIGITS
    shown = size * (100.0 if unit == "share" else 1.0)
    # The power of ten of the leading digit is that after rounding.
    decimals = digits - int(f"{shown:.{_DIGITS - 1}e}".partition("e")[2]) - 1
    return max(decimals, 0) if decimals <= 6 else None


def _write(value: float, unit: str, decimals: int | None, signed: bool) -> str:
    shown = 100 * value if unit == "share" else value
    if decimals is None:
        digits, _, exponent = f"{abs(shown):.{_DIGITS - 1}e}".partition("e")
        text = f"{digits}e{int(exponent)}"
    else:
        text = f"{abs(shown):,.{decimals}f}"
    is_zero = not any(digit in "123456789" for digit in text.partition("e")[0])
    sign = "" if is_zero else "−" if value < 0 else "+" if signed else ""
    return f"{sign}{text}%" if unit == "share" else f"{sign}{text}"
