"""From rows and findings to sentences, numbers and marks.

1. A finding's rows are looked up, one of them picked where the finding says so.
2. Its controls and its paired excess are the rows that differ in what the finding names.
3. :func:`circuit.evidence.verdict` decides.
4. The template of that verdict becomes the sentence; effect, excess and controls become numbers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from circuit.errors import AnalysisError
from circuit.estimates import ALL, CONFIRMATION, EXCESS, FIXED, SELECTION, keys_of, over
from circuit.evidence import Estimate, Verdict, verdict
from circuit.reports.document import Number
from circuit.reports.findings import Criteria, Finding, Says, Sum, Test, Told, When
from circuit.reports.quantities import format_value
from circuit.reports.rows import ends, meeting, select
from circuit.reports.saying import Context, Said
from circuit.reports.style import words
from circuit.reports.views import Where

_RANKED = {"largest": "largest", "smallest": "smallest", "size": "largest in size"}
_ONLY = "the control"
_TURNED: dict[Verdict, Verdict] = {"shown": "opposite", "opposite": "shown", "open": "open"}
_SIDES: dict[Verdict, str] = {"shown": "met", "opposite": "refuted", "open": "open"}
_IS_SHOWN: dict[Verdict, str] = {
    "shown": "is shown",
    "opposite": "is not shown, but the opposite",
    "open": "is not shown",
}
_NAMED = 3  # parts on either side of a sum; the others are summed up
_SMALL = 0.001  # of the largest part; what is less is in the tables alone


@dataclass(frozen=True)
class Outcome:
    """What one finding came to.

    Attributes:
        finding: its name.
        verdict: of the rule of evidence.
        sentence: empty where the finding says nothing.
        about: the key columns of the row told, and what it is told by.
        control: what it was compared with, or why with nothing.
        compared: how many it was picked from.
        lines: of a table of criteria, a line for each combination judged.
        key, clause: what it gives the page's first screen.
    """

    finding: str
    verdict: Verdict
    sentence: str
    about: Mapping[str, Any] = field(default_factory=dict)
    numbers: Sequence[Number] = ()
    marks: Sequence[str] = ()
    control: str = ""
    compared: int = 1
    lines: Sequence[Mapping[str, Any]] = ()
    key: str = ""
    clause: str = ""

    @property
    def record(self) -> dict[str, Any]:
        """What ``report.json`` says of it, for machines."""
        return {
            "name": self.finding,
            "verdict": self.verdict,
            "about": {key: value for key, value in self.about.items() if value != ""},
            "control": self.control,
            "compared": self.compared,
            "number": self.numbers[0].name if self.numbers else "",
            "said": bool(self.sentence),
            "key": self.key,
            "clause": self.clause,
        }


def tell(findings: Sequence[Told], context: Context) -> list[Outcome]:
    """What every finding came to, in their order; one without numbers comes to nothing.

    Raises:
        AnalysisError: a finding has neither a control nor a reason for having none, or names
            columns or fields that there are not.
    """
    told: list[Outcome] = []
    for finding in findings:
        if not finding.uncontrolled and not getattr(finding, "control", ()):
            raise _unsound(
                f"finding {finding.name!r} has no control",
                "conditions of its control, or the reason why there is none",
                "give control or uncontrolled",
            )
        rows = context.rows(finding.table, finding.where)
        spoken = context.rows(finding.table, {**finding.where, **finding.spoken}).index
        for part in _each(finding, rows):
            outcome = _TELLERS[type(finding)](finding, part, context)
            said = part.index.isin(spoken).any()
            silent = {"sentence": "", "key": "", "clause": ""}
            told.append(outcome if said else replace(outcome, **silent))
    return told


def _unsound(what: str, expected: str, do: str) -> AnalysisError:
    return AnalysisError(what, where="the kind's view.py", expected=expected, do=do)


def _each(finding: Told, rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The rows of every telling; where there are no numbers only a When has something to say."""
    groups = rows.groupby(list(finding.each), sort=False) if finding.each else [((), rows)]
    for _, part in groups:
        if len(part) and (isinstance(finding, When) or part["mean"].notna().any()):
            yield part


