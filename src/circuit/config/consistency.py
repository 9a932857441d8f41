"""Checks that cross blocks of the configuration, before anything runs.

:func:`check_references`: every name leads to a thing of the right kind. :func:`check_choices`:
every window, checkpoint, stage, head and rank exists in the runs that it is meant for, and a run's
model can read the longest program of its benchmark. Which settings are names and choices, their
types say (:mod:`circuit.config.marks`); what that demands is in :mod:`circuit.config.checks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circuit.config.benchmark import SPLITS
from circuit.config.checks import InRun, InStudy, check_choice, check_names
from circuit.config.names import need
from circuit.config.registry import KINDS, view_files
from circuit.config.walk import marked
from circuit.errors import ConfigError

if TYPE_CHECKING:
    from circuit.config.plan import Plan
    from circuit.config.study import StudySettings, WorkflowSettings

_TAKEN = ("train", "replay", "chords")
_RULES = ("benchmark", "replay", "chords", "report", "measure", "compare", *KINDS)


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
        need(study.benchmark, settings.benchmarks, "benchmark", f"{at}.benchmark")
        need(study.focus, study.runs, "run", f"{at}.focus")
        for name, run in study.runs.items():
            need(run.recipe, settings.recipes, "recipe", f"{at}.runs.{name}.recipe")
            split = settings.recipes[run.recipe].train_split
            need(split, SPLITS, "split", f"{where}: recipes.{run.recipe}.train_split")
            if name in study.analyses:
                raise ConfigError(
                    what=f"{name!r} names both a run and an analysis",
                    where=at,
                    expected="different names, since both become folders",
                    do="rename one of them",
                )
        for name, analysis in study.analyses.items():
            _check_analysis(study, name, analysis, f"{at}.analyses.{name}")


def _check_analysis(study: StudySettings, name: str, analysis: Any, where: str) -> None:
    if name in _TAKEN:
        raise ConfigError(
            what=f"an analysis cannot be called {name!r}",
            where=where,
            expected="a name whose folder is not in use: beside a run's analyses lie "
            + ", ".join(_TAKEN[:-1])
            + f" and {_TAKEN[-1]}",
            do="rename it",
        )
    view_files(analysis.kind)
    for found in sorted(marked(analysis, where), key=lambda one: one.mark.later):
        check_names(found.mark, found, InStudy(study, name, analysis))
    analysis.check(study, where)


def check_choices(plan: Plan) -> None:
    """Every choice must exist in the runs that it is meant for.

    Raises:
        ConfigError: naming the field, what the run has, and what to do.
    """
    benchmarks = plan.settings.benchmarks
    for (study, run_name), run in plan.runs.items():
        longest = benchmarks[run.benchmark].max_length
        if run.recipe.model.context < longest:
            recipe = plan.study(study).runs[run_name].recipe
            raise ConfigError(
                what=f"context {run.recipe.model.context} is too short for benchmark "
                f"{run.benchmark!r}, whose programs have up to {longest} tokens",
                where=f"recipes.{recipe}.model.context",
                expected=f"at least {longest}",
                do="raise the context, or choose a benchmark with shorter programs",
            )
    for study, settings in plan.settings.studies.items():
        for name, analysis in settings.analyses.items():
            choices = list(marked(analysis, f"studies.{study}.analyses.{name}"))
            for run_name in plan.runs_of(study, name):
                run = plan.runs[study, run_name]
                here = InRun(run, benchmarks[run.benchmark], settings.windows)
                for found in choices:
                    check_choice(found.mark, found, here)
