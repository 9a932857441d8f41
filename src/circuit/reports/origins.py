"""Where a page's results come from: versions, seeds, threads, inputs and code of all its reports.

Reports that were made from different versions of one input, or by different versions of one
library module, contradict each other silently; here that becomes a mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origins:
    """The provenance blocks of several reports, taken together.

    ``jobs`` are rows under ``JOB_HEADER``; ``inputs`` path and digest; ``code`` module and
    fingerprint; ``versions`` name and version; ``marks`` what does not fit together.
    """

    versions: list[tuple[str, str]]
    jobs: list[tuple[str, ...]]
    inputs: list[tuple[str, str]]
    code: list[tuple[str, str]]
    marks: list[str]


JOB_HEADER = ("analysis", "run", "device", "processor", "threads", "seeds", "wall time")


def origins(reports: Sequence[Mapping[str, Any]]) -> Origins:
    """Gather the provenance of parsed reports; a report without any is left out."""
    found = [(report, report["provenance"]) for report in reports if report.get("provenance")]
    blocks = [block for _, block in found]
    versions = _distinct(item for b in blocks for item in b.get("versions", {}).items())
    inputs = _distinct(item for b in blocks for item in _inputs(b.get("inputs", {})))
    code = _distinct(_fingerprint(text) for b in blocks for text in b.get("code", ()))
    marks = [
        *_conflicts("an input", inputs),
        *_conflicts("the library code", code),
        *_conflicts("the installed packages", versions),
    ]
    return Origins(
        _rows(versions), [_job(*pair) for pair in found], _rows(inputs), _rows(code), marks
    )


def _job(report: Mapping[str, Any], block: Mapping[str, Any]) -> tuple[str, ...]:
    seeds = ", ".join(f"{name} {seed}" for name, seed in sorted(block.get("seeds", {}).items()))
    seconds = block.get("wall_seconds")
    return (
        str(report["name"]),
        str(report["run"] or "all"),
        str(block.get("device", "–")),
        str(block.get("platform", {}).get("cpu", "–")),
        str(block.get("threads", "–")),
        seeds or "none",
        "–" if seconds is None else f"{seconds:,.1f} s",
    )


def _inputs(given: Any) -> Iterator[tuple[str, str]]:
    """Every file in a provenance block's inputs, which may be nested lists."""
    if isinstance(given, Mapping) and {"path", "sha256"} <= given.keys():
        yield str(given["path"]), str(given["sha256"])
    elif isinstance(given, Mapping):
        for value in given.values():
            yield from _inputs(value)
    elif isinstance(given, list | tuple):
        for value in given:
            yield from _inputs(value)


def _fingerprint(text: str) -> tuple[str, str]:
    module, _, digest = text.partition("@")
    return module, digest


def _distinct(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Every name with its different values, in the order met."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        values = found.setdefault(name, [])
        if value not in values:
            values.append(value)
    return dict(sorted(found.items()))


def _rows(found: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, values in found.items() for value in values]


def _conflicts(what: str, found: Mapping[str, Sequence[str]]) -> list[str]:
    names = [name for name, values in found.items() if len(values) > 1]
    if not names:
        return []
    return [
        f"These reports were made from different versions of {what} ({', '.join(names)}); rerun "
        "the study to bring them together."
    ]