def _only(finding: Told, rows: pd.DataFrame) -> pd.Series:
    if len(rows) > 1:
        raise _unsound(
            f"finding {finding.name!r} is about {len(rows)} rows",
            "conditions that leave one row, or keys to pick or to tell each by",
            "narrow where, or give each or pick",
        )
    return rows.iloc[0]


def _outcome(
    finding: Told,
    came: Verdict,
    row: pd.Series,
    fields: Mapping[str, Any],
    context: Context,
    numbers: Sequence[Number],
    *,
    mark: str = "",
    control: str = "",
    compared: int = 1,
    lines: Sequence[Mapping[str, Any]] = (),
) -> Outcome:
    """An outcome with the verdict's sentence and mark."""

    def said(says: Says) -> str:
        if not isinstance(says, str):
            says = says.get(came, says.get("open", "") if came == "opposite" else "")
        return context.say(says, {**fields, "is_shown": _IS_SHOWN[came]})

    about = {**_keys(row), **{key: _plain(row[key]) for key in finding.each}}
    marks = list(filter(None, (said(finding.marks), mark)))
    control = control or finding.uncontrolled
    told = Outcome(
        finding.name, came, said(finding.says), about, numbers, marks, control, compared, lines
    )
    return replace(told, key=said(finding.key), clause=said(finding.clause))


def _name(finding: Told, fields: Mapping[str, Any], context: Context) -> str:
    """What a finding's number is called."""
    name = context.say(finding.number or finding.name, fields)
    if finding.number or "{" in finding.name:
        return name
    told = [name]
    for key in (*finding.each, *getattr(finding, "pick", ())):
        told.append(f"step {fields[key]:,}" if key == "step" else words(str(fields[key])))
    return ", ".join(told)


# -- effects ---------------------------------------------------------------------------------------


def _effect(finding: Finding, rows: pd.DataFrame, context: Context) -> Outcome:
    table = context.tables[finding.table]
    row, again, compared = _picked(finding, rows, table)
    changes = ({"against": c} if isinstance(c, str) else c for c in finding.control)
    asked = (_beside(table, row, change) for change in changes)
    other = [control for control in asked if control is not None]
    effect, controls = Said(row), [Said(control) for control in other]
    against, named = [one["against"] for one in other], [_named(one, row) for one in other]
    # Paired differences from the control, or where there are several, from each that has one.
    pairs = {EXCESS: _ONLY, **{over(one): one for one in against}}
    paired = {over: _beside(table, row, {"against": name}) for name, over in pairs.items()}
    excesses = {over: Said(one) for over, one in paired.items() if one is not None}
    # The verdict is by the excess where there is one, unpaired where not; all must agree.
    sides = {verdict(effect.estimate, (), one.estimate) for one in excesses.values()}
    left = [
        one.estimate for one, name in zip(controls, against, strict=True) if name not in excesses
    ]
    if not excesses or (left and _ONLY not in excesses):
        sides.add(verdict(effect.estimate, left, bound=context.bound(finding.bound)))
    came = sides.pop() if len(sides) == 1 else "open"
    fields = {**_fields(row, rows), "of": compared}
    fields |= {"effect": effect, "excess": next(iter(excesses.values()), None)}
    if other:
        fields |= {f"control_{key}": value for key, value in _keys(other[0]).items()}
        fields["control"] = controls[0]
    name, note, mark = _name(finding, fields, context), str(came), ""
    if finding.pick:
        unseen = "; events that did not choose it" if row["half"] == CONFIRMATION else ""
        note = f"{came}; {_RANKED[finding.rank]} of {compared:,}{unseen}"
        picked = tuple(row[key] for key in finding.pick)
        if again not in ((), picked):
            mark = (
                f"{name}: the half of the events that confirms would have picked "
                f"{', '.join(map(str, again))} instead of {', '.join(map(str, picked))}."
            )
    numbers = [
        effect.number(name, note),
        *(one.number(f"{name}, beyond {o}", "paired difference") for o, one in excesses.items()),
        *(one.number(f"{name}, control: {o}") for one, o in zip(controls, named, strict=True)),
    ]
    return _outcome(
        finding, came, row, fields, context, numbers,
        mark=mark, control="; ".join(named), compared=compared,
    )  # fmt: skip


