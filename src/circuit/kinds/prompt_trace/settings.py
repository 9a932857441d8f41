"""Settings of the kind ``prompt_trace``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Count
from circuit.config.benchmark import SplitName
from circuit.config.marks import FinalOrStep, Mark


class Settings(AnalysisSettings):
    """One program, one read, one checkpoint, told step by step.

    ``event`` is the number of one of the split's probe events. ``top`` neurons per MLP and position
    are kept, ``top`` tokens of each logit lens, and ``top`` paths are told.
    """

    tables: ClassVar[tuple[str, ...]] = (
        "rows",
        "attention",
        "writes",
        "neurons",
        "lens",
        "paths",
        "matching",
    )
    job_minutes: ClassVar[int] = 10
    kind: Literal["prompt_trace"]
    split: SplitName = "validation_iid"
    event: Annotated[int, Field(ge=0), Mark("probe")] = 0
    checkpoint: FinalOrStep = "final"
    top: Count = 5
