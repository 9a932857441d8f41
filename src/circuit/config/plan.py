"""Which files follow from the settings: the grid that the workflow's rules stand on.

Everything here is known before anything runs (checkpoint steps, replay jobs, figures), so the
workflow needs no dynamic rules and a dry run is complete. Pure functions of the settings; no disk,
no torch.

A run whose recipe, seed and data equal another run's, with checkpoints that are a subset of that
other run's, is a *view*: its manifest points at the other's checkpoints and costs no training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, pairwise
from typing import Any

from pydantic import BaseModel, ValidationError

from circuit.config.analysis import Window, finder
from circuit.config.attribution import Attribution
from circuit.config.benchmark import SPLITS
from circuit.config.checks import check_choices
from circuit.config.recipe import RecipeSettings
from circuit.config.registry import files
from circuit.config.scalar import dictionary_names
from circuit.config.study import StudySettings, WorkflowSettings
from circuit.errors import ConfigError

_SCHEDULE = {"steps", "checkpoint_every", "early_checkpoints", "replay_tolerance"}


def parquet(*names: str) -> dict[str, str]:
    """Output name → file name of tables."""
    return {name: f"{name}.parquet" for name in names}


BENCHMARK_FILES = {
    **parquet(*SPLITS, "probes", "pairs", "pairs_skipped"),
    "metadata": "metadata.json",
    "audit": "audit.json",
    "audit_md": "audit.md",
}
REPLAY_TABLES = (
    "trace",
    "batches",
    "top_parameters",
    "components",
    "values",
    "groups",
    "summed_groups",
    "events",
    "sums",
    "event_parts",
)
CHORD_TABLES = ("components", "values", "groups", "summed_groups", "events")
"""Tables of a replay job, and of a job that attributes differences of checkpoints: the outputs in
circuit.attribution.tables, which the Snakefile need not import."""


@dataclass(frozen=True)
class RunPlan:
    """One run of one study; ``view_of`` names the run whose checkpoints it borrows, if any."""

    study: str
    name: str
    recipe: RecipeSettings
    seed: int
    benchmark: str
    view_of: str | None

    @property
    def folder(self) -> str:
        """Folder of the run's training artifacts."""
        return f"results/{self.study}/{self.name}/train"

    @property
    def manifest(self) -> str:
        """The file that vouches for the run's checkpoints."""
        return f"{self.folder}/manifest.json"

    @property
    def files(self) -> dict[str, str]:
        """What a run leaves beside checkpoints."""
        return {"manifest": self.manifest, "metrics": f"{self.folder}/metrics.parquet"}

    @property
    def data(self) -> dict[str, str]:
        """What it is trained on."""
        folder = f"data/{self.benchmark}"
        return {
            "metadata": f"{folder}/metadata.json",
            "train": f"{folder}/{self.recipe.train_split}.parquet",
        }

    @property
    def minutes(self) -> int:
        """A generous bound on training time, for schedulers: 1 s a step at reference size."""
        m = self.recipe.model
        size = m.n_layers * m.d_model * (2 * m.d_model + m.d_ff) * self.recipe.batch_size
        return 10 + round(self.recipe.steps * size / 4e7 / 60)

    def checkpoint(self, step: int) -> str:
        """Path of the checkpoint after ``step`` steps, in this run's own folder."""
        return f"{self.folder}/checkpoints/step_{step:06d}.safetensors"


@dataclass(frozen=True)
class ReplayJob:
    """A stretch of a run that one job replays."""

    study: str
    run: str
    start: int
    stop: int

    @property
    def folder(self) -> str:
        """Folder of the job's tables."""
        return f"results/{self.study}/{self.run}/replay/{self.start:06d}_{self.stop:06d}"


