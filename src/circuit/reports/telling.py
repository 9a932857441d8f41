"""From rows and findings to sentences, numbers, tables and marks.

1. A finding's rows are looked up, one of them picked where the finding says so.
2. Its controls and its paired excess are the rows that differ in what the finding names.
3. :func:`circuit.evidence.verdict` decides.
4. The template of that verdict becomes the sentence; effect, excess and controls become numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from circuit.errors import AnalysisError
from circuit.estimates import ALL, CONFIRMATION, EXCESS, FIXED, SELECTION, keys_of
from circuit.evidence import Estimate, Verdict, verdict
from circuit.reports.document import Number, Table
from circuit.reports.findings import Criteria, Finding, Sum, Told, When
from circuit.reports.quantities import format_interval, format_number, format_value
from circuit.reports.rows import select
from circuit.reports.style import words
from circuit.reports.views import Listing

_DECIMALS = 6  # of shares: float32's rounding would make an interval of its own
_SMALL = 0.001  # of the largest part; what is less is in the tables alone


@dataclass(frozen=True)
class Outcome:
    """What one finding came to.

    Attributes:
        finding: its name; ``about``: the key columns of the row told.
        verdict: of the rule of evidence.
        sentence: empty where the finding says nothing.
    """

    finding: str
    verdict: Verdict
    sentence: str
    about: Mapping[str, Any] = field(default_factory=dict)
    numbers: Sequence[Number] = ()
    marks: Sequence[str] = ()
    control: str = ""
    compared: int = 1

    @property
    def record(self) -> dict[str, Any]:
        """What ``report.json`` says of it, for claims and other machines."""
        return {
            "name": self.finding,
            "verdict": self.verdict,
            "about": {k: v for k, v in self.about.items() if v != ""},
            "control": self.control,
            "compared": self.compared,
        }


@dataclass(frozen=True)
class Context:
    """What templates and conditions may name beyond the rows."""

    tables: Mapping[str, pd.DataFrame]
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]

    def rows(self, table: str, where: Mapping[str, Any]) -> pd.DataFrame:
        """The rows of a table that meet some conditions; maybe none."""
        return select(self.tables[table], where, self.settings, empty=True)

    def bound(self, given: float | str | None) -> float | None:
        """A bound, or the setting that holds it."""
        return float(self.settings[given[1:]]) if isinstance(given, str) else given

    def say(self, template: str, fields: Mapping[str, Any]) -> str:
        """A template with its fields filled in."""
        known = {**self.settings, "facts": self.facts, **fields}
        try:
            return template.format_map({k: _spoken(v) for k, v in known.items()})
        except (KeyError, AttributeError, IndexError) as error:
            raise AnalysisError(
                f"template names {error}, which is no field",
                where=template,
                expected=f"one of {', '.join(map(str, known))}",
                do="correct the template in the kind's view.py",
            ) from None


class _Words(str):
    """A text that the format ``words`` writes as people do."""

    def __format__(self, spec: str) -> str:
        return words(self) if spec == "words" else super().__format__(spec)


class _Whole(int):
    """A whole number with thousands separators."""

    def __format__(self, spec: str) -> str:
        return super().__format__(spec or ",")


def _spoken(value: Any) -> Any:
    if isinstance(value, str):
        return _Words(value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return value
    return _Whole(value)


class Said:
    """A row's number as templates write it: with its unit and interval, or in parts."""

    def __init__(self, row: pd.Series) -> None:
        share = row["unit"] == "share"
        self.mean, self.low, self.high = (
            round(float(row[end]), _DECIMALS) if share else float(row[end])
            for end in ("mean", "low", "high")
        )
        self.unit, self.count = str(row["unit"]), int(row["count"])
        # An excess of shares may be negative, so its sign is told.
        self.signed = True if str(row["against"]).startswith(EXCESS) else None

    @property
    def estimate(self) -> Estimate:
        """For the rule of evidence."""
        return Estimate(self.mean, self.low, self.high, self.count)

    @property
    def short(self) -> str:
        """The number with its unit, in the digits that its interval allows."""
        return format_value(self.mean, self.unit, self.low, self.high, signed=self.signed)

    @property
    def interval(self) -> str:
        """``+2.92 to +3.51``."""
        return format_interval(self.mean, self.unit, self.low, self.high, signed=self.signed)

    def __format__(self, spec: str) -> str:
        return self.short if spec == "short" else str(self)

    def __str__(self) -> str:
        return format_number(self.mean, self.unit, self.low, self.high, signed=self.signed)

    def number(self, name: str, note: str = "") -> Number:
        """As a number of the report."""
        low, high = (None if math.isnan(end) else end for end in (self.low, self.high))
        mean = None if math.isnan(self.mean) else self.mean
        return Number(
            name, mean, self.unit, low, high, self.count or None, note, signed=self.signed
        )


