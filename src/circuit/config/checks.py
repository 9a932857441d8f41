"""Checks that cross blocks of the configuration, before anything runs.

:func:`check_references`: every name leads to a thing of the right kind. :func:`check_choices`:
every window, checkpoint, stage, head and rank exists in the runs that it is meant for, and a run's
model can read the longest program of its benchmark. Which settings are names and choices, their
types say (:mod:`circuit.config.marks`); a mark of a new kind of setting needs a function here, a
kind of analysis that uses marks needs none. Nothing here is reached by a script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from circuit.config.analysis import AnalysisSettings, finder
from circuit.config.benchmark import SPLITS, BenchmarkSettings
from circuit.config.names import need, told_of
from circuit.config.parameter_groups import check_selectors
from circuit.config.registry import KINDS, view_files
from circuit.config.scalar import EVERY, FOLLOWING
from circuit.config.terms import HEAD_ROLES
from circuit.config.walk import Found, marked
from circuit.errors import ConfigError
from circuit.model.nodes import owner, require_edges
from circuit.model.sites import (
    edit_places,
    every_head,
    head_name,
    parse_component,
    parse_head,
    parse_neuron,
    state_site,
)

if TYPE_CHECKING:
    from circuit.config.plan import Plan, RunPlan
    from circuit.config.study import StudySettings, WorkflowSettings

_LEAST_PROBES = 8
_TAKEN = ("train", "replay", "chords")
_RULES = ("benchmark", "replay", "chords", "report", "measure", "compare", *KINDS)


def check_references(settings: WorkflowSettings, where: str) -> None:
    """Every name that settings mention must exist.

    Raises:
        ConfigError: naming the field, what there is, and the nearest spelling.
    """
    rules: dict[str, str] = {}
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
            other = rules.setdefault(f"{study_name}_{name}", study_name)
            if other != study_name:
                raise ConfigError(
                    what=f"run {name!r} and a run of study {other!r} make one rule's name, "
                    f"train_{study_name}_{name}",
                    where=f"{at}.runs.{name}",
                    expected="names of study and run that joined by '_' name this run alone",
                    do="rename the run or the study",
                )
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
    # What looks into another analysis comes when that is known to be there.
    for found in sorted(marked(analysis, where), key=lambda one: one.mark.what in _LATER):
        if found.mark.what in _NAMES:
            _NAMES[found.mark.what](found, InStudy(study, name, analysis))
    analysis.check(study, where)


def check_choices(plan: Plan) -> None:
    """Every choice must exist in the runs that it is meant for.

    Raises:
        ConfigError: naming the field, what the run has, and what to do.
    """
    benchmarks = plan.settings.benchmarks
    for (study, run_name), run in plan.runs.items():
        longest = benchmarks[run.benchmark].max_length
        probes = benchmarks[run.benchmark].probes.programs_per_split
        if probes < _LEAST_PROBES:
            raise ConfigError(
                what=f"{probes} probe events per split are too few to measure anything on",
                where=f"benchmarks.{run.benchmark}.probes.programs_per_split",
                expected=f"at least {_LEAST_PROBES}: one half chooses heads, the other confirms",
                do="raise it",
            )
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
                heads = run.recipe.model.n_layers * run.recipe.model.n_heads
                if heads < analysis.least_heads:
                    raise ConfigError(
                        what=f"run {run_name!r} has {heads} heads, too few for {analysis.kind}",
                        where=f"studies.{study}.analyses.{name}",
                        expected=f"a model of at least {analysis.least_heads} heads",
                        do="add layers or heads, or leave the run out of the analysis' runs",
                    )
                for found in choices:
                    if found.mark.what in _CHOICES:
                        _CHOICES[found.mark.what](found, here)


# -- names in the study --------------------------------------------------------------------------


@dataclass(frozen=True)
class InStudy:
    """An analysis in its study: what names can lead to."""

    study: StudySettings
    name: str
    analysis: AnalysisSettings

    @property
    def others(self) -> Mapping[str, Any]:
        """All analyses of the study."""
        return self.study.analyses

    def runs(self, analysis: AnalysisSettings) -> tuple[str, ...]:
        """Runs that an analysis of the study covers."""
        return tuple(self.study.runs) if analysis.runs == "all" else analysis.runs


def _runs(found: Found, at: InStudy) -> None:
    if not found.value:
        raise ConfigError(
            what="runs is empty",
            where=found.where,
            expected="at least one",
            do="add one, or take the analysis away",
        )
    for run in at.runs(at.analysis):
        need(run, at.study.runs, "run", found.where)


def _analysis(found: Found, at: InStudy) -> None:
    _check_reference(found.mark.detail, found.value, found.where, at)


def _check_reference(kind: str | tuple[str, ...], named: str, where: str, at: InStudy) -> None:
    need(named, at.others, "analysis", where)
    other, kinds = at.others[named], (kind,) if isinstance(kind, str) else kind
    if other.kind not in kinds:
        fitting = [n for n, a in at.others.items() if a.kind in kinds]
        raise ConfigError(
            what=f"analysis {named!r} is of kind {other.kind!r}",
            where=where,
            expected=f"an analysis of kind {' or '.join(map(repr, kinds))}",
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


def _window_name(found: Found, at: InStudy) -> None:
    found_by = finder(found.value)
    if found_by is not None:
        _check_reference("birth_windows", found_by, found.where, at)
    elif isinstance(found.value, str):
        need(found.value, at.study.windows, "window", found.where)


def _measured(found: Found, at: InStudy) -> None:
    by = found.mark.detail
    sweep = found.owner if by is None else at.others[getattr(found.owner, by)]
    need(found.value, sweep.splits, "measured split", found.where)


def _dictionary(found: Found, at: InStudy) -> None:
    if not at.analysis.reads_dictionaries:
        readers = [kind for kind, settings in KINDS.items() if settings.reads_dictionaries]
        raise ConfigError(
            what=f"kind {at.analysis.kind!r} reads no dictionary of features",
            where=found.where,
            expected=f"a scalar without one, or a kind among {', '.join(readers)}",
            do="name another scalar",
        )


def _features(found: Found, at: InStudy) -> None:
    named, asked = found.owner.dictionary, found.value
    if named is None:
        return  # refused where scalars are built, which says what else is missing
    maker = at.others[named]
    if maker.kind == "families" and not isinstance(asked, str):  # those of its dictionary
        named = maker.dictionaries[0]
        maker = at.others[named]
    if asked == EVERY:
        if not at.analysis.takes_every_feature:
            takers = [kind for kind, settings in KINDS.items() if settings.takes_every_feature]
            raise ConfigError(
                what=f"kind {at.analysis.kind!r} takes no scalar for {EVERY} feature",
                where=found.where,
                expected=f"numbers of features or a family, or a kind among {', '.join(takers)}",
                do="name some features",
            )
    elif isinstance(asked, str):
        need(asked, maker.family_names, "family", found.where, "correct the name")
    elif max(asked) >= maker.size:
        raise ConfigError(
            what=f"analysis {named!r} makes no feature {max(asked)}",
            where=found.where,
            expected=f"0 to {maker.size - 1}",
            do=f"choose other features, or raise {named}.size",
        )


def _within(found: Found, at: InStudy) -> None:
    most = getattr(found.owner, found.mark.detail)
    if found.value > most:
        raise ConfigError(
            what=f"{found.field} {found.value} is more than {found.mark.detail} {most}",
            where=found.where,
            expected=f"at most {most}",
            do=f"lower {found.field}, or raise {found.mark.detail}",
        )


def _unlike(found: Found, at: InStudy) -> None:
    if found.value == getattr(found.owner, found.mark.detail):
        raise ConfigError(
            what=f"{found.field} and {found.mark.detail} are both {found.value}",
            where=found.where,
            expected="two that differ, since they are compared",
            do=f"change {found.field} or {found.mark.detail}",
        )


_NAMES: dict[str, Callable[[Found, InStudy], None]] = {
    "runs": _runs,
    "analysis": _analysis,
    "window": _window_name,
    "measured": _measured,
    "dictionary": _dictionary,
    "features": _features,
    "within": _within,
    "unlike": _unlike,
}
_LATER = ("measured", "features")


# -- choices in a run ----------------------------------------------------------------------------


@dataclass(frozen=True)
class InRun:
    """An analysis in one of its runs: what there is to choose from."""

    run: RunPlan
    benchmark: BenchmarkSettings
    windows: Mapping[str, tuple[int, int]]


def _window(found: Found, at: InRun) -> None:
    if finder(found.value) is not None:
        return
    first, last = at.windows[found.value] if isinstance(found.value, str) else found.value
    recipe = at.run.recipe
    steps = recipe.checkpoint_steps
    if first >= last or first not in steps or last not in steps:
        raise ConfigError(
            what=f"window {first}..{last} does not lie between checkpoints of run {at.run.name!r} "
            f"(0..{steps[-1]}, every {recipe.checkpoint_every})",
            where=found.where,
            expected="two checkpoint steps of the run, the first smaller",
            do="move the window onto checkpoints, or change checkpoint_every",
        )


def _step(found: Found, at: InRun) -> None:
    recipe = at.run.recipe
    steps = recipe.checkpoint_steps
    if found.value not in steps:
        near = min(steps, key=lambda step: abs(step - found.value))
        raise ConfigError(
            what=f"run {at.run.name!r} has no checkpoint at step {found.value}",
            where=found.where,
            expected=f"a checkpoint step (0..{steps[-1]}, every {recipe.checkpoint_every})",
            do=f"use a step with a checkpoint (the nearest is {near})",
        )


def _head(found: Found, at: InRun, writes: bool = False) -> None:
    shape = at.run.recipe.model
    if found.value not in HEAD_ROLES:
        with told_of(at.run.name, found.where):
            if writes:
                parse_component(found.value, shape)
            else:
                parse_head(found.value, shape.n_layers, shape.n_heads)


def _component(found: Found, at: InRun) -> None:
    """A head, an MLP or one of the settings' own sets."""
    shape, sets = at.run.recipe.model, getattr(found.owner, found.mark.detail)
    heads = [head_name(head) for head in every_head(shape)]
    mlps = [f"L{layer}MLP" for layer in range(shape.n_layers)]
    need(found.value, (*heads, *mlps, *sets), "component", found.where, "name one of these")


