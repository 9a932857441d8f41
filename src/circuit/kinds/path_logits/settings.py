"""Settings of the kind ``path_logits``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import FinalOrStep


class Settings(AnalysisSettings):
    """The correct logit and its margins as sums over paths, at every checkpoint.

    Direct paths at every checkpoint; paths through one module more, and ablations, at
    ``second_order`` (checkpoint steps, or ``final``), of which the last is told. The ``top``
    components by direct attribution are compared with what their ablation does; ``ablation`` is
    what a component's write is replaced by.
    """

    job_memory_mb: ClassVar[int] = 4000
    kind: Literal["path_logits"]
    split: SplitName = "validation_iid"
    second_order: Several[FinalOrStep] = ("final",)
    top: Annotated[int, Field(ge=2, le=10_000)] = 6
    ablation: Literal["zero", "mean"] = "mean"