def _picked(
    finding: Finding, rows: pd.DataFrame, table: pd.DataFrame
) -> tuple[pd.Series, tuple[Any, ...], int]:
    """The row told, what the confirming half would have picked, and how many were compared."""
    if not finding.pick:
        return _only(finding, rows), (), 1
    keys = list(finding.pick)
    fixed = [key for key in (*keys_of(table), "step", "measure") if rows[key].nunique() == 1]
    near = meeting(table, {key: rows[key].iloc[0] for key in fixed if key not in keys})
    near = near.merge(rows[keys].drop_duplicates(), on=keys)
    best = {}
    for half in (SELECTION, CONFIRMATION, ALL):
        part = meeting(near, {"half": half})
        paired = meeting(part, {"against": EXCESS})
        ranked = paired if len(paired) else meeting(part, {"against": ""})
        if len(ranked):
            size = ranked["mean"].abs() if finding.rank == "size" else ranked["mean"]
            at = size.idxmin() if finding.rank == "smallest" else size.idxmax()
            best[half] = tuple(ranked.loc[at, keys])
    halved = SELECTION in best and CONFIRMATION in best
    picked = dict(zip(keys, best[SELECTION if halved else ALL], strict=True))
    told = meeting(near, {**picked, "against": "", "half": CONFIRMATION if halved else ALL})
    again = best[CONFIRMATION] if halved else ()
    return _only(finding, told), again, len(rows[keys].drop_duplicates())


def _beside(table: pd.DataFrame, row: pd.Series, change: Mapping[str, Any]) -> pd.Series | None:
    """The row that differs from one in what a control names.

    Another head has another name: if no row agrees in all else, keys that the changed ones decide
    may differ too.
    """
    ends = {"first": table["step"].min(), "last": table["step"].max()}
    changed = {key: ends.get(to, to) if key == "step" else to for key, to in change.items()}
    keys = [*keys_of(table), "step", "measure", "against", "half"]
    part = meeting(table, changed)
    found = meeting(part, {key: row[key] for key in keys if key not in changed})
    if found.empty:
        decided = {key for key in keys_of(table) if part[key].nunique() == 1}
        kept = [key for key in keys if key not in changed and key not in decided]
        found = meeting(part, {key: row[key] for key in kept})
    return found.iloc[0] if len(found) else None


# -- sums, events in time, criteria ----------------------------------------------------------------


def _sum(finding: Sum, rows: pd.DataFrame, context: Context) -> Outcome:
    parts = rows.groupby(finding.parts, sort=False)["mean"].sum()
    first, unit = rows.iloc[0], str(rows["unit"].iloc[0])
    ordered = parts.reindex(parts.abs().sort_values(ascending=False, kind="stable").index)
    ordered = ordered[ordered.abs() >= _SMALL * ordered.abs().max()]
    fields = {
        **_fields(first, rows),
        "raised": _list(ordered[ordered > 0], unit, finding),
        "lowered": _list(ordered[ordered < 0], unit, finding),
    }
    name = _name(finding, fields, context)
    numbers = [
        Number(f"{name}: {_part(finding, part)}", float(size), unit, note="summand", signed=True)
        for part, size in parts.items()
    ]
    return _outcome(finding, "shown", first, fields, context, numbers, compared=len(parts))


def _part(finding: Sum, part: Any) -> str:
    return finding.names.get(str(part), words(str(part)))


def _list(parts: pd.Series, unit: str, finding: Sum) -> str:
    """The largest of some parts, and what the others gave together."""
    most = len(parts) if len(parts) == _NAMED + 1 else _NAMED
    told = [(_part(finding, part), float(size)) for part, size in parts.iloc[:most].items()]
    if len(parts) > most:
        told.append((f"{len(parts) - most} more", float(parts.iloc[most:].sum())))
    sizes = (f"{name} {format_value(size, unit, signed=True)}" for name, size in told)
    return ", ".join(sizes) or "nothing"


def _when(finding: When, rows: pd.DataFrame, context: Context) -> Outcome:
    row = _only(finding, rows)
    effect = Said(row)
    fields = {**_fields(row, rows), "effect": effect}
    number = effect.number(_name(finding, fields, context))
    came: Verdict = "open" if math.isnan(effect.mean) else "shown"
    return _outcome(finding, came, row, fields, context, [number])


