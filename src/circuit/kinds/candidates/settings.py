"""Settings of the kind ``candidates``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from circuit.config.analysis import AnalysisSettings, CheckpointWindow
from circuit.config.base import Name, Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import Mark
from circuit.config.scalar import DictionaryFamilies, Route


class Settings(AnalysisSettings):
    """Candidates in one frame: what each did, what built it, and whether training pushes it.

    A candidate is a route or a family of features, by its scalar; ``head: every`` stands for one
    candidate per head, ``families`` for one per family of a dictionary. ``train_programs`` programs
    of the training split and as many of ``split``, cut into ``chunks`` for intervals, give the
    loss' descent directions at ``checkpoints`` checkpoints spread over the window; gradients of
    candidates are compared with one another at those of ``compared_at``. ``seed`` draws the order
    in which the control exchanges answers.
    """

    reads_dictionaries: ClassVar[bool] = True
    job_memory_mb: ClassVar[int] = 2500
    kind: Literal["candidates"]
    window: CheckpointWindow
    candidates: dict[Name, Route] = Field(default_factory=dict)
    families: DictionaryFamilies | None = None
    split: SplitName = "validation_iid"
    train_programs: Annotated[int, Field(ge=2), Mark("programs", ("train", "split"))] = 128
    chunks: Annotated[int, Field(ge=2), Mark("within", "train_programs")] = 8
    checkpoints: Annotated[int, Field(ge=2, le=10_000)] = 4
    compared_at: Several[Literal["first", "last"]] = ("first",)
    seed: Seed = 0

    @model_validator(mode="after")
    def _some_are_named(self) -> Settings:
        if not self.candidates and self.families is None:
            raise ValueError(
                "neither candidates nor families are named, so nothing competes; name routes under "
                "candidates, or a dictionary under families"
            )
        return self
