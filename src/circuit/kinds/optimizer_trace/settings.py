"""Settings of the kind ``optimizer_trace``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings, Window


class Settings(AnalysisSettings):
    """One row per replayed step: loss, rate, gradient and update norms, components, batch ids."""

    tables: ClassVar[tuple[str, ...]] = ("rows", "trace", "batches", "top_parameters")
    torch: ClassVar[bool] = False
    job_memory_mb: ClassVar[int] = 1000
    job_minutes: ClassVar[int] = 10
    kind: Literal["optimizer_trace"]
    window: Window
    top_parameters: Annotated[int, Field(ge=0, le=10_000)] = 5

    @property
    def replays(self) -> bool:
        """It has one row per replayed step."""
        return True