def tell(findings: Sequence[Told], context: Context) -> list[Outcome]:
    """What every finding came to, in their order.

    Raises:
        AnalysisError: a finding has neither a control nor a reason for having none, or names
            columns or fields that there are not.
    """
    told: list[Outcome] = []
    for finding in findings:
        _check(finding)
        rows = context.rows(finding.table, finding.where)
        for part in _each(rows, finding.each):
            if isinstance(finding, Finding):
                found = _effect(finding, part, context)
            elif isinstance(finding, Sum):
                found = _sum(finding, part, context)
            elif isinstance(finding, When):
                found = _when(finding, part, context)
            else:
                assert isinstance(finding, Criteria)
                found = _criteria(finding, part, context)
            told.append(found)
    return told


def _check(finding: Told) -> None:
    controlled = isinstance(finding, Finding) and finding.control
    if not controlled and not finding.uncontrolled:
        raise AnalysisError(
            f"finding {finding.name!r} has no control",
            where="the kind's view.py",
            expected="conditions of its control, or the reason why there is none",
            do="give control or uncontrolled",
        )


def _each(rows: pd.DataFrame, each: Sequence[str]) -> Iterator[pd.DataFrame]:
    if rows.empty or not each:
        yield from [rows] if len(rows) else []
        return
    for _, part in rows.groupby(list(each), sort=False):
        yield part


def _effect(finding: Finding, rows: pd.DataFrame, context: Context) -> Outcome:
    table = context.tables[finding.table]
    row, again, compared = _picked(finding, rows, table)
    effect = Said(row)
    other = [_replaced(table, row, control) for control in finding.control]
    controls = [Said(found) for found in other if found is not None]
    paired = _paired(table, row)
    excess = None if paired is None else Said(paired)
    came = verdict(
        effect.estimate,
        [control.estimate for control in controls],
        None if excess is None else excess.estimate,
        context.bound(finding.bound),
    )
    fields = {
        **_fields(row, rows),
        "effect": effect,
        "excess": excess,
        "control": controls[0] if controls else None,
        "controls": controls,
        "of": compared,
        "again": ", ".join(map(str, again)),
        **{f"control_{key}": value for key, value in _keys(other[0]).items()},
    } if other and other[0] is not None else {
        **_fields(row, rows),
        "effect": effect,
        "excess": excess,
        "of": compared,
        "again": ", ".join(map(str, again)),
    }
    name = context.say(finding.number or finding.name, fields)
    notes = [f"the largest of {compared:,}" if compared > 1 else ""]
    if row["half"] == CONFIRMATION and finding.pick:
        notes.append("events that did not choose it")
    numbers = [effect.number(name, "; ".join(filter(None, notes)))]
    if excess is not None:
        numbers.append(excess.number(f"{name}, beyond its control", "paired"))
    numbers += [
        said.number(f"{name}, {_named(found, row)}", "control")
        for said, found in zip(controls, (o for o in other if o is not None), strict=True)
    ]
    marks = _marks(finding, came, context, fields)
    picked = tuple(row[key] for key in finding.pick)
    if again and again != picked:
        marks.append(
            f"{name}: the half of the events that confirms would have chosen "
            f"{', '.join(map(str, again))} instead of {', '.join(map(str, picked))}."
        )
    return Outcome(
        finding.name,
        came,
        _sentence(finding, came, context, fields),
        _keys(row),
        numbers,
        marks,
        "; ".join(_named(found, row) for found in other if found is not None)
        or finding.uncontrolled,
        compared,
    )


def _picked(
    finding: Finding, rows: pd.DataFrame, table: pd.DataFrame
) -> tuple[pd.Series, tuple[Any, ...], int]:
    """The row told, what the confirming half would have picked, and how many were compared."""
    if not finding.pick:
        if len(rows) > 1:
            raise AnalysisError(
                f"finding {finding.name!r} is about {len(rows)} rows",
                where="the kind's view.py",
                expected="conditions that leave one row, or a key to pick by",
                do="narrow where, or give each or pick",
            )
        return rows.iloc[0], (), 1
    keys = list(finding.pick)
    asked = rows.iloc[0]
    same = [k for k in keys_of(table) if k not in keys] + ["step", "measure"]
    same = [k for k in same if rows[k].nunique() == 1]
    near = table[(table[same] == asked[same]).all(axis=1)]
    near = near.merge(rows[keys].drop_duplicates(), on=keys)
    chosen = {}
    for half in (SELECTION, CONFIRMATION, ALL):
        part = near[near["half"] == half]
        ranked = part[part["against"] == EXCESS]
        ranked = ranked if len(ranked) else part[part["against"] == ""]
        if len(ranked):
            size = ranked["mean"].abs() if finding.rank == "size" else ranked["mean"]
            best = size.idxmin() if finding.rank == "smallest" else size.idxmax()
            chosen[half] = tuple(ranked.loc[best, keys])
    halved = SELECTION in chosen and CONFIRMATION in chosen
    picked = chosen[SELECTION] if halved else chosen[ALL]
    told = near[(near[keys] == list(picked)).all(axis=1) & (near["against"] == "")]
    told = told[told["half"] == (CONFIRMATION if halved else ALL)]
    return told.iloc[0], chosen[CONFIRMATION] if halved else (), len(rows[keys].drop_duplicates())


