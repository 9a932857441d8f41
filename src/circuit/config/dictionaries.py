"""Dictionaries of features that scalars name: which they are, and whether they can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from circuit.config.kinds.features import SharedFeatures
from circuit.config.kinds.scalar import ScalarSettings
from circuit.errors import ConfigError, nearest

READERS = ("update_attribution", "data_attribution", "closure", "route_competition")
"""Kinds whose scalars may name a dictionary; others would not find it."""


def named_scalars(analysis: BaseModel) -> Iterator[tuple[str, ScalarSettings]]:
    """Every scalar that an analysis names, with its place in the settings."""
    for field in type(analysis).model_fields:
        given = getattr(analysis, field)
        if isinstance(given, ScalarSettings):
            yield field, given
        elif isinstance(given, dict):
            for name, one in given.items():
                if isinstance(one, ScalarSettings):
                    yield f"{field}.{name}", one


def dictionary_names(settings: Any) -> list[str]:
    """Names of the dictionaries that scalars anywhere in settings name, in order, each once.

    Args:
        settings: of one analysis or of several, in JSON's types.
    """
    found: set[str] = set()
    parts = settings.values() if isinstance(settings, Mapping) else settings
    for part in parts:
        if isinstance(part, Mapping | list | tuple):
            found.update(dictionary_names(part))
    named = settings.get("dictionary") if isinstance(settings, Mapping) else None
    return sorted({*found, named} if isinstance(named, str) else found)


def check_dictionaries(analysis: Any, analyses: Mapping[str, Any], here: str) -> None:
    """Features that scalars name must be in their dictionary, and the kind must read it.

    Args:
        analyses: of the study; those that make the dictionaries are among them.
        here: the analysis' place in the configuration.

    Raises:
        ConfigError: naming the scalar's field, what there is, and what to do.
    """
    for place, scalar in named_scalars(analysis):
        if scalar.dictionary is None:
            continue
        if analysis.kind not in READERS:
            raise ConfigError(
                what=f"kind {analysis.kind!r} reads no dictionary of features",
                where=f"{here}.{place}.dictionary",
                expected=f"a scalar without one, or a kind among {', '.join(READERS)}",
                do="name another scalar",
            )
        _check_features(scalar, analyses[scalar.dictionary], f"{here}.{place}.features")


def _check_features(scalar: ScalarSettings, maker: SharedFeatures, where: str) -> None:
    asked, families = scalar.features, maker.family_names
    if isinstance(asked, str) and asked not in families:
        guess = nearest(asked, families)
        raise ConfigError(
            what=f"family {asked!r} does not exist",
            where=where,
            expected=f"one of {', '.join(families)}",
            do=f"did you mean {guess!r}?" if guess else "correct the name",
        )
    if isinstance(asked, tuple) and max(asked) >= maker.size:
        raise ConfigError(
            what=f"analysis {scalar.dictionary!r} makes no feature {max(asked)}",
            where=where,
            expected=f"0 to {maker.size - 1}",
            do=f"choose other features, or raise {scalar.dictionary}.size",
        )