def _circuit(found: Found, at: InRun) -> None:
    """Its edges, but for those of heads that a scan will have chosen."""
    edges = [e for e in found.value.circuit({}).edges if not {*map(owner, e)} & {*HEAD_ROLES}]
    with told_of(at.run.name, f"{found.where}.edges"):
        require_edges(edges, at.run.recipe.model)


def _neuron(found: Found, at: InRun) -> None:
    with told_of(at.run.name, found.where):
        parse_neuron(found.value, at.run.recipe.model)


def _written(found: Found, at: InRun) -> None:
    """A head (or a role of one), an MLP, a neuron, or the pattern of a head."""
    shape, name = at.run.recipe.model, found.value.removesuffix(".pattern")
    if name in HEAD_ROLES:
        return
    with told_of(at.run.name, found.where):
        if name != found.value:
            parse_head(name, shape.n_layers, shape.n_heads)
        elif "N" in name:
            parse_neuron(name, shape)
        else:
            parse_component(name, shape)


def _scalar_head(found: Found, at: InRun) -> None:
    # What is written may be an MLP's.
    _head(found, at, writes=found.owner.scalar in FOLLOWING)


def _route_head(found: Found, at: InRun) -> None:
    """Routes compete before any head was selected, so each names its head or stands for all."""
    if found.value in HEAD_ROLES:
        raise ConfigError(
            what=f"a route's head cannot be {found.value!r}: no analysis has selected heads for it",
            where=found.where,
            expected=f"{EVERY!r}, for one route per head, or a name such as L1H3",
            do=f"write head: {EVERY}",
        )
    if found.value != EVERY:
        _head(found, at)


