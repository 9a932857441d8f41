"""Kinds that ask whether it could be known before birth which route training will reinforce."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from circuit.config.base import Name
from circuit.config.benchmark import SplitName
from circuit.config.kinds.base import AnalysisSettings
from circuit.config.kinds.scalar import EVERY, ScalarSettings


class RouteFeatures(AnalysisSettings):
    """What can be known of every candidate route at a step: nothing later is read.

    ``route`` is the scalar whose candidates are the heads (``head: every``). At every step of
    ``cutoffs`` the features of all of them are measured from that checkpoint, optimizer state
    included: strengths and gradients on the probe events of ``split`` (not the split whose events
    say when routes are born, or both would share their chance), losses on the first
    ``train_programs`` of the training split, cut into ``chunks`` that are resampled for intervals.
    """

    figures: ClassVar[tuple[str, ...]] = ("route_features",)
    kind: Literal["route_features"]
    cutoffs: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    route: ScalarSettings
    split: SplitName = "test_iid"
    train_programs: Annotated[int, Field(ge=2)] = 256
    chunks: Annotated[int, Field(ge=2)] = 8
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _candidates_known_early(self) -> RouteFeatures:
        if self.route.head != EVERY:
            raise ValueError(f"route.head is {self.route.head!r}; candidates are all heads: every")
        basis, first = self.route.basis, min(self.cutoffs)
        if isinstance(basis, int) and basis > first:
            raise ValueError(f"route.basis {basis} lies after the first cutoff, step {first}")
        if self.route.dictionary is not None:
            raise ValueError(
                "route.dictionary was fitted to later checkpoints; choose another scalar"
            )
        return self


class Selection(AnalysisSettings):
    """Routes ranked by features from before their birth, against the order in which they were born.

    ``features`` is the analysis that measured them and ``scan`` the one that followed every head
    over all checkpoints, on another split: its ``measure``, the scalar that has the features, says
    how strong a route is. A route is born at the first
    checkpoint from which on it has at least ``threshold`` times the largest strength that any head
    of the run has at the end, with an interval above 0. An order of few births may hang on where
    that line is drawn, so the verdict is told for ``other_thresholds`` too.
    """

    scope: ClassVar[Literal["run", "study"]] = "study"
    tables: ClassVar[tuple[str, ...]] = ("rows", "births_table", "scores")
    figures: ClassVar[tuple[str, ...]] = ("predicted_order", "selection_scores")
    kind: Literal["foretold"]
    features: Name
    scan: Name
    measure: Literal[
        "qk_separation", "qk_separation_rank", "support_attention", "ov_value_margin"
    ] = "qk_separation"
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.25
    other_thresholds: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.15, 0.4)
    seed: Annotated[int, Field(ge=0)] = 0