class Plan:
    """The grid of files of a validated configuration."""

    def __init__(self, settings: WorkflowSettings) -> None:
        self.settings = settings
        check_choices(self)

    # -- runs ------------------------------------------------------------------------------------

    @cached_property
    def runs(self) -> dict[tuple[str, str], RunPlan]:
        """Every run of every study, by (study, run)."""
        plans: dict[tuple[str, str], RunPlan] = {}
        for study_name, study in self.settings.studies.items():
            recipes = {name: self._recipe(study_name, name) for name in study.runs}
            for name, run in study.runs.items():
                host = _host(name, recipes, {n: r.seed for n, r in study.runs.items()})
                plans[study_name, name] = RunPlan(
                    study_name, name, recipes[name], run.seed, study.benchmark, host
                )
        return plans

    def checkpoints(self, study: str, run: str) -> dict[int, str]:
        """Checkpoint file by step; a view's files lie in the folder of the run it borrows from."""
        plan = self.runs[study, run]
        owner = self.runs[study, plan.view_of] if plan.view_of else plan
        return {step: owner.checkpoint(step) for step in plan.recipe.checkpoint_steps}

    def _recipe(self, study: str, run: str) -> RecipeSettings:
        settings = self.settings.studies[study].runs[run]
        recipe = self.settings.recipes[settings.recipe]
        if settings.steps is None:
            return recipe
        early = [s for s in recipe.early_checkpoints if s < settings.steps]
        changed = {"steps": settings.steps, "early_checkpoints": early}
        try:
            return RecipeSettings.model_validate({**recipe.model_dump(), **changed})
        except ValidationError as error:
            raise ConfigError(
                what=error.errors()[0]["msg"].removeprefix("Value error, "),
                where=f"studies.{study}.runs.{run}.steps",
                expected=f"a multiple of {recipe.checkpoint_every}",
                do="choose another number of steps",
            ) from None

    # -- analyses --------------------------------------------------------------------------------

    def study(self, name: str) -> StudySettings:
        """Settings of a study."""
        return self.settings.studies[name]

    def analysis(self, study: str, name: str) -> Any:
        """Settings of an analysis."""
        return self.study(study).analyses[name]

    def runs_of(self, study: str, name: str) -> tuple[str, ...]:
        """Runs an analysis covers."""
        chosen = self.analysis(study, name).runs
        return tuple(self.study(study).runs) if chosen == "all" else chosen

    def compared(self, study: str, name: str) -> list[str]:
        """Runs that an analysis of the study compares; none where it looks at a run, or at data."""
        analysis = self.analysis(study, name)
        compares = analysis.scope == "study" and analysis.compares_runs
        return list(self.runs_of(study, name)) if compares else []

    @cached_property
    def analyses(self) -> tuple[tuple[str, str, str], ...]:
        """Every analysis of every run: study, run, name."""
        return tuple(
            (study, run, name)
            for study, settings in self.settings.studies.items()
            for name in settings.analyses
            for run in self.runs_of(study, name)
        )

    def folders(self, kind: str) -> list[str]:
        """Folders of all analyses of a kind."""
        return [
            self.folder(*at) for at in self.analyses if self.analysis(at[0], at[2]).kind == kind
        ]

    def folder(self, study: str, run: str, name: str) -> str:
        """Folder of an analysis; ``run`` is ignored where the analysis is the study's."""
        scope = self.analysis(study, name).scope
        return f"results/{study}/{run}/{name}" if scope == "run" else f"results/{study}/{name}"

    def files(self, study: str, run: str, name: str) -> dict[str, str]:
        """Every file of an analysis, by output name."""
        folder = self.folder(study, run, name)
        return {k: f"{folder}/{f}" for k, f in files(self.analysis(study, name).kind).items()}

    def window(self, study: str, window: Window) -> tuple[int, int]:
        """Resolve a named window to its steps."""
        return self.study(study).windows[window] if isinstance(window, str) else window

    def measured_windows(self, study: str, run: str, name: str) -> str | None:
        """The file that an analysis' window stands in, where another analysis finds it."""
        found = finder(getattr(self.analysis(study, name), "window", None))
        return self.files(study, run, found)["windows"] if found else None

    def resolved(self, study: str, name: str, told: bool = True) -> str:
        """An analysis' settings as its rule carries them: one line of JSON, windows as steps.

        The list of runs is left out: which runs a study-wide analysis read, its inputs say.

        Args:
            told: with the settings that only the view reads.
        """
        analysis = self.analysis(study, name)
        left_out = {"runs", *(() if told else analysis.told)}
        settings = analysis.model_dump(mode="json", exclude=left_out)
        window = settings.get("window")
        if window is not None and finder(window) is None:
            settings["window"] = list(self.window(study, analysis.window))
        return canonical(settings)

    def targets(self, study: str) -> list[str]:
        """Everything a study leaves, its page last."""
        mine = [self.files(*at).values() for at in self.analyses if at[0] == study]
        # One folder of the study for all runs that an analysis covers.
        return [*dict.fromkeys(chain(*mine)), f"results/{study}/report.html"]

    # -- replay ----------------------------------------------------------------------------------

    def replayed(self, study: str, run: str) -> dict[str, Any]:
        """Analyses that look at a run's replayed steps."""
        analyses = self.study(study).analyses
        return {
            name: a
            for name, a in analyses.items()
            if a.replays and run in self.runs_of(study, name)
        }

    def requests(self, study: str, run: str, start: int, stop: int) -> dict[str, Any]:
        """Settings, in JSON's types, of the analyses whose window holds the stretch, by name."""
        active = {}
        for name, analysis in sorted(self.replayed(study, run).items()):
            first, last = self.window(study, analysis.window)
            if first <= start and stop <= last:
                active[name] = self.request(study, name)
        return active

    def request(self, study: str, name: str) -> dict[str, Any]:
        """What an analysis asks of the jobs that look at its window, in JSON's types."""
        analysis = self.analysis(study, name)
        settings = analysis.model_dump(mode="json", include=analysis.asked())
        return {**settings, "window": list(self.window(study, analysis.window))}

    def scans(self, requests: Mapping[str, Any]) -> list[str]:
        """Names of the analyses whose choice of heads requests need."""
        return sorted({request["heads"] for request in requests.values() if "heads" in request})

    def dictionaries(self, study: str, run: str, settings: Any) -> list[str] | None:
        """Dictionaries of features that scalars anywhere in some settings name, if any."""
        names = dictionary_names(settings)
        return [self.files(study, run, name)["sae_weights"] for name in names] or None

    def chords(self, study: str, run: str, name: str) -> str | None:
        """Folder of the tables of an attribution to differences of checkpoints, if it is one."""
        analysis = self.analysis(study, name)
        asked = isinstance(analysis, Attribution) and not analysis.replays
        return f"results/{study}/{run}/chords/{name}" if asked else None

    def threads(self, study: str, run: str, name: str) -> int:
        """Threads of measuring: those of the run where its training is replayed, else one."""
        return self.runs[study, run].recipe.threads if self.analysis(study, name).trains else 1

    def stretches(self, study: str, run: str, name: str, table: str) -> list[str]:
        """One table of every job that looked at an analysis' window, in step order."""
        chords = self.chords(study, run, name)
        if chords:
            return [f"{chords}/{table}.parquet"] if table in CHORD_TABLES else []
        jobs = self.replay_jobs(study, run, self.window(study, self.analysis(study, name).window))
        return [f"{job.folder}/{table}.parquet" for job in jobs]

    def replay_jobs(
        self, study: str, run: str, window: tuple[int, int] | None = None
    ) -> list[ReplayJob]:
        """The jobs that replay a run, cut where a window begins or ends, or those in ``window``."""
        return [
            job
            for job in _replay_jobs(self, study, run)
            if window is None or (window[0] <= job.start and job.stop <= window[1])
        ]