def _rank(found: Found, at: InRun) -> None:
    width = at.run.recipe.model.d_head
    if found.value > width:
        raise ConfigError(
            what=f"{found.field} {found.value} is too large for W_QK of run {at.run.name!r}",
            where=found.where,
            expected=f"1 to {width}, the width of a head",
            do=f"lower {found.field}",
        )


def _scalar_rank(found: Found, at: InRun) -> None:
    if found.owner.of_head:
        _rank(found, at)


def _stage(found: Found, at: InRun) -> None:
    with told_of(at.run.name, found.where):
        state_site(found.value, at.run.recipe.model.n_layers)


def _site(found: Found, at: InRun) -> None:
    with told_of(at.run.name, found.where):
        edit_places(found.value, at.run.recipe.model, found.owner.neurons)


def _subspace_rank(found: Found, at: InRun) -> None:
    """Identities have a direction less than there are tokens, and never more than a state has."""
    model, benchmark, subspace = at.run.recipe.model, at.benchmark, found.owner.subspace
    tokens = benchmark.n_keys if "key_identity" in subspace else benchmark.n_values
    width = model.d_head if subspace.startswith("head_") else min(tokens - 1, model.d_model)
    if found.value > width:
        raise ConfigError(
            what=f"{subspace} of run {at.run.name!r} has no {found.value} directions",
            where=found.where,
            expected=f"1 to {width}",
            do="lower the rank",
        )


