"""The whole configuration: benchmarks, recipes and studies, and the checks that cross them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from circuit.config.base import Frozen, Name, Seed, Steps
from circuit.config.benchmark import BenchmarkSettings
from circuit.config.checks import check_references
from circuit.config.feasibility import check_feasible
from circuit.config.recipe import RecipeSettings, TrainingSteps
from circuit.config.registry import KINDS, Analysis
from circuit.errors import BenchmarkError, ConfigError, nearest


class RunSettings(Frozen):
    """One training run of a study: a recipe and a seed; ``steps`` cuts the recipe short."""

    recipe: Name
    seed: Seed
    steps: TrainingSteps | None = None


class ReplaySettings(Frozen):
    """How replays are cut into jobs: segments (checkpoint to checkpoint) per job."""

    segments_per_job: Annotated[int, Field(ge=1, le=10_000)] = 4


class StudySettings(Frozen):
    """A named set of runs and analyses at one scale."""

    title: str
    benchmark: Name
    runs: Annotated[dict[Name, RunSettings], Field(min_length=1)]
    focus: Name
    windows: dict[Name, Steps] = Field(default_factory=dict)
    replay: ReplaySettings = ReplaySettings()
    analyses: dict[Name, Analysis]


class WorkflowSettings(Frozen):
    """``workflow_config.yaml``."""

    benchmarks: dict[Name, BenchmarkSettings]
    recipes: dict[Name, RecipeSettings]
    studies: Annotated[dict[Name, StudySettings], Field(min_length=1)]


def load_settings(source: Path | str | dict[str, Any]) -> WorkflowSettings:
    """Validate a configuration file, or what a YAML reader made of one.

    A recipe may name another as its ``base`` and state only what differs.

    Raises:
        ConfigError: the file is missing or no YAML, a key is unknown (the nearest valid spelling is
            named), a value is out of range, or a reference leads nowhere.
    """
    where = "configuration" if isinstance(source, dict) else str(source)
    data = source if isinstance(source, dict) else read_yaml(Path(source))
    # Keys that start with x- hold YAML anchors for other blocks to use.
    data = {key: value for key, value in data.items() if not str(key).startswith("x-")}
    data["recipes"] = _inherit(_block(data.get("recipes"), f"{where}: recipes"), where)
    _check_benchmarks(_block(data.get("benchmarks"), f"{where}: benchmarks"), where)
    try:
        settings = WorkflowSettings.model_validate(data)
    except ValidationError as error:
        raise _first_error(error, data, where) from None
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
    """Refuse a benchmark that no draw can satisfy."""
    for name, settings in benchmarks.items():
        try:
            check_feasible(BenchmarkSettings.model_validate(settings))
        except BenchmarkError as error:
            raise ConfigError(
                what=error.what,
                where=f"{where}: benchmarks.{name}.{error.where}",
                expected=error.expected,
                do=error.do,
            ) from None
        except ValidationError:
            pass  # reported with its full path by the validation of the whole


class _Unclear(yaml.YAMLError):
    """What YAML reads as something else than what stands there."""


class _Strict(yaml.SafeLoader):
    """Refuses keys given twice, the first of which would be lost, and numbers of another base."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode):
                if key.value in lines:
                    both = f"in lines {lines[key.value]} and {line}"
                    raise _Unclear(f"key {key.value!r} is given twice, {both}")
                lines[key.value] = line
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if node.tag.endswith((":int", ":float")) and not _DECIMAL.fullmatch(node.value):
            read = self.construct_object(node)
            line = node.start_mark.line + 1
            raise _Unclear(f"{node.value} in line {line} would be read as {read}")
        return node


_EXPONENT = re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+")
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)?(\.[0-9_]*)?([eE][-+]?[0-9]+)?")


def read_yaml(path: Path) -> dict[str, Any]:
    """A configuration file as YAML, in which nothing is read as something else.

    Raises:
        ConfigError: the file is missing, no YAML or empty, gives a key twice or a number in another
            base than ten.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except FileNotFoundError:
        raise ConfigError(
            what="configuration file is missing",
            where=str(path),
            expected="a YAML file with benchmarks, recipes and studies",
            do="restore it or name another with --configfile",
        ) from None
    except _Unclear as error:
        raise ConfigError(
            what=str(error),
            where=str(path),
            expected="every key once in its block, and numbers in plain decimals",
            do="correct the line named",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
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


def _first_error(error: ValidationError, data: dict[str, Any], where: str) -> ConfigError:
    """One clear message for the first thing that is wrong (the rest often follow from it)."""
    first, *others = error.errors(include_url=False)
    if _of_another_type(first):
        # Where several types are possible, what is told is how it fails the one that it is nearest.
        beside = [e for e in others if e["loc"][: len(first["loc"]) - 1] == first["loc"][:-1]]
        first = max([first, *beside], key=lambda e: (not _of_another_type(e), len(e["loc"])))
    cause = (first.get("ctx") or {}).get("error")
    if isinstance(cause, ConfigError):
        return cause
    path = _path(first["loc"], data)
    if first["type"] == "missing":
        path.append(str(first["loc"][-1]))
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


def _of_another_type(error: Any) -> bool:
    return str(error["type"]).endswith(("_type", "literal_error"))


def _path(loc: tuple[int | str, ...], data: Any) -> list[str]:
    """The part of a place that stands in the file, without the names of the types tried there."""
    path = []
    for part in loc:
        places = range(len(data)) if isinstance(data, list) else data
        if isinstance(places, dict | range) and part in places:
            path.append(str(part))
            data = data[part]
    return path


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
    if first["type"] == "float_type" and _EXPONENT.fullmatch(str(given)):
        message += "; YAML needs a point and a sign in such a number: 1.0e-3"
    return message + ("" if isinstance(given, dict | BaseModel) else f" (given: {given!r})")
