"""Choices among a run's own things, checked before anything runs.

Every window, checkpoint, stage, head and rank exists in the runs that it is meant for, and a run's
model can read the longest program of its benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from circuit.config.dictionaries import named_scalars
from circuit.config.kinds.base import finder
from circuit.config.kinds.mechanism import PromptTrace, RouteCompetition
from circuit.config.kinds.scalar import EVERY
from circuit.config.kinds.selection import RouteFeatures
from circuit.config.kinds.synthesis import Closure
from circuit.config.kinds.weights import WeightSvd
from circuit.config.parameter_groups import HEAD_ROLES, check_selectors
from circuit.config.recipe import ModelSettings
from circuit.errors import AnalysisError, ConfigError
from circuit.model.sites import canonical_site, parse_component, parse_head

if TYPE_CHECKING:
    from circuit.config.plan import Plan, RunPlan


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
                vocab_size = plan.settings.benchmarks[run.benchmark].vocab_size
                lists, at = getattr(analysis, "groupings", {}), f"{here}.groupings"
                check_selectors(lists, run.recipe.model, vocab_size, run_name, at)
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
    _check_stage(getattr(analysis, "stage", None), run, f"{here}.stage")
    # Paths and traces have a ``top`` too, which counts other things.
    for field in ("rank", "directions", *(["top"] if isinstance(analysis, WeightSvd) else [])):
        _check_rank(getattr(analysis, field, None), run, f"{here}.{field}")
    for field in ("checkpoint", "reference", "second_order", "cutoffs", "checkpoints", "first"):
        steps = getattr(analysis, field, None)
        if field == "checkpoints" and isinstance(steps, int):
            continue  # a number of checkpoints
        for step in steps if isinstance(steps, tuple) else (steps,):
            _check_step(step, run, f"{here}.{field}")
    for place, scalar in named_scalars(analysis):
        at = f"{here}.{place}"
        if isinstance(analysis, RouteCompetition | RouteFeatures):
            _check_route_head(scalar.head, run, f"{at}.head")
        else:
            # What is written may be an MLP's.
            parse = parse_component if scalar.scalar == "functional_write" else _parse_head
            _check_head(scalar.head, run, f"{at}.head", parse)
        if scalar.of_head:
            _check_rank(scalar.rank, run, f"{at}.rank")
        _check_step(scalar.basis, run, f"{at}.basis")
        for stage in (scalar.stage, *(scalar.pca or ())[:1]):
            _check_stage(stage, run, f"{at}.stage")


def _parse_head(name: str, shape: ModelSettings) -> tuple[int, int]:
    return parse_head(name, shape.n_layers, shape.n_heads)


def _check_head(
    head: str | None,
    run: RunPlan,
    where: str,
    parse: Callable[[str, ModelSettings], object] = _parse_head,
) -> None:
    if head is not None and head not in HEAD_ROLES:
        with _told_of(run, where):
            parse(head, run.recipe.model)


@contextmanager
def _told_of(run: RunPlan, where: str) -> Iterator[None]:
    """What a model does not have, as an error of the configuration: in which run, and where."""
    try:
        yield
    except AnalysisError as error:
        raise ConfigError(
            what=f"{error.what} in run {run.name!r}",
            where=where,
            expected=error.expected,
            do=error.do,
        ) from None


def _check_route_head(head: str | None, run: RunPlan, where: str) -> None:
    """Routes compete before any head was selected, so each names its head or stands for all."""
    if head in HEAD_ROLES:
        raise ConfigError(
            what=f"a route's head cannot be {head!r}: no analysis has selected heads for it",
            where=where,
            expected=f"{EVERY!r}, for one route per head, or a name such as L1H3",
            do=f"write head: {EVERY}",
        )
    if head != EVERY:
        _check_head(head, run, where)


def _check_stage(stage: str | None, run: RunPlan, where: str) -> None:
    if stage is not None:
        with _told_of(run, where):
            canonical_site(stage, run.recipe.model.n_layers)


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
