"""Answers as data: what a kind of analysis looks for in its rows, and how it says what it found.

A finding names rows of a table of estimates; :mod:`circuit.reports.telling` looks them up, lets
:func:`circuit.evidence.verdict` decide, and makes of it a sentence, numbers and marks. Every
finding has a control, or says why there is none.

Sentences are templates with one text for each verdict; where ``opposite`` has none of its own it
has that of ``open``. In braces they may name

- ``effect``, ``control``, ``excess``: the numbers with unit and 95% interval; ``effect.mean``,
  ``effect.short`` (no interval), ``effect.interval``, ``effect.count``;
- the key columns of the row told, its ``measure``, ``step``, ``half`` and ``noun``;
- ``is_shown``: the verdict of ``That … {is_shown}``, for one text that fits all three;
- ``of``: how many were compared where one was picked;
- ``first`` and ``last``: the first and last step of the rows looked at;
- settings of the analysis, and ``facts[name]`` of its measuring.

Names from code such as ``runner_up`` are written ``runner up`` with ``{chosen:words}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from circuit.evidence import Verdict
from circuit.reports.views import Where

Says = str | Mapping[Verdict, str]
"""A template, or one for each verdict; a verdict without one says nothing."""


@dataclass(frozen=True)
class Told:
    """What all findings have.

    Args:
        name: under which machines and tests find it; a few words, unique in its kind.
        where: which rows of ``table`` it is about.
        uncontrolled: why there is no control, where there is none.
        says: what the answer says; without it a finding is in numbers and marks only.
        spoken: conditions beyond ``where``; the answer says the rows that meet them, of the others
            there are numbers and marks only.
        marks: what must not be overlooked.
        each: key columns; every combination of their values is told by itself.
        number: template of the number's name; by default the finding's name, followed by the values
            that it is told or picked by where the name has no fields.
        key: template of what the number is called among the few on the page's first screen.
        clause: its part of the sentence that heads the page, without a full stop.
    """

    name: str
    where: Where = field(default_factory=dict)
    _: KW_ONLY
    table: str = "rows"
    uncontrolled: str = ""
    says: Says = ""
    spoken: Where = field(default_factory=dict)
    marks: Says = ""
    each: tuple[str, ...] = ()
    number: str = ""
    key: str = ""
    clause: Says = ""


@dataclass(frozen=True, kw_only=True)
class Finding(Told):
    """An effect beside its controls.

    Args:
        pick: key columns; of all their combinations the one that ``rank`` names is told. Where
            rows have halves it is picked on the one that chooses and told on the other; where
            they have none, intervals of the rows must hold for all of them at once.
        rank: which one: by the mean of the paired excess where rows hold one, else of the effect.
        control: values of ``against``, or what else to put in place of conditions of the row told
            to find a control, such as ``{"chosen": "bottom"}``.
        bound: what the effect must lie beyond, a number or ``$setting``; None where its 0 means
            nothing.
    """

    pick: tuple[str, ...] = ()
    rank: Literal["largest", "smallest", "size"] = "largest"
    control: Sequence[str | Where] = ()
    bound: float | str | None = 0.0


@dataclass(frozen=True, kw_only=True)
class Sum(Told):
    """Parts of a whole, which they sum to.

    The sentence may name ``raised`` and ``lowered``: the parts on either side, the largest first;
    three are named, the others summed up.

    Args:
        parts: the column that tells parts apart.
        names: part → its name in a sentence.
    """

    parts: str
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class When(Told):
    """Events in time: rows with unit ``step``. Shown where it happened, open where it did not.

    The sentence may name ``effect``, the step with its interval, and with ``each`` one is told for
    every combination.
    """

    uncontrolled: str = "an event in time"


@dataclass(frozen=True)
class Test:
    """One criterion: the interval of the row lies on the right side of a bound.

    Args:
        name: of the criterion.
        where: its row, beyond the conditions of the whole.
        above, below, within: the bound, a number or ``$setting``; one of the three. Within it is
            what lies between minus and plus the bound.
        failed: what a sentence says of what does not meet it; by default its name.
    """

    __test__ = False  # not one of pytest's

    name: str
    where: Where
    above: float | str | None = None
    below: float | str | None = None
    within: float | str | None = None
    failed: str = ""


@dataclass(frozen=True, kw_only=True)
class Criteria(Told):
    """A table of tests: every combination of ``each`` against every criterion.

    Shown where all are met, opposite where one is refuted, else open. The sentence may name
    ``met``, ``failed`` (what is said of criteria that are not met), ``of`` (how many one is picked
    from) and the key columns.

    Args:
        pick: key columns; of all their combinations that meet all criteria on the events that
            choose, the one whose row ``by`` is smallest is told on those that confirm. Where none
            does, the one that misses fewest is told on the events that choose.
        by: conditions of that row.
        beside: name → conditions of a row of what is told, which the sentence may name and which
            is among the numbers.
        title: of a table with what every combination meets, on the events that confirm where one is
            picked; without a title there is none.
    """

    tests: tuple[Test, ...]
    pick: tuple[str, ...] = ()
    by: Where = field(default_factory=dict)
    beside: Mapping[str, Where] = field(default_factory=dict)
    title: str = ""
