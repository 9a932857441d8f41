"""Names that cross blocks of the configuration: each leads to a thing of the right kind.

Checked for every run that asks for it, so that a mistake shows before anything runs. What is chosen
among a run's own things is checked in :mod:`circuit.config.choices`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from circuit.config.analysis import KINDS
from circuit.config.benchmark import SPLITS
from circuit.config.dictionaries import check_dictionaries, named_scalars
from circuit.config.kinds.base import finder
from circuit.config.kinds.behaviour import (
    BirthWindows,
    CheckpointSweep,
    FullEvaluation,
    ReferenceModel,
)
from circuit.config.kinds.selection import Selection
from circuit.config.kinds.synthesis import CrossSeed
from circuit.errors import ConfigError, nearest

if TYPE_CHECKING:
    from circuit.config.study import StudySettings, WorkflowSettings

_KIND_OF = {
    "heads": "head_scan",
    "scan": "head_scan",
    "sweep": "checkpoint_sweep",
    "attribution": "update_attribution",
    "births": "birth_windows",
    "features": "route_features",
}
"""Settings that name another analysis, and the kind that it must be of."""
_TAKEN = ("train", "replay", "chords")
_RULES = ("benchmark", "replay", "chords", "report", *KINDS)


def check_references(settings: WorkflowSettings, where: str) -> None:
    """Every name that settings mention must exist.

    Raises:
        ConfigError: naming the field, what there is, and the nearest spelling.
    """
    for study_name, study in settings.studies.items():
        at = f"{where}: studies.{study_name}"
        if study_name in _RULES or study_name.startswith(("train_", "view_")):
            raise ConfigError(
                what=f"a study cannot be called {study_name!r}",
                where=at,
                expected="a name that no rule has, since `snakemake NAME` asks for the study",
                do="rename it",
            )
        _need(study.benchmark, settings.benchmarks, "benchmark", f"{at}.benchmark")
        _need(study.focus, study.runs, "run", f"{at}.focus")
        for name, run in study.runs.items():
            _need(run.recipe, settings.recipes, "recipe", f"{at}.runs.{name}.recipe")
            split = settings.recipes[run.recipe].train_split
            _need(split, SPLITS, "split", f"{where}: recipes.{run.recipe}.train_split")
            if name in study.analyses:
                raise ConfigError(
                    what=f"{name!r} names both a run and an analysis",
                    where=at,
                    expected="different names, since both become folders",
                    do="rename one of them",
                )
        for name, analysis in study.analyses.items():
            _check_analysis(study, name, analysis, f"{at}.analyses")


def _check_analysis(study: StudySettings, name: str, analysis: Any, at: str) -> None:
    here = f"{at}.{name}"
    if name in _TAKEN:
        raise ConfigError(
            what=f"an analysis cannot be called {name!r}",
            where=here,
            expected="a name whose folder is not in use: beside a run's analyses lie "
            + ", ".join(_TAKEN[:-1])
            + f" and {_TAKEN[-1]}",
            do="rename it",
        )
    for field in ("runs", "outcomes", "routes", "writes"):
        if hasattr(analysis, field) and not getattr(analysis, field):
            raise ConfigError(
                what=f"{field} is empty",
                where=f"{here}.{field}",
                expected="at least one",
                do="add one, or take the analysis away",
            )
    for run in _runs(study, analysis):
        _need(run, study.runs, "run", f"{here}.runs")
    window = getattr(analysis, "window", None)
    if isinstance(window, str) and finder(window) is None:
        _need(window, study.windows, "window", f"{here}.window")
    for field, kind, other_name in _others(analysis):
        _need(other_name, study.analyses, "analysis", f"{here}.{field}")
        other = study.analyses[other_name]
        if other.kind != kind:
            fitting = [n for n, a in study.analyses.items() if a.kind == kind]
            raise ConfigError(
                what=f"analysis {other_name!r} is of kind {other.kind!r}",
                where=f"{here}.{field}",
                expected=f"an analysis of kind {kind!r}",
                do=f"name one of {', '.join(fitting)}" if fitting else "add one",
            )
        left_out = [r for r in _runs(study, analysis) if r not in _runs(study, other)]
        if left_out:
            raise ConfigError(
                what=f"analysis {other_name!r} does not cover run {left_out[0]!r}, which {name!r} "
                "covers",
                where=f"{here}.{field}",
                expected="an analysis of at least the same runs",
                do=f"add the run to {other_name}.runs, or take it out of {name}.runs",
            )
    check_dictionaries(analysis, study.analyses, here)
    for field, split, splits in _measured_splits(study, analysis):
        _need(split, splits, "measured split", f"{here}.{field}")
    if isinstance(analysis, CrossSeed):
        attribution: Any = study.analyses[analysis.attribution]
        _need(analysis.scalar, attribution.scalars, "scalar", f"{here}.scalar")
    if isinstance(analysis, Selection):
        _check_births(study, analysis, here)


def _check_births(study: StudySettings, analysis: Selection, here: str) -> None:
    """The routes whose births are foretold are those with features, on other events."""
    features: Any = study.analyses[analysis.features]
    scan: Any = study.analyses[analysis.scan]
    measured = features.route.scalar + ("_rank" if features.route.rank else "")
    if measured != analysis.measure:
        raise ConfigError(
            what=f"features are those of {measured}, births would be those of {analysis.measure}",
            where=f"{here}.measure",
            expected=f"the route of {analysis.features!r}, which the scan follows too",
            do=f"let measure and {analysis.features}.route mean the same scalar",
        )
    if features.split == scan.split:
        raise ConfigError(
            what=f"features and births are both measured on the probe events of {scan.split}, so "
            "they share their chance",
            where=f"{here}.features",
            expected="features on events that do not say when routes are born",
            do=f"give {analysis.features} another split than {analysis.scan}",
        )


def _others(analysis: Any) -> Iterator[tuple[str, str, str]]:
    """Field, kind and name of every analysis that this one builds on."""
    for field, kind in _KIND_OF.items():
        if hasattr(analysis, field):
            yield field, kind, getattr(analysis, field)
    found_by = finder(getattr(analysis, "window", None))
    if found_by:
        yield "window", "birth_windows", found_by
    for place, scalar in named_scalars(analysis):
        if scalar.dictionary is not None:
            yield f"{place}.dictionary", "shared_features", scalar.dictionary


def _measured_splits(study: StudySettings, analysis: Any) -> Iterator[tuple[str, str, Any]]:
    """Field, split and the splits that are there, for every split looked up in a sweep's rows."""
    if isinstance(analysis, CheckpointSweep):
        yield "best_by", analysis.best_by, analysis.splits
    elif isinstance(analysis, FullEvaluation | ReferenceModel | BirthWindows):
        sweep: Any = study.analyses[analysis.sweep]
        for field in ("best_by", "validation_split", "heldout_split", "split"):
            if hasattr(analysis, field):
                yield field, getattr(analysis, field), sweep.splits


def _runs(study: StudySettings, analysis: Any) -> tuple[str, ...]:
    return tuple(study.runs) if analysis.runs == "all" else analysis.runs


def _need(name: str, valid: Iterable[str], what: str, where: str) -> None:
    valid = list(valid)
    if name not in valid:
        guess = nearest(name, valid)
        raise ConfigError(
            what=f"{what} {name!r} does not exist",
            where=where,
            expected=f"one of {', '.join(valid)}",
            do=f"did you mean {guess!r}?" if guess else "correct the name or add it",
        )