def _subspace(found: Found, at: InRun) -> None:
    if found.owner.pca is not None:
        place = f"{found.where.rpartition('.')[0]}.stage"
        _stage(found._replace(value=found.owner.pca[0], where=place), at)


def _groupings(found: Found, at: InRun) -> None:
    model, size = at.run.recipe.model, at.benchmark.vocab_size
    check_selectors(found.value, model, size, at.run.name, found.where)


def _probe(found: Found, at: InRun, count: bool = False) -> None:
    """The number of a probe event or, where events are counted, how many of them."""
    probes, field, value = at.benchmark.probes.programs_per_split, found.field, found.value
    if value >= probes + count:
        most = f"{value} {field} are more than" if count else f"{field} {value} is not among"
        raise ConfigError(
            what=f"{most} the {probes} probe events",
            where=found.where,
            expected=f"{found.mark.detail} to {probes}" if count else f"0 to {probes - 1}",
            do=(f"lower {field}" if count else f"name one of these {field}s")
            + f", or raise benchmarks.{at.run.benchmark}.probes",
        )


def _confirming(found: Found, at: InRun) -> None:
    """Where nobody asked for a number, it is at most what there is."""
    half = at.benchmark.probes.programs_per_split // 2
    if found.value > half and found.field in found.owner.model_fields_set:
        raise ConfigError(
            what=f"{found.value} {found.field} are more than the {half} probe events that confirm",
            where=found.where,
            expected=f"2 to {half}, one half of the probe events",
            do=f"lower {found.field}, or raise benchmarks.{at.run.benchmark}.probes",
        )


def _programs(found: Found, at: InRun) -> None:
    trained = {"train": (at.run.recipe.train_split,)}
    for setting in found.mark.detail:
        named = trained.get(setting) or getattr(found.owner, setting)
        for split in (named,) if isinstance(named, str) else named:
            size, held = list(at.benchmark.sizes.items())[SPLITS.index(split)]
            if found.value > held:
                raise ConfigError(
                    what=f"{found.field} {found.value} is more than the {held} programs of {split}",
                    where=found.where,
                    expected=f"at most {held}",
                    do=f"lower {found.field}, or raise benchmarks.{at.run.benchmark}.{size}",
                )


def _supported(found: Found, at: InRun) -> None:
    """What a dictionary is fitted to is at most this many states, whatever programs there are."""
    owner, recipe = found.owner, at.run.recipe
    kept = sum(step >= owner.first for step in recipe.checkpoint_steps)
    most = kept * ((owner.programs + 1) // 2) * recipe.model.context
    if kept and found.value > most:
        raise ConfigError(
            what=f"{found.field} {found.value:,} is more than the {most:,} states that half of "
            f"{owner.programs} programs can have at {kept} checkpoints of run {at.run.name!r}",
            where=found.where,
            expected="at most as many features as states that they are fitted to",
            do=f"lower {found.field}, or raise programs",
        )


_CHOICES: dict[str, Callable[[Found, InRun], None]] = {
    "supported": _supported,
    "window": _window,
    "step": _step,
    "head": _head,
    "circuit": _circuit,
    "component": _component,
    "neuron": _neuron,
    "written": _written,
    "scalar_head": _scalar_head,
    "route_head": _route_head,
    "rank": _rank,
    "scalar_rank": _scalar_rank,
    "stage": _stage,
    "site": _site,
    "subspace_rank": _subspace_rank,
    "subspace": _subspace,
    "groupings": _groupings,
    "probe": _probe,
    "probe_count": partial(_probe, count=True),
    "confirming": _confirming,
    "programs": _programs,
}
