"""Settings of the kind ``mediation``."""

from __future__ import annotations

from typing import ClassVar, Literal

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import FinalOrStep


class Settings(AnalysisSettings):
    """Path effects of every embedding, head and MLP through every later input.

    ``ablation`` is what stands in place of what a source writes: its ``mean``, or another event's
    write (``resample``). ``seed`` is of the cycle of events and of the random changes. The last of
    ``checkpoints`` is told.
    """

    job_memory_mb: ClassVar[int] = 4000
    kind: Literal["mediation"]
    split: SplitName = "validation_iid"
    checkpoints: Several[FinalOrStep] = ("final",)
    ablation: Literal["mean", "resample"] = "mean"
    seed: Seed = 0
