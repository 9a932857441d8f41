"""The whole configuration: benchmarks, recipes and studies, and the checks that cross them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from circuit.config.base import Frozen, Name
from circuit.config.benchmark import BenchmarkSettings
from circuit.config.checks import check_references
from circuit.config.recipe import RecipeSettings
from circuit.config.registry import KINDS, Analysis
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
    data["recipes"] = _inherit(_block(data.get("recipes"), f"{where}: recipes"), where)
    _check_benchmarks(_block(data.get("benchmarks"), f"{where}: benchmarks"), where)
    try:
        settings = WorkflowSettings.model_validate(data)
    except ValidationError as error:
        raise _first_error(error, where) from None
    check_references(settings, where)
    return settings


def _block(value: Any, where: str) -> dict[str, Any]:
    """What stands below a key that must have further keys."""
    if not isinstance(value or {}, dict):
        raise ConfigError(
            what=f"further keys are missing (given: {value!r})",
            where=where,
            expected="settings as docs/guide.md describes them",
            do="correct this key",
        )
    return value or {}


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
        recipe = dict(_block(recipes[name], f"{where}: recipes.{name}"))
        given = recipe.pop("base", None)
        if given is None:
            return recipe
        base = str(given)
        if base not in recipes or base in seen:
            guess = None if base in seen else nearest(base, recipes)
            raise ConfigError(
                what=f"recipe {name!r} has base {base!r}, which "
                + ("leads back to itself" if base in seen else "does not exist"),
                where=f"{where}: recipes.{name}.base",
                expected="a recipe that does not build on this one",
                do=f"did you mean {guess!r}?" if guess else "name another base, or none",
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
    cause = (first.get("ctx") or {}).get("error")
    if isinstance(cause, ConfigError):
        return cause
    path = [str(part) for part in first["loc"] if part != "[key]"]
    if path[:1] == ["studies"] and path[2:3] == ["analyses"]:
        del path[4:5]  # an analysis' kind, which the file does not nest by
    at = ": ".join(filter(None, [where, ".".join(path)]))
    if first["type"] == "too_short" and first["ctx"]["min_length"] == 1:
        return ConfigError(
            what=f"{path[-1]} is empty",
            where=at,
            expected="at least one",
            do="add one, or take the analysis away",
        )
    more = error.error_count() - 1
    return ConfigError(
        what=_message(first),
        where=at,
        expected="settings as docs/guide.md describes them",
        do="correct this key" + (f"; {more} more problem(s) follow" if more else ""),
    )


def _message(first: Any) -> str:
    """What is wrong, with the value that was given where it is short."""
    given, context = first.get("input"), first.get("ctx") or {}
    if first["type"] == "union_tag_not_found":
        return "kind is missing"
    if first["type"] == "union_tag_invalid":
        guess = nearest(context["tag"], KINDS)
        hint = f"did you mean {guess!r}? " if guess else ""
        return f"unknown kind {context['tag']!r}; {hint}valid kinds: {', '.join(KINDS)}"
    message = str(first["msg"]).removeprefix("Value error, ")
    return message + ("" if isinstance(given, dict | BaseModel) else f" (given: {given!r})")
