"""Kinds that ask which updates built it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from circuit.config.base import Name
from circuit.config.benchmark import SplitName
from circuit.config.kinds.base import AnalysisSettings, Window
from circuit.config.kinds.scalar import ScalarSettings
from circuit.config.terms import GROUPINGS

PathRule = Literal["left", "trapezoid", "simpson"]


class OptimizerTrace(AnalysisSettings):
    """One row per replayed step: loss, rate, gradient and update norms, components, batch ids."""

    tables: ClassVar[tuple[str, ...]] = ("rows", "batches", "top_parameters")
    figures: ClassVar[tuple[str, ...]] = ("trace", "components")
    kind: Literal["optimizer_trace"]
    window: Window
    top_parameters: Annotated[int, Field(ge=0)] = 5


class UpdateAttribution(AnalysisSettings):
    """Growth of scalars attributed to update components and parameter groups, step by step.

    ``path_rule`` is the rule that is split over groups; ``comparators`` are other rules shown
    beside it. ``groups`` are kept for every step, ``summed_groups`` (fine ones, such as neurons) as
    sums over the window. A window is marked whose residual exceeds ``residual_bound`` of its
    growth.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "values", "groups", "summed_groups", "events")
    figures: ClassVar[tuple[str, ...]] = ("growth", "parameter_groups", "residual")
    kind: Literal["update_attribution"]
    window: Window
    selection: Name
    scalars: dict[Name, ScalarSettings]
    split: SplitName = "validation_iid"
    events: Annotated[int, Field(ge=2)] = 48
    path_rule: PathRule = "trapezoid"
    comparators: tuple[PathRule, ...] = ("left",)
    groups: tuple[str, ...] = ("head_projection",)
    summed_groups: tuple[str, ...] = ()
    residual_bound: Annotated[float, Field(gt=0)] = 0.01

    @model_validator(mode="after")
    def _something_to_attribute(self) -> UpdateAttribution:
        if not self.scalars:
            raise ValueError("scalars is empty; name at least one scalar")
        if not self.groups:
            raise ValueError("groups is empty; name at least one grouping, such as module")
        for name in (*self.groups, *self.summed_groups):
            if name not in GROUPINGS:
                raise ValueError(f"unknown grouping {name!r}; there are {', '.join(GROUPINGS)}")
        return self

    @property
    def rules(self) -> tuple[PathRule, ...]:
        """The main rule, then its comparators, each once."""
        return tuple(dict.fromkeys((self.path_rule, *self.comparators)))