def _criteria(finding: Criteria, rows: pd.DataFrame, context: Context) -> Outcome:
    same = {key: rows[key].iloc[0] for key in finding.each}
    table = context.tables[finding.table]

    def row(where: Where, half: str, one: tuple[Any, ...]) -> pd.Series:
        picked = dict(zip(finding.pick, one, strict=True))
        conditions = {**finding.where, **same, **picked, "half": half, **where}
        return _only(finding, select(table, conditions, context.settings))

    def judged(half: str, one: tuple[Any, ...]) -> dict[str, Verdict]:
        return {
            test.name: _met(test, Said(row(test.where, half, one)).estimate, context)
            for test in finding.tests
        }

    if finding.pick:
        every = list(dict.fromkeys(rows[list(finding.pick)].itertuples(index=False, name=None)))
        choosing = {one: judged(SELECTION, one) for one in every}
        fit = [one for one in every if set(choosing[one].values()) == {"shown"}]
        half, shown = (CONFIRMATION if fit else SELECTION), CONFIRMATION
        told = (
            min(fit, key=lambda one: float(row(finding.by, SELECTION, one)["mean"]))
            if fit
            else min(every, key=lambda one: len(_missed(finding, choosing[one])))
        )
    else:
        half = shown = str(rows["half"].iloc[0])
        told, every = (), [()]
    came = judged(half, told)
    failed = _missed(finding, came)
    first = row(finding.by, half, told) if finding.pick else rows.iloc[0]
    fields = {
        **_fields(first, rows),
        **{name: Said(row(where, half, told)) for name, where in finding.beside.items()},
        "met": ", ".join(name for name, side in came.items() if side == "shown"),
        "failed": ", ".join(failed),
        "of": len(every),
    }
    name = _name(finding, fields, context)
    lines = []
    for one in every if finding.title else ():
        sides = {name: _SIDES[side] for name, side in judged(shown, one).items()}
        lines.append({**same, **dict(zip(finding.pick, one, strict=True)), **sides})
    return _outcome(
        finding, _worst(came.values()), first, fields, context,
        [fields[beside].number(f"{name}, {words(beside)}") for beside in finding.beside],
        compared=len(every) if finding.pick else len(came), lines=lines,
    )  # fmt: skip


def _met(test: Test, number: Estimate, context: Context) -> Verdict:
    """Whether a criterion is met: shown on the right side of its bounds."""
    above, below, within = map(context.bound, (test.above, test.below, test.within))
    if within is not None:
        above, below = -within, within
    sides = [] if above is None else [verdict(number, bound=above)]
    return _worst(sides if below is None else [*sides, _TURNED[verdict(number, bound=below)]])


def _worst(sides: Collection[Verdict]) -> Verdict:
    return "opposite" if "opposite" in sides else "open" if "open" in sides else "shown"


def _missed(finding: Criteria, came: Mapping[str, Verdict]) -> list[str]:
    """What is said of the criteria that are not met."""
    failed = {test.name: test.failed or test.name for test in finding.tests}
    return [failed[name] for name, side in came.items() if side != "shown"]


_TELLERS: dict[type[Told], Any] = {
    Finding: _effect,
    Sum: _sum,
    When: _when,
    Criteria: _criteria,
}


# -- names -----------------------------------------------------------------------------------------


def _fields(row: pd.Series, rows: pd.DataFrame) -> dict[str, Any]:
    fixed = {name: row[name] for name in ("step", "measure", "half", "noun", "unit")}
    return {**_keys(row), **fixed, **ends(rows)}


def _keys(row: pd.Series) -> dict[str, Any]:
    return {str(name): _plain(value) for name, value in row.items() if name not in FIXED}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _named(control: pd.Series, row: pd.Series) -> str:
    """A control by what tells it from the row told."""
    if control["against"]:
        return words(str(control["against"]))
    other = [words(str(value)) for key, value in _keys(control).items() if value != row[key]]
    if control["step"] != row["step"]:
        other.append(f"step {control['step']:,}")
    return " ".join(filter(None, other))
