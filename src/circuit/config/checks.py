"""What every mark demands of a value: of the study, before anything is planned, and of each run.

A mark of a new kind of setting needs a function here; a kind of analysis that uses marks needs
none. Nothing here is reached by a script.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from circuit.config import marks
from circuit.config.analysis import AnalysisSettings, finder
from circuit.config.benchmark import BenchmarkSettings
from circuit.config.names import need
from circuit.config.parameter_groups import HEAD_ROLES, check_selectors
from circuit.config.recipe import ModelSettings
from circuit.config.registry import KINDS
from circuit.config.scalar import EVERY
from circuit.config.walk import Found
from circuit.errors import AnalysisError, ConfigError, nearest
from circuit.model.sites import canonical_site, parse_component, parse_head

if TYPE_CHECKING:
    from circuit.config.plan import RunPlan
    from circuit.config.study import StudySettings


@dataclass(frozen=True)
class InStudy:
    """An analysis in its study: what names can lead to."""

    study: StudySettings
    name: str
    analysis: AnalysisSettings

    def runs(self, analysis: AnalysisSettings) -> tuple[str, ...]:
        """Runs that an analysis of the study covers."""
        return tuple(self.study.runs) if analysis.runs == "all" else analysis.runs


@dataclass(frozen=True)
class InRun:
    """An analysis in one of its runs: what there is to choose from."""

    run: RunPlan
    benchmark: BenchmarkSettings
    windows: Mapping[str, tuple[int, int]]

    @property
    def model(self) -> ModelSettings:
        """The shape of the run's model."""
        return self.run.recipe.model


@singledispatch
def check_names(mark: marks.Mark, found: Found, at: InStudy) -> None:
    """A value's names must lead to things of the right kind in the study.

    Raises:
        ConfigError: naming the field, what there is, and the nearest spelling.
    """


@singledispatch
def check_choice(mark: marks.Mark, found: Found, at: InRun) -> None:
    """A value must exist in a run that it is meant for.

    Raises:
        ConfigError: naming the field, what the run has, and what to do.
    """


# -- names in the study --------------------------------------------------------------------------


@check_names.register
def _(mark: marks.RunsMark, found: Found, at: InStudy) -> None:
    if not found.value:
        raise ConfigError(
            what="runs is empty",
            where=found.where,
            expected="at least one",
            do="add one, or take the analysis away",
        )
    for run in at.runs(at.analysis):
        need(run, at.study.runs, "run", found.where)


@check_names.register
def _(mark: marks.Ref, found: Found, at: InStudy) -> None:
    _check_reference(mark.kind, found.value, found.where, at)


def _check_reference(kind: str, named: str, where: str, at: InStudy) -> None:
    analyses: Mapping[str, Any] = at.study.analyses
    need(named, analyses, "analysis", where)
    other = analyses[named]
    if other.kind != kind:
        fitting = [n for n, a in analyses.items() if a.kind == kind]
        raise ConfigError(
            what=f"analysis {named!r} is of kind {other.kind!r}",
            where=where,
            expected=f"an analysis of kind {kind!r}",
            do=f"name one of {', '.join(fitting)}" if fitting else "add one",
        )
    left_out = [run for run in at.runs(at.analysis) if run not in at.runs(other)]
    if left_out:
        raise ConfigError(
            what=f"analysis {named!r} does not cover run {left_out[0]!r}, which {at.name!r} covers",
            where=where,
            expected="an analysis of at least the same runs",
            do=f"add the run to {named}.runs, or take it out of {at.name}.runs",
        )


@check_names.register
def _(mark: marks.WindowMark, found: Found, at: InStudy) -> None:
    found_by = finder(found.value)
    if found_by is not None:
        _check_reference("birth_windows", found_by, found.where, at)
    elif isinstance(found.value, str):
        need(found.value, at.study.windows, "window", found.where)


@check_names.register
def _(mark: marks.MeasuredMark, found: Found, at: InStudy) -> None:
    analyses: Mapping[str, Any] = at.study.analyses
    sweep = found.owner if mark.by is None else analyses[getattr(found.owner, mark.by)]
    need(found.value, sweep.splits, "measured split", found.where)


@check_names.register
def _(mark: marks.DictionaryMark, found: Found, at: InStudy) -> None:
    if not at.analysis.reads_dictionaries:
        readers = [kind for kind, settings in KINDS.items() if settings.reads_dictionaries]
        raise ConfigError(
            what=f"kind {at.analysis.kind!r} reads no dictionary of features",
            where=found.where,
            expected=f"a scalar without one, or a kind among {', '.join(readers)}",
            do="name another scalar",
        )


@check_names.register
def _(mark: marks.FeaturesMark, found: Found, at: InStudy) -> None:
    named, asked = found.owner.dictionary, found.value
    if named is None:
        return  # refused where scalars are built, which says what else is missing
    maker: Any = at.study.analyses[named]
    if isinstance(asked, str) and asked not in maker.family_names:
        guess = nearest(asked, maker.family_names)
        raise ConfigError(
            what=f"family {asked!r} does not exist",
            where=found.where,
            expected=f"one of {', '.join(maker.family_names)}",
            do=f"did you mean {guess!r}?" if guess else "correct the name",
        )
    if isinstance(asked, tuple) and max(asked) >= maker.size:
        raise ConfigError(
            what=f"analysis {named!r} makes no feature {max(asked)}",
            where=found.where,
            expected=f"0 to {maker.size - 1}",
            do=f"choose other features, or raise {named}.size",
        )


