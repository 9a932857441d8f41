"""What a job may need: parts of a rule's inputs, each a function of the plan and of wildcards.

Rules join them with ``needs`` (``rules/common.smk``). A file that is None is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from circuit.config.plan import CHORD_TABLES, Plan

Files = Mapping[str, str | list[str] | None]
Need = Callable[[Plan, Any], Files]


def joined(plan: Plan, w: Any, parts: Iterable[Need]) -> Files:
    """Several needs as one."""
    return {k: file for part in parts for k, file in part(plan, w).items() if file is not None}


def metadata(plan: Plan, w: Any) -> Files:
    """What the study's benchmark is."""
    return {"metadata": f"data/{plan.study(w.study).benchmark}/metadata.json"}


def run(plan: Plan, w: Any) -> Files:
    """A finished run and its benchmark: manifest, every checkpoint, metadata."""
    states = list(plan.checkpoints(w.study, w.run).values())
    return {
        **metadata(plan, w),
        "manifest": plan.runs[w.study, w.run].manifest,
        "checkpoints": states,
    }


def early(plan: Plan, w: Any) -> Files:
    """A run as it was known at the last of an analysis' cutoffs, without later checkpoints."""
    last = max(plan.analysis(w.study, w.analysis).cutoffs)
    known = [file for step, file in plan.checkpoints(w.study, w.run).items() if step <= last]
    return {**run(plan, w), "checkpoints": known}


def tables(names: Callable[[Plan, Any], Iterable[str]]) -> Need:
    """Tables of the study's benchmark."""

    def found(plan: Plan, w: Any) -> Files:
        folder = f"data/{plan.study(w.study).benchmark}"
        return {f"data_{name}": f"{folder}/{name}.parquet" for name in names(plan, w)}

    return found


probes = tables(lambda plan, w: ["probes"])
pairs = tables(lambda plan, w: ["pairs"])
train = tables(lambda plan, w: [plan.runs[w.study, w.run].recipe.train_split])
split = tables(lambda plan, w: [plan.analysis(w.study, w.analysis).split])
splits = tables(lambda plan, w: plan.analysis(w.study, w.analysis).splits)


def other(setting: str, *files: str) -> Need:
    """Files of the analysis that a setting names, by their output names; none if it names none."""

    def found(plan: Plan, w: Any) -> Files:
        named = getattr(plan.analysis(w.study, w.analysis), setting)
        if named is None:
            return {}
        made = plan.files(w.study, w.run, named)
        return {file: made[file] for file in files}

    return found


def each(setting: str, file: str) -> Need:
    """One file of every analysis of the same run that a setting names, under its name."""

    def found(plan: Plan, w: Any) -> Files:
        named = getattr(plan.analysis(w.study, w.analysis), setting)
        return {setting: [plan.files(w.study, w.run, name)[file] for name in named]}

    return found


heads = other("heads", "heads")


def others(*settings: str) -> Need:
    """Rows of the analyses that settings name, of every run compared, by the settings' names."""

    def found(plan: Plan, w: Any) -> Files:
        analysis, runs = plan.analysis(w.study, w.analysis), plan.runs_of(w.study, w.analysis)
        named = {setting: getattr(analysis, setting) for setting in settings}
        return {s: [plan.files(w.study, r, n)["rows"] for r in runs] for s, n in named.items()}

    return found


def manifests(plan: Plan, w: Any) -> Files:
    """Manifests of every run compared."""
    runs = plan.runs_of(w.study, w.analysis)
    return {"manifests": [plan.runs[w.study, run].manifest for run in runs]}


def measured_window(plan: Plan, w: Any) -> Files:
    """The windows that another analysis found, where this one's window is one of them."""
    return {"windows": plan.measured_windows(w.study, w.run, w.analysis)}


def dictionaries(plan: Plan, w: Any) -> Files:
    """Dictionaries of features that the analysis' scalars name."""
    asked = plan.analysis(w.study, w.analysis).model_dump()
    return {"dictionaries": plan.dictionaries(w.study, w.run, asked)}


def looked_at(*names: str) -> Need:
    """Tables of every job that looked at the analysis' window, in step order."""
    return lambda plan, w: {n: plan.stretches(w.study, w.run, w.analysis, n) for n in names}


attributed = looked_at("verification", *CHORD_TABLES)
"""What those jobs attributed, after they compared themselves with recorded checkpoints."""
summed_up = looked_at("verification", "sums", "event_parts", "summed_groups")
"""The same of very many scalars."""


def requests(plan: Plan, w: Any) -> dict[str, Any]:
    """Analyses that look at a stretch, with what they ask."""
    return plan.requests(w.study, w.run, int(w.start), int(w.stop))


def requested(plan: Plan, w: Any) -> Files:
    """Choices of heads and dictionaries that a stretch's requests need."""
    asked = requests(plan, w)
    return {
        "heads": [plan.files(w.study, w.run, name)["heads"] for name in plan.scans(asked)],
        "dictionaries": plan.dictionaries(w.study, w.run, asked),
    }
