"""Checks that cross blocks of the configuration, so that a mistake shows before anything runs.

1. Every name leads to a thing of the right kind, for every run that asks for it.
2. Every window, checkpoint, head and rank exists in the runs that it is meant for, and a run's
   model can read the longest program of its benchmark.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from circuit.config.analysis import KINDS
from circuit.config.benchmark import SPLITS
from circuit.config.kinds.base import finder
from circuit.config.kinds.behaviour import (
    BirthWindows,
    CheckpointSweep,
    FullEvaluation,
    ReferenceModel,
)
from circuit.config.kinds.mechanism import PromptTrace, RouteCompetition
from circuit.config.kinds.scalar import EVERY
from circuit.config.kinds.scalar import ScalarSettings as Scalar
from circuit.config.kinds.synthesis import Closure, CrossSeed
from circuit.config.kinds.weights import WeightSvd
from circuit.errors import AnalysisError, ConfigError, nearest
from circuit.model.sites import canonical_site, parse_head

if TYPE_CHECKING:
    from circuit.config.plan import Plan, RunPlan
    from circuit.config.study import StudySettings, WorkflowSettings

_KIND_OF = {
    "selection": "head_scan",
    "scan": "head_scan",
    "sweep": "checkpoint_sweep",
    "attribution": "update_attribution",
    "births": "birth_windows",
}
"""Settings that name another analysis, and the kind that it must be of."""
_TAKEN = ("train", "replay")
_RULES = ("benchmark", "replay", "report", *KINDS)
_ROLES = ("winner", "runner_up", "bottom")


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
            + " and ".join(_TAKEN),
            do="rename it",
        )
    for field in ("runs", "outcomes", "routes"):
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
    for field, split, splits in _measured_splits(study, analysis):
        _need(split, splits, "measured split", f"{here}.{field}")
    if isinstance(analysis, CrossSeed):
        attribution: Any = study.analyses[analysis.attribution]
        _need(analysis.scalar, attribution.scalars, "scalar", f"{here}.scalar")


def _others(analysis: Any) -> Iterator[tuple[str, str, str]]:
    """Field, kind and name of every analysis that this one builds on."""
    for field, kind in _KIND_OF.items():
        if hasattr(analysis, field):
            yield field, kind, getattr(analysis, field)
    found_by = finder(getattr(analysis, "window", None))
    if found_by:
        yield "window", "birth_windows", found_by


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


def check_choices(plan: Plan) -> None:
    """Every choice must exist in the runs that it is meant for.

    Raises:
        ConfigError: naming the field, what the run has, and what to do.
    """
    for (study, run_name), run in plan.runs.items():
        longest = plan.settings.benchmarks[run.benchmark].max_length
        if run.recipe.model.context < longest:
            recipe = plan.study(study).runs[run_name].recipe
            raise ConfigError(
                what=f"context {run.recipe.model.context} is too short for benchmark "
                f"{run.benchmark!r}, whose programs have up to {longest} tokens",
                where=f"recipes.{recipe}.model.context",
                expected=f"at least {longest}",
                do="raise the context, or choose a benchmark with shorter programs",
            )
    for study in plan.settings.studies:
        analyses: dict[str, Any] = dict(plan.study(study).analyses)
        for name, analysis in analyses.items():
            for run_name in plan.runs_of(study, name):
                run, here = plan.runs[study, run_name], f"studies.{study}.analyses.{name}"
                window = getattr(analysis, "window", None)
                if window is not None and finder(window) is None:
                    _check_window(plan.window(study, window), run, f"{here}.window")
                _check_model_choices(analysis, run, here)
                probes = plan.settings.benchmarks[run.benchmark].probes.programs_per_split
                _check_events(analysis, probes, f"benchmarks.{run.benchmark}.probes", here)


def _check_window(window: tuple[int, int], run: RunPlan, where: str) -> None:
    (first, last), steps = window, run.recipe.checkpoint_steps
    if first >= last or first not in steps or last not in steps:
        raise ConfigError(
            what=f"window {first}..{last} does not lie between checkpoints of run {run.name!r} "
            f"(0..{steps[-1]}, every {run.recipe.checkpoint_every})",
            where=where,
            expected="two checkpoint steps of the run, the first smaller",
            do="move the window onto checkpoints, or change checkpoint_every",
        )


def _check_events(analysis: Any, probes: int, setting: str, here: str) -> None:
    """What is asked of a split's probe events, of which every program gives one."""
    if isinstance(analysis, Closure) and analysis.folds > probes:
        raise ConfigError(
            what=f"{analysis.folds} folds are more than the {probes} probe events",
            where=f"{here}.folds",
            expected=f"2 to {probes}",
            do=f"lower folds, or raise {setting}",
        )
    if isinstance(analysis, PromptTrace) and analysis.event >= probes:
        raise ConfigError(
            what=f"event {analysis.event} is not among the {probes} probe events",
            where=f"{here}.event",
            expected=f"0 to {probes - 1}",
            do=f"name one of these events, or raise {setting}",
        )


