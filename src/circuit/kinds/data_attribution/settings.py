"""Settings of the kind ``data_attribution``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.attribution import Attribution, RequestedOfData
from circuit.config.base import Several
from circuit.config.marks import Mark


class Settings(RequestedOfData, Attribution):
    """Growth of scalars attributed to the training data behind the updates.

    The first-order form at the window's checkpoints is measured on ``programs`` programs drawn
    with ``seed``. As a check, the window's first step is redone with each of ``removal_shares`` of
    every group taken out.
    """

    tables: ClassVar[tuple[str, ...]] = (*Attribution.tables, "first_order", "removal")
    job_memory_mb: ClassVar[int] = 4000
    kind: Literal["data_attribution"]
    programs: Annotated[int, Field(ge=8), Mark("programs", ("train",))] = 256
    removal_shares: Several[Annotated[float, Field(gt=0, le=1)]] = (0.01, 0.1, 1.0)