def _replaced(table: pd.DataFrame, row: pd.Series, change: Mapping[str, Any]) -> pd.Series | None:
    """The row that differs from one in what a control names.

    Another head has another name: if no row agrees in all else, keys that the changed ones decide
    may differ too.
    """
    keys = [*keys_of(table), "step", "measure", "against", "half"]
    changed = {k: (_end(table, v) if k == "step" else v) for k, v in change.items()}
    part = _meeting(table, changed)
    found = _meeting(part, {k: row[k] for k in keys if k not in changed})
    if found.empty:
        free = {k for k in keys_of(table) if k not in changed and part[k].nunique() == 1}
        found = _meeting(part, {k: row[k] for k in keys if k not in {*changed, *free}})
    return found.iloc[0] if len(found) else None


def _meeting(table: pd.DataFrame, wanted: Mapping[str, Any]) -> pd.DataFrame:
    for key, value in wanted.items():
        table = table[table[key] == value]
    return table


def _end(table: pd.DataFrame, step: Any) -> Any:
    return {"first": table["step"].min(), "last": table["step"].max()}.get(step, step)


def _paired(table: pd.DataFrame, row: pd.Series) -> pd.Series | None:
    return _replaced(table, row, {"against": EXCESS})


def _sum(finding: Sum, rows: pd.DataFrame, context: Context) -> Outcome:
    parts = rows.groupby(finding.parts, sort=False)["mean"].sum()
    unit = str(rows["unit"].iloc[0])
    least = _SMALL * parts.abs().max()
    ordered = parts.reindex(parts.abs().sort_values(ascending=False, kind="stable").index)
    sides = {}
    for side, sign in (("raised", 1), ("lowered", -1)):
        held = ordered[(ordered * sign > 0) & (ordered.abs() >= least)]
        sides[side] = _list(held, unit, finding)
    whole = None
    if finding.whole:
        table = context.tables[finding.table]
        whole = _replaced(table, rows.iloc[0].replace({}), finding.whole)
    fields = {**_fields(rows.iloc[0], rows), **sides, "whole": Said(whole) if whole is not None else ""}
    numbers = [
        Number(f"{finding.name}: {finding.names.get(str(p), words(str(p)))}", float(v), unit,
               note="summand", signed=True)
        for p, v in parts.items()
    ]  # fmt: skip
    came: Verdict = "shown"
    return Outcome(finding.name, came, _sentence(finding, came, context, fields),
                   _keys(rows.iloc[0]), numbers, _marks(finding, came, context, fields),
                   finding.uncontrolled, len(parts))  # fmt: skip


def _list(parts: pd.Series, unit: str, finding: Sum) -> str:
    """The largest of some parts, and what the others gave together."""
    most = len(parts) if len(parts) == finding.most + 1 else finding.most
    told = [(finding.names.get(str(p), words(str(p))), float(v)) for p, v in parts.iloc[:most].items()]
    if len(parts) > most:
        told.append((f"{len(parts) - most} more", float(parts.iloc[most:].sum())))
    return ", ".join(f"{n} {format_value(v, unit, signed=True)}" for n, v in told) or "nothing"


def _when(finding: When, rows: pd.DataFrame, context: Context) -> Outcome:
    if len(rows) != 1:
        raise AnalysisError(
            f"event {finding.name!r} is about {len(rows)} rows",
            where="the kind's view.py",
            expected="conditions that leave one row",
            do="narrow where, or give each",
        )
    row = rows.iloc[0]
    effect = Said(row)
    came: Verdict = "open" if math.isnan(effect.mean) else "shown"
    fields = {**_fields(row, rows), "effect": effect}
    name = context.say(finding.name, fields)
    return Outcome(finding.name, came, _sentence(finding, came, context, fields), _keys(row),
                   [effect.number(name)], _marks(finding, came, context, fields),
                   finding.uncontrolled)  # fmt: skip


