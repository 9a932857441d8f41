"""A measure job: from its inputs and settings to tables.

A kind's ``measure.py`` has one function, ``measure(job) -> Measured``. It looks at nothing but its
job, writes no file, words nothing and draws nothing: that is the view's (:mod:`circuit.reports`).
Kinds that look at a run open it with :class:`circuit.opened.OpenRun`; nothing here imports torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd

from circuit.artifacts import (
    digest_json,
    provenance,
    read_json,
    read_rows,
    write_json,
    write_rows,
)
from circuit.estimates import FIXED
from circuit.estimates import UNITS as FIXED_UNITS
from circuit.job import Facts
from circuit.measures.births.named_window import window_steps

S = TypeVar("S")
SCHEMA = 1
ROLES = ("winner", "runner_up", "bottom")
"""The heads that a head scan chooses, by what they are chosen as."""


@dataclass(frozen=True)
class Table:
    """A table to be written: rows, what one row is, and the units of its numeric columns.

    A table of estimates has the units of its fixed columns by itself.
    """

    frame: pd.DataFrame
    what: str
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def every_unit(self) -> dict[str, str]:
        """Units of all columns that have one."""
        fixed = FIXED_UNITS if set(FIXED) <= set(self.frame.columns) else {}
        return {**fixed, **self.units}


@dataclass(frozen=True)
class Measured:
    """What a kind's measuring found, by output name.

    ``tables`` hold the table of estimates as ``rows``, ``records`` the content of JSON files,
    ``files`` what writes any other output to a path. ``facts`` are what words may need beyond rows
    and settings, in JSON's types; ``seeds`` what each seed was for; ``passes`` what looking cost.
    """

    tables: Mapping[str, Table]
    records: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Callable[[str], None]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    passes: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Job(Generic[S]):
    """What a kind's measuring may look at; nothing is read before it is asked for.

    ``given`` are the rule's inputs by name, each a path or a list of paths; ``facts.runs`` the runs
    compared, where the kind looks at a study.
    """

    settings: S
    given: Mapping[str, Any]
    facts: Facts

    @property
    def _asked(self) -> Any:
        """The settings, whose kind may have a split, a window, …."""
        return self.settings

    @cached_property
    def window(self) -> tuple[int, int]:
        """First and last checkpoint step of the analysis' window."""
        return window_steps(self._asked.window, self.given.get("windows"))

    @cached_property
    def heads(self) -> dict[str, Any]:
        """The heads that a scan chose: ``winner``, ``runner_up``, ``bottom``, and how; none where
        no scan is named.
        """
        found: dict[str, Any] = read_json(self.given["heads"]) if "heads" in self.given else {}
        return found

    def named(self, head: str) -> str:
        """The head that ``winner``, … stands for, or the name itself; what follows a dot stays."""
        role, dot, part = head.partition(".")
        return f"{self.heads.get(role, role)}{dot}{part}"

    def chosen(self, head: str) -> str:
        """``winner``, ``runner_up`` or ``bottom`` where a head is one of them, else empty."""
        return next((role for role in ROLES if self.heads[role] == head), "")

    def unfinished(self) -> Path:
        """The folder of what this job goes on from if it is killed, of this code only.

        Whoever asks for it removes it at the job's end.
        """
        code = digest_json(list(self.facts.code))[:16]
        work = Path(self.facts.output["measured"]).with_name(f".work-{code}")
        for other in work.parent.glob(".work-*"):
            if other != work:
                shutil.rmtree(other)
        work.mkdir(parents=True, exist_ok=True)
        return work

    def table(self, name: str) -> pd.DataFrame:
        """Rows of an input."""
        return read_rows(self.given[name])


def measure(kind: Any, settings: type[Any], facts: Facts) -> None:
    """Let a kind's module ``measure`` measure, and write what it found."""
    job: Job[Any] = Job(settings.model_validate_json(facts.settings), facts.inputs, facts)
    found: Measured = kind.measure(job)
    out = facts.output
    for name, table in found.tables.items():
        write_rows(out[name], table.frame, table.every_unit, table.what)
    for name, content in found.records.items():
        write_json(out[name], content)
    for name, write in found.files.items():
        write(out[name])
    write_json(
        out["measured"],
        {
            "schema": SCHEMA,
            "facts": dict(found.facts),
            "passes": found.passes,
            "provenance": provenance(
                inputs=facts.inputs,
                settings=json.loads(facts.settings),
                modules=facts.code,
                seeds=found.seeds,
                threads=facts.threads,
            ),
        },
        nan="null",
    )