# -- choices in a run ----------------------------------------------------------------------------


@check_choice.register
def _(mark: marks.WindowMark, found: Found, at: InRun) -> None:
    if finder(found.value) is not None:
        return
    window = at.windows[found.value] if isinstance(found.value, str) else found.value
    (first, last), recipe = window, at.run.recipe
    steps = recipe.checkpoint_steps
    if first >= last or first not in steps or last not in steps:
        raise ConfigError(
            what=f"window {first}..{last} does not lie between checkpoints of run {at.run.name!r} "
            f"(0..{steps[-1]}, every {recipe.checkpoint_every})",
            where=found.where,
            expected="two checkpoint steps of the run, the first smaller",
            do="move the window onto checkpoints, or change checkpoint_every",
        )


@check_choice.register
def _(mark: marks.StepMark, found: Found, at: InRun) -> None:
    step, recipe = found.value, at.run.recipe
    steps = recipe.checkpoint_steps
    if step not in steps:
        near = min(steps, key=lambda s: abs(s - step))
        raise ConfigError(
            what=f"run {at.run.name!r} has no checkpoint at step {step}",
            where=found.where,
            expected=f"a checkpoint step (0..{steps[-1]}, every {recipe.checkpoint_every})",
            do=f"use a step with a checkpoint (the nearest is {near})",
        )


@check_choice.register
def _(mark: marks.HeadMark, found: Found, at: InRun) -> None:
    _check_head(found, at, _parse_head)


@check_choice.register
def _(mark: marks.ScalarHeadMark, found: Found, at: InRun) -> None:
    # What is written may be an MLP's.
    written = found.owner.scalar == "functional_write"
    _check_head(found, at, parse_component if written else _parse_head)


@check_choice.register
def _(mark: marks.RouteHeadMark, found: Found, at: InRun) -> None:
    """Routes compete before any head was selected, so each names its head or stands for all."""
    if found.value in HEAD_ROLES:
        raise ConfigError(
            what=f"a route's head cannot be {found.value!r}: no analysis has selected heads for it",
            where=found.where,
            expected=f"{EVERY!r}, for one route per head, or a name such as L1H3",
            do=f"write head: {EVERY}",
        )
    if found.value != EVERY:
        _check_head(found, at, _parse_head)


def _parse_head(name: str, shape: ModelSettings) -> tuple[int, int]:
    return parse_head(name, shape.n_layers, shape.n_heads)


def _check_head(found: Found, at: InRun, parse: Callable[[str, ModelSettings], object]) -> None:
    if found.value not in HEAD_ROLES:
        with _told_of(at.run.name, found.where):
            parse(found.value, at.model)


@check_choice.register
def _(mark: marks.RankMark, found: Found, at: InRun) -> None:
    if found.value > at.model.d_head:
        field = found.where.rpartition(".")[2]
        raise ConfigError(
            what=f"{field} {found.value} is too large for W_QK of run {at.run.name!r}",
            where=found.where,
            expected=f"1 to {at.model.d_head}, the width of a head",
            do=f"lower {field}",
        )


@check_choice.register
def _(mark: marks.ScalarRankMark, found: Found, at: InRun) -> None:
    if found.owner.of_head:
        check_choice(marks.RankMark(), found, at)


@check_choice.register
def _(mark: marks.StageMark, found: Found, at: InRun) -> None:
    with _told_of(at.run.name, found.where):
        canonical_site(found.value, at.model.n_layers)


@check_choice.register
def _(mark: marks.SubspaceMark, found: Found, at: InRun) -> None:
    if found.owner.pca is not None:
        with _told_of(at.run.name, f"{found.where.rpartition('.')[0]}.stage"):
            canonical_site(found.owner.pca[0], at.model.n_layers)


@check_choice.register
def _(mark: marks.GroupingsMark, found: Found, at: InRun) -> None:
    check_selectors(found.value, at.model, at.benchmark.vocab_size, at.run.name, found.where)


@check_choice.register
def _(mark: marks.ProbeMark, found: Found, at: InRun) -> None:
    probes, field = at.benchmark.probes.programs_per_split, found.where.rpartition(".")[2]
    if found.value >= probes:
        raise ConfigError(
            what=f"{field} {found.value} is not among the {probes} probe events",
            where=found.where,
            expected=f"0 to {probes - 1}",
            do=f"name one of these {field}s, or raise benchmarks.{at.run.benchmark}.probes",
        )


@check_choice.register
def _(mark: marks.ProbeCountMark, found: Found, at: InRun) -> None:
    probes, field = at.benchmark.probes.programs_per_split, found.where.rpartition(".")[2]
    if found.value > probes:
        raise ConfigError(
            what=f"{found.value} {field} are more than the {probes} probe events",
            where=found.where,
            expected=f"{mark.least} to {probes}",
            do=f"lower {field}, or raise benchmarks.{at.run.benchmark}.probes",
        )


@contextmanager
def _told_of(run: str, where: str) -> Iterator[None]:
    """What a model does not have, as an error of the configuration: in which run, and where."""
    try:
        yield
    except AnalysisError as error:
        raise ConfigError(
            what=f"{error.what} in run {run!r}",
            where=where,
            expected=error.expected,
            do=error.do,
        ) from None
