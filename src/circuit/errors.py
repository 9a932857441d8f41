"""Every error the project raises on purpose, and the one shape of its message.

A message answers four questions in one line: what went wrong, where (a file, a field, a step),
what was expected there, and what to do about it. Anything else that escapes is a bug.
"""

import difflib
import os
from collections.abc import Iterable


class CircuitError(Exception):
    """An error whose message a person can act upon.

    ``str(error)`` is ``what — where: … — expected: … — what to do: …``; parts that were not
    given are left out. Parts stay readable as attributes, also after pickling across processes.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | os.PathLike[str] | None = None,
        expected: str | None = None,
        do: str | None = None,
    ) -> None:
        # Pickling rebuilds an exception from `args` and then restores `__dict__`, so keeping
        # `what` alone in `args` is enough for all four parts to survive.
        super().__init__(what)
        self.what = what
        self.where = None if where is None else os.fspath(where)
        self.expected = expected
        self.do = do

    def __str__(self) -> str:
        parts = [("where", self.where), ("expected", self.expected), ("what to do", self.do)]
        return " — ".join([self.what, *(f"{label}: {text}" for label, text in parts if text)])


class ConfigError(CircuitError):
    """The configuration, or the source that it names, is not usable."""


class BenchmarkError(CircuitError):
    """A benchmark's data are missing, malformed or contradict their specification."""


class ArtifactError(CircuitError):
    """A generated file cannot be written, or is missing, damaged or not what its name says."""


class CheckpointError(CircuitError):
    """A checkpoint or another tensor file is missing, damaged or not the one its manifest names."""


class TrainingError(CircuitError):
    """Training cannot go on: its numbers are no longer finite."""


class ReplayError(CircuitError):
    """A replayed training segment does not arrive where the recorded run arrived."""


class MismatchError(CircuitError):
    """Two things that must agree (shapes, layouts, vocabularies, digests) do not."""


class AnalysisError(CircuitError):
    """An analysis cannot be carried out on the data it was given."""


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name that `name` most probably meant, or None if nothing is close.

    Case is ignored in the comparison; among equally close names the first one given wins.
    """
    by_folded: dict[str, str] = {}
    for candidate in valid:
        by_folded.setdefault(candidate.casefold(), candidate)
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None
