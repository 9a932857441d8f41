"""The whole configuration: benchmarks, recipes and studies, and the checks that cross them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from circuit.config.analysis import Analysis
from circuit.config.base import Frozen, Name
from circuit.config.benchmark import BenchmarkSettings
from circuit.config.recipe import RecipeSettings
from circuit.errors import BenchmarkError, ConfigError, nearest


class RunSettings(Frozen):
    """One training run of a study: a recipe and a seed; ``steps`` cuts the recipe short."""

    recipe: Name
    seed: Annotated[int, Field(ge=0)]
    steps: Annotated[int, Field(ge=1)] | None = None


class ReplaySettings(Frozen):
    """How replays are cut into jobs: segments (checkpoint to checkpoint) per job."""

    segments_per_job: Annotated[int, Field(ge=1)] = 4


class StudySettings(Frozen):
    """A named set of runs and analyses at one scale."""

    title: str
    benchmark: Name
    runs: dict[Name, RunSettings]
    focus: Name
    windows: dict[Name, tuple[int, int]] = Field(default_factory=dict)
    replay: ReplaySettings = ReplaySettings()
    analyses: dict[Name, Analysis]


class WorkflowSettings(Frozen):
    """``workflow_config.yaml``."""

    benchmarks: dict[Name, BenchmarkSettings]
    recipes: dict[Name, RecipeSettings]
    studies: dict[Name, StudySettings]


def load_settings(source: Path | str | dict[str, Any]) -> WorkflowSettings:
    """Validate a configuration file, or what a YAML reader made of one.

    A recipe may name another as its ``base`` and state only what differs.

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown (the nearest valid spelling is
            named), a value is out of range, or a reference leads nowhere.
    """
    where = "configuration" if isinstance(source, dict) else str(source)
    data = source if isinstance(source, dict) else _read_yaml(Path(source))
    # Keys that start with x- hold YAML anchors for other blocks to use.
    data = {key: value for key, value in data.items() if not str(key).startswith("x-")}
    data["recipes"] = _inherit(data.get("recipes") or {}, where)
    _check_benchmarks(data.get("benchmarks") or {}, where)
    try:
        settings = WorkflowSettings.model_validate(data)
    except ValidationError as error:
        raise _first_error(error, where) from None
    _check_references(settings, where)
    return settings


def _check_benchmarks(benchmarks: dict[str, Any], where: str) -> None:
    """Say which benchmark is impossible: its own validator knows only the field."""
    for name, settings in benchmarks.items():
        try:
            BenchmarkSettings.model_validate(settings)
        except BenchmarkError as error:
            raise ConfigError(
                what=error.what,
                where=f"{where}: benchmarks.{name}.{error.where}",
                expected=error.expected,
                do=error.do,
            ) from None
        except ValidationError:
            pass  # reported with its full path by the validation of the whole


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(
            what="configuration file is missing",
            where=str(path),
            expected="a YAML file with benchmarks, recipes and studies",
            do="restore it or name another with --configfile",
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(
            what=f"configuration is not valid YAML ({' '.join(str(error).split())})",
            where=str(path),
            expected="YAML with benchmarks, recipes and studies",
            do="correct the line named",
        ) from None
    if not isinstance(data, dict):
        raise ConfigError(
            what="configuration is empty",
            where=str(path),
            expected="a mapping with benchmarks, recipes and studies",
            do="restore the file",
        )
    return data


def _inherit(recipes: dict[str, Any], where: str) -> dict[str, Any]:
    """Resolve ``base``: a recipe's own keys replace its base's, nested mappings key by key."""

    def resolve(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
        recipe = dict(recipes[name] or {})
        base = recipe.pop("base", None)
        if base is None:
            return recipe
        if base not in recipes or base in seen:
            raise ConfigError(
                what=f"recipe {name!r} has base {base!r}, which "
                + ("leads back to itself" if base in seen else "does not exist"),
                where=f"{where}: recipes.{name}.base",
                expected=f"one of {', '.join(sorted(recipes))}",
                do=f"did you mean {nearest(str(base), recipes)!r}?",
            )
        return _merge(resolve(base, (*seen, name)), recipe)

    return {name: resolve(name, (name,)) for name in recipes}


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _first_error(error: ValidationError, where: str) -> ConfigError:
    """One clear message for the first thing that is wrong (the rest often follow from it)."""
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    cause = (first.get("ctx") or {}).get("error")
    if isinstance(cause, ConfigError):
        return cause
    message = first["msg"].removeprefix("Value error, ")
    more = error.error_count() - 1
    given = first.get("input")
    shown = "" if isinstance(given, dict | BaseModel) else f" (given: {given!r})"
    return ConfigError(
        what=message + shown,
        where=f"{where}: {path}",
        expected="settings as docs/guide.md describes them",
        do="correct this key" + (f"; {more} more problem(s) follow" if more else ""),
    )


def _check_references(settings: WorkflowSettings, where: str) -> None:
    """Every name that settings mention must exist."""

    def need(name: str, valid: Any, what: str, at: str) -> None:
        if name not in valid:
            guess = nearest(name, valid)
            raise ConfigError(
                what=f"{what} {name!r} does not exist",
                where=f"{where}: {at}",
                expected=f"one of {', '.join(map(str, valid))}",
                do=f"did you mean {guess!r}?" if guess else "correct the name or add it",
            )

    kinds: dict[str, str] = {}
    for study_name, study in settings.studies.items():
        at = f"studies.{study_name}"
        need(study.benchmark, settings.benchmarks, "benchmark", f"{at}.benchmark")
        need(study.focus, study.runs, "run", f"{at}.focus")
        for run_name, run in study.runs.items():
            need(run.recipe, settings.recipes, "recipe", f"{at}.runs.{run_name}.recipe")
            if run_name in study.analyses:
                raise ConfigError(
                    what=f"{run_name!r} names both a run and an analysis",
                    where=f"{where}: {at}",
                    expected="different names, since both become folders",
                    do="rename one of them",
                )
        for name, analysis in study.analyses.items():
            here = f"{at}.analyses.{name}"
            if kinds.setdefault(name, analysis.kind) != analysis.kind:
                raise ConfigError(
                    what=f"analysis {name!r} is of kind {analysis.kind!r} here and of kind "
                    f"{kinds[name]!r} in another study",
                    where=f"{where}: {here}",
                    expected="one kind for one name, since the name chooses the rule",
                    do="rename one of them",
                )
            for run_name in () if analysis.runs == "all" else analysis.runs:
                need(run_name, study.runs, "run", f"{here}.runs")
            for field in ("selection", "sweep", "scan", "attribution"):
                if hasattr(analysis, field):
                    need(getattr(analysis, field), study.analyses, "analysis", f"{here}.{field}")
            window = getattr(analysis, "window", None)
            if isinstance(window, str):
                need(window, study.windows, "window", f"{here}.window")