def _criteria(finding: Criteria, rows: pd.DataFrame, context: Context) -> Outcome:
    came: dict[str, Verdict] = {}
    for test in finding.tests:
        found = select(rows, test.where, context.settings, empty=True)
        bound = context.bound(test.above if test.above is not None else test.below)
        for _, row in found.iterrows():
            side = verdict(Said(row).estimate, bound=bound)
            if test.below is not None:
                side = {"shown": "opposite", "opposite": "shown"}.get(side, side)  # type: ignore[assignment]
            came[test.name] = side
    failed = [name for name, side in came.items() if side != "shown"]
    overall: Verdict = "shown" if not failed else "open"
    if any(side == "opposite" for side in came.values()):
        overall = "opposite"
    fields = {
        **_fields(rows.iloc[0], rows),
        "met": ", ".join(n for n in came if n not in failed),
        "failed": ", ".join(failed),
    }
    return Outcome(finding.name, overall, _sentence(finding, overall, context, fields),
                   _keys(rows.iloc[0]), (), _marks(finding, overall, context, fields),
                   finding.uncontrolled, len(came))  # fmt: skip


def _sentence(
    finding: Told, came: Verdict, context: Context, fields: Mapping[str, Any]
) -> str:
    if finding.quiet:
        return ""
    says = finding.says if isinstance(finding.says, str) else finding.says.get(came, "")
    return context.say(says, fields)


def _marks(
    finding: Told, came: Verdict, context: Context, fields: Mapping[str, Any]
) -> list[str]:
    text = finding.marks.get(came)
    return [context.say(text, fields)] if text else []


def _fields(row: pd.Series, rows: pd.DataFrame) -> dict[str, Any]:
    fixed = {name: row[name] for name in ("step", "measure", "half", "noun", "unit")}
    return {**_keys(row), **fixed, "first": rows["step"].min(), "last": rows["step"].max()}


def _keys(row: pd.Series) -> dict[str, Any]:
    return {
        str(name): value.item() if hasattr(value, "item") else value
        for name, value in row.items()
        if name not in FIXED
    }


def _named(control: pd.Series, row: pd.Series) -> str:
    """A control by what tells it from the row told."""
    if control["against"]:
        return str(control["against"])
    other = [words(str(control[k])) for k in control.index
             if k not in FIXED and control[k] != row[k] and str(control[k])]  # fmt: skip
    if control["step"] != row["step"]:
        other.append(f"at step {control['step']:,}")
    return ", ".join(other)


def listing(view: Listing, context: Context) -> Table | None:
    """The rows of a listing as a table of the report, None where there are none."""
    rows = context.rows(view.table, view.where)
    if rows.empty:
        return None
    table = context.tables[view.table]
    fields = {"first": rows["step"].min(), "last": rows["step"].max()}
    title = context.say(view.title, fields)
    keys = list(view.keys) or [
        key for key in (*keys_of(rows), "step", "measure") if rows[key].nunique() > 1
    ]
    if view.sort:
        rows = rows.reindex(rows["mean"].abs().sort_values(ascending=False, kind="stable").index)
    shown = rows
    if view.across:
        keys = [key for key in keys if key != view.across]
        spread = rows.pivot_table(
            index=keys, columns=view.across, values="mean", sort=False, aggfunc="first"
        )
        units = rows.drop_duplicates(view.across).set_index(view.across)["unit"].to_dict()
        frame = spread.reset_index()
        frame.columns = [str(column) for column in frame.columns]
        named = {str(column): unit for column, unit in units.items()}
    else:
        one = rows["unit"].nunique() == 1
        columns = ["mean", "low", "high", "count", *([] if one else ["unit"])]
        columns = [c for c in columns if not rows[c].isna().all() and not (c == "count" and not rows[c].any())]
        frame = shown[[*keys, *columns]]
        unit = str(rows["unit"].iloc[0]) if one else "unit of the row"
        named = {**dict.fromkeys(("mean", "low", "high"), unit), "count": "1"}
        for control in view.control:
            other = [_replaced(table, row, {"against": control}) for _, row in shown.iterrows()]
            frame = frame.assign(**{control: [None if o is None else o["mean"] for o in other]})
            frame[control] = frame[control].astype(float)
            named[control] = unit
    if view.top is not None and len(frame) > view.top:
        title = f"{title} (the first {view.top} of {len(frame):,})"
        frame = frame.head(view.top)
    numeric = {"step": "step", **{k: "1" for k in keys if pd.api.types.is_numeric_dtype(frame[k])}}
    return Table(title, frame.reset_index(drop=True), {**numeric, **named})
