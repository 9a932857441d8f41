"""Settings of the kind ``birth_windows``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Seed
from circuit.config.marks import Mark, MeasuredSplit, SweepName


class Settings(AnalysisSettings):
    """When things were born, from a sweep's tables; merged into windows that have names.

    Births are read off by threshold and by change point, with an interval; beside them the largest
    jumps, drops of drift and the step from which the rank order of heads stays. Births that overlap
    are merged. A later analysis names a window as ``ANALYSIS.WINDOW``: ``main`` holds most
    evidence, ``window_1``, ``window_2``, … are all merged windows in order of time, and every
    single piece of evidence has a window under its own name, such as ``accuracy``: from where its
    change began to where it was over. ``threshold`` is the accuracy that counts as born,
    ``bootstrap`` the number of curves drawn for an interval.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "spans", "learning")
    records: ClassVar[tuple[str, ...]] = ("windows",)
    torch: ClassVar[bool] = False
    job_memory_mb: ClassVar[int] = 500
    job_minutes: ClassVar[int] = 15
    kind: Literal["birth_windows"]
    sweep: SweepName
    split: MeasuredSplit = "validation_iid"
    heldout_split: Annotated[MeasuredSplit, Mark("unlike", "split")] = "heldout_pairs"
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    stable_rank_correlation: Annotated[float, Field(gt=0, le=1)] = 0.8
    bootstrap: Annotated[int, Field(ge=20, le=10_000)] = 200
    seed: Seed = 0