def _host(name: str, recipes: dict[str, RecipeSettings], seeds: dict[str, int]) -> str | None:
    """The run that passes through the same states and keeps the most of them, if not this one.

    It must keep all of this run's checkpoints; of equals the first one named is the host.
    """
    own = recipes[name]
    candidates = [
        other
        for other in recipes
        if seeds[other] == seeds[name]
        and recipes[other].model_dump(exclude=_SCHEDULE) == own.model_dump(exclude=_SCHEDULE)
        and set(own.checkpoint_steps) <= set(recipes[other].checkpoint_steps)
    ]
    host = max(candidates, key=lambda other: len(recipes[other].checkpoint_steps))
    return None if host == name else host


@lru_cache(maxsize=1024)
def _replay_jobs(plan: Plan, study: str, run: str) -> list[ReplayJob]:
    windows = [plan.window(study, a.window) for a in plan.replayed(study, run).values()]
    edges = {edge for window in windows for edge in window}
    steps = plan.runs[study, run].recipe.checkpoint_steps
    longest = plan.study(study).replay.segments_per_job
    jobs: list[ReplayJob] = []
    open_at, held = None, 0
    for start, stop in pairwise(steps):
        covered = any(first <= start and stop <= last for first, last in windows)
        if not covered:
            open_at = None
            continue
        if open_at is None or held == longest or start in edges:
            open_at, held = start, 0
        else:
            jobs.pop()
        held += 1
        jobs.append(ReplayJob(study, run, open_at, stop))
    return jobs


def canonical(settings: BaseModel | dict[str, Any]) -> str:
    """Settings as one line of JSON in the order of their fields: what a rule carries along."""
    plain = settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings
    return json.dumps(plain)


def made(folders: Iterable[str], shape: str, files: Mapping[str, str]) -> dict[str, str]:
    """Files in just these folders of results/, as Snakemake's patterns of a shape.

    Looking ahead from ``{study}`` ties the wildcards together: what the configuration does not ask
    for is no target.
    """
    ahead = "|".join(sorted({folder.removeprefix("results/") for folder in folders}))
    shape = shape.replace("{study}", f"{{study,(?=(?:{ahead})/)[^/]+}}")
    return {name: f"{shape}/{file}" for name, file in files.items()}
