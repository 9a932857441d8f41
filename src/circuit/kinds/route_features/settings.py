"""Settings of the kind ``route_features``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import Mark, Step
from circuit.config.scalar import EVERY, Route


class Settings(AnalysisSettings):
    """What can be known of every candidate route at a step: nothing later is read.

    ``route`` is the scalar whose candidates are the heads (``head: every``). At every step of
    ``cutoffs`` the features of all of them are measured from that checkpoint, optimizer state
    included: strengths and gradients on the probe events of ``split`` (not the split whose events
    say when routes are born, or both would share their chance), losses on the first
    ``train_programs`` of the training split, cut into ``chunks`` that are resampled for intervals.
    """

    job_memory_mb: ClassVar[int] = 2000
    kind: Literal["route_features"]
    cutoffs: Several[Step]
    route: Route
    split: SplitName = "test_iid"
    train_programs: Annotated[int, Field(ge=2), Mark("programs", ("train",))] = 256
    chunks: Annotated[int, Field(ge=2), Mark("within", "train_programs")] = 8
    seed: Seed = 0

    @model_validator(mode="after")
    def _candidates_known_early(self) -> Settings:
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