def _check_model_choices(analysis: Any, run: RunPlan, here: str) -> None:
    """Heads, ranks and checkpoint steps, of the analysis itself and of its scalars."""
    _check_head(getattr(analysis, "head", None), run, f"{here}.head")
    # Paths and traces have a ``top`` too, which counts other things.
    for field in ("rank", "directions", *(["top"] if isinstance(analysis, WeightSvd) else [])):
        _check_rank(getattr(analysis, field, None), run, f"{here}.{field}")
    for field in ("checkpoint", "reference", "second_order"):
        steps = getattr(analysis, field, None)
        for step in steps if isinstance(steps, tuple) else (steps,):
            _check_step(step, run, f"{here}.{field}")
    for block in ("scalars", "outcomes", "routes"):
        scalars: dict[str, Scalar] = getattr(analysis, block, {})
        for name, scalar in scalars.items():
            at = f"{here}.{block}.{name}"
            if isinstance(analysis, RouteCompetition):
                _check_route_head(scalar.head, run, f"{at}.head")
            else:
                _check_head(scalar.head, run, f"{at}.head")
            if scalar.of_head:
                _check_rank(scalar.rank, run, f"{at}.rank")
            _check_step(scalar.basis, run, f"{at}.basis")
            for stage in (scalar.stage, *(scalar.pca or ())[:1]):
                _check_stage(stage, run, f"{at}.stage")


def _check_head(head: str | None, run: RunPlan, where: str) -> None:
    if head is None or head in _ROLES:
        return
    try:
        parse_head(head, run.recipe.model.n_layers, run.recipe.model.n_heads)
    except AnalysisError as error:
        raise ConfigError(
            what=f"{error.what} in run {run.name!r}",
            where=where,
            expected=error.expected,
            do=error.do,
        ) from None


def _check_route_head(head: str | None, run: RunPlan, where: str) -> None:
    """Routes compete before any head was selected, so each names its head or stands for all."""
    if head in _ROLES:
        raise ConfigError(
            what=f"a route's head cannot be {head!r}: no analysis has selected heads for it",
            where=where,
            expected=f"{EVERY!r}, for one route per head, or a name such as L1H3",
            do=f"write head: {EVERY}",
        )
    if head != EVERY:
        _check_head(head, run, where)


def _check_stage(stage: str | None, run: RunPlan, where: str) -> None:
    if stage is None:
        return
    try:
        canonical_site(stage, run.recipe.model.n_layers)
    except AnalysisError as error:
        raise ConfigError(
            what=f"{error.what} in run {run.name!r}",
            where=where,
            expected=error.expected,
            do=error.do,
        ) from None


def _check_rank(rank: int | None, run: RunPlan, where: str) -> None:
    if rank is not None and rank > run.recipe.model.d_head:
        field = where.rpartition(".")[2]
        raise ConfigError(
            what=f"{field} {rank} is too large for W_QK of run {run.name!r}",
            where=where,
            expected=f"1 to {run.recipe.model.d_head}, the width of a head",
            do=f"lower {field}",
        )


def _check_step(step: int | str | None, run: RunPlan, where: str) -> None:
    steps = run.recipe.checkpoint_steps
    if isinstance(step, int) and step not in steps:
        near = min(steps, key=lambda s: abs(s - step))
        raise ConfigError(
            what=f"run {run.name!r} has no checkpoint at step {step}",
            where=where,
            expected=f"a checkpoint step (0..{steps[-1]}, every {run.recipe.checkpoint_every})",
            do=f"use a step with a checkpoint (the nearest is {near})",
        )
