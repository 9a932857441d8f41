"""Kinds that ask how much is explained, and whether it repeats."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.base import Name
from circuit.config.benchmark import SplitName
from circuit.config.kinds.base import AnalysisSettings, CheckpointWindow
from circuit.config.kinds.scalar import ScalarSettings


class Closure(AnalysisSettings):
    """How much of behaviour's change between checkpoints the change of route scalars explains."""

    tables: ClassVar[tuple[str, ...]] = ("rows", "coefficients", "scores")
    figures: ClassVar[tuple[str, ...]] = ("closure",)
    kind: Literal["closure"]
    heads: Name
    window: CheckpointWindow
    outcomes: dict[Name, ScalarSettings]
    routes: dict[Name, ScalarSettings]
    split: SplitName = "validation_iid"
    folds: Annotated[int, Field(ge=2)] = 5
    seed: Annotated[int, Field(ge=0)] = 0


class CrossSeed(AnalysisSettings):
    """The route's growth and its component shares over runs that differ in their seed."""

    scope: ClassVar[Literal["run", "study"]] = "study"
    figures: ClassVar[tuple[str, ...]] = ("seeds",)
    kind: Literal["cross_seed"]
    sweep: Name
    scan: Name
    attribution: Name
    scalar: Name
    seed: Annotated[int, Field(ge=0)] = 0
