"""Which rows a view shows, and how templates of words are filled in.

:func:`select` carries out a :data:`circuit.reports.views.Where`; :func:`control_rows` finds the
controls that stand beside the rows; :func:`fill` puts values in the place of braces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from circuit.errors import AnalysisError, nearest
from circuit.estimates import ALL
from circuit.reports.views import Not, Where

_DEFAULTS = {"half": ALL, "against": ""}
_ENDS = {"first": min, "last": max}


def select(
    rows: pd.DataFrame, where: Where, settings: Mapping[str, Any], some: bool = True
) -> pd.DataFrame:
    """The rows that meet all conditions, in the order of the conditions' tuples.

    Args:
        some: there must be some.

    Raises:
        AnalysisError: a column or a setting is unknown, or no row is left.
    """
    wanted = _resolved(rows, where, settings, some)
    found = meeting(rows, wanted)
    if some and found.empty:
        raise _nothing(rows, wanted)
    return found


def control_rows(
    rows: pd.DataFrame, where: Where, control: Sequence[str], settings: Mapping[str, Any]
) -> pd.DataFrame:
    """The rows of the named controls that stand beside what :func:`select` gives.

    ``first`` and ``last`` are the steps of the estimates, not of the controls.

    Raises:
        AnalysisError: as :func:`select`, or a control has no row.
    """
    wanted = _resolved(rows, where, settings)
    found = meeting(rows, {**wanted, "against": tuple(control)})
    for name in control:
        if not (found["against"] == name).any():
            raise _nothing(rows, {**wanted, "against": name})
    return found


def ends(rows: pd.DataFrame) -> dict[str, Any]:
    """What templates call ``first`` and ``last``: the first and last step of some rows."""
    if "step" not in rows or rows.empty:
        return {}
    return {"first": rows["step"].min(), "last": rows["step"].max()}


def meeting(rows: pd.DataFrame, wanted: Mapping[str, Any]) -> pd.DataFrame:
    """The rows that meet plain conditions, in the order of the conditions' tuples."""
    met = np.ones(len(rows), bool)
    for column, value in wanted.items():
        if isinstance(value, Not):
            met &= ~rows[column].isin(value.values).to_numpy()
        else:
            met &= rows[column].isin(_several(value)).to_numpy()
    rows = rows[met]
    for column, value in reversed(list(wanted.items())):
        if isinstance(value, tuple):
            place = {one: i for i, one in reversed(list(enumerate(value)))}
            rows = rows.sort_values(column, key=lambda c, place=place: c.map(place), kind="stable")
    return rows


def _resolved(
    rows: pd.DataFrame, where: Where, settings: Mapping[str, Any], some: bool = True
) -> dict[str, Any]:
    """The conditions with settings and steps put in, and what is meant where nothing is said."""
    for column in where:
        if column not in rows:
            meant = nearest(column, rows.columns)
            raise AnalysisError(
                f"rows have no column {column!r}",
                where=str(dict(where)),
                expected=f"one of {', '.join(rows.columns)}",
                do=f"did you mean {meant}?" if meant else "name a column of the table",
            )
    wanted: dict[str, Any] = {name: one for name, one in _DEFAULTS.items() if name in rows}
    wanted |= {name: _put_in(value, settings) for name, value in where.items()}
    steps = wanted.get("step")
    ends = steps.values if isinstance(steps, Not) else _several(steps)
    if any(isinstance(one, str) and one in _ENDS for one in ends):
        left = meeting(rows, {name: value for name, value in wanted.items() if name != "step"})
        if left.empty and not some:
            return wanted
        if left.empty:
            raise _nothing(rows, wanted)
        found = tuple(int(_ENDS[one](left["step"])) if one in _ENDS else one for one in ends)
        wanted["step"] = Not(*found) if isinstance(steps, Not) else found
    return wanted


def _put_in(value: Any, settings: Mapping[str, Any]) -> Any:
    """The value with the settings that it names."""
    if isinstance(value, Not):
        found = [one for part in value.values for one in _several(_put_in(part, settings))]
        return Not(*found)
    if isinstance(value, (list, tuple)):
        return tuple(one for part in value for one in _several(_put_in(part, settings)))
    if not (isinstance(value, str) and value.startswith("$")):
        return value
    name, _, place = value[1:].removesuffix("]").partition("[")
    if name not in settings:
        raise AnalysisError(
            f"the analysis has no setting {name!r}",
            where=value,
            expected=f"one of {', '.join(settings)}",
            do="name a setting of this kind after the $",
        )
    return _put_in(settings[name][int(place)] if place else settings[name], {})


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _nothing(rows: pd.DataFrame, wanted: Mapping[str, Any]) -> AnalysisError:
    """The error of conditions that no row meets: what the first fruitless one could have been."""
    left = rows
    for column, value in wanted.items():
        before, left = left, meeting(left, {column: value})
        if left.empty:
            break
    there = [str(one) for one in dict.fromkeys(before[column])]
    shown = ", ".join(there[:12]) + (f" and {len(there) - 12} more" if len(there) > 12 else "")
    told = f"any but {value.values}" if isinstance(value, Not) else f"{value!r}"
    return AnalysisError(
        f"no row has {column} {told}",
        where=", ".join(f"{name}={one!r}" for name, one in wanted.items() if name != column),
        expected=f"one of {shown or 'the rows, but the table is empty'}",
        do="mend the view's conditions, or write the rows that it shows",
    )


def fill(template: str, known: Mapping[str, Any]) -> str:
    """A template with its fields filled in.

    Whole numbers get thousands separators, lists commas, and names from code such as ``runner_up``
    are written as people write them with the format ``words``.

    Raises:
        AnalysisError: it names a field that there is not.
    """
    try:
        return template.format_map({name: _spoken(value) for name, value in known.items()})
    except (KeyError, AttributeError, IndexError, TypeError) as error:
        facts = known.get("facts", {})
        raise AnalysisError(
            f"nothing is called {error.args[0] if error.args else error!r}",
            where=template,
            expected=f"one of {', '.join(map(str, known))}; of facts: {', '.join(facts)}",
            do="correct the words in the kind's view.py, or let its measuring say it",
        ) from None


class _Words(str):
    """A text that the format ``words`` writes as people do."""

    def __format__(self, spec: str) -> str:
        return self.replace("_", " ") if spec == "words" else super().__format__(spec)


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
