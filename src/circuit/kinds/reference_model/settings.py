"""Settings of the kind ``reference_model``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.config.marks import Mark, MeasuredSplit, SweepName


class Settings(AnalysisSettings):
    """Choose the study's reference model over completed runs, held-out-aware.

    Among checkpoints whose ``validation_split`` accuracy is at least ``floor``, the one with the
    highest ``heldout_split`` accuracy wins; ties go to the earlier step, then to the run's name. If
    none reaches the floor, the highest validation accuracy wins and the file says so.
    """

    scope: ClassVar[Literal["run", "study"]] = "study"
    records: ClassVar[tuple[str, ...]] = ("choice",)
    torch: ClassVar[bool] = False
    job_memory_mb: ClassVar[int] = 500
    job_minutes: ClassVar[int] = 5
    kind: Literal["reference_model"]
    sweep: SweepName
    validation_split: MeasuredSplit = "validation_iid"
    heldout_split: Annotated[MeasuredSplit, Mark("unlike", "validation_split")] = "heldout_pairs"
    floor: Annotated[float, Field(ge=0, le=1)] = 0.9
