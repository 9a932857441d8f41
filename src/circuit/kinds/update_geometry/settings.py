"""Settings of the kind ``update_geometry``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings, CheckpointWindow
from circuit.config.base import Seed
from circuit.config.marks import HeadScanName, Rank


class Settings(AnalysisSettings):
    """Rank and ``top`` singular directions of what a window's updates sum to, by component.

    The job replays the window by itself. ``draws`` random updates are the control.
    """

    trains: ClassVar[bool] = True
    job_memory_mb: ClassVar[int] = 2500
    kind: Literal["update_geometry"]
    heads: HeadScanName
    window: CheckpointWindow
    top: Rank = 4
    draws: Annotated[int, Field(ge=20, le=10_000)] = 40
    seed: Seed = 0
