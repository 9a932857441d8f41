"""Settings of the kind ``circuit_map``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Name
from circuit.config.marks import Ref


class Settings(AnalysisSettings):
    """The circuit as nodes and edges, at every checkpoint of the mediation analysis ``paths``."""

    records: ClassVar[tuple[str, ...]] = ("circuit",)
    torch: ClassVar[bool] = False
    job_memory_mb: ClassVar[int] = 1000
    kind: Literal["circuit_map"]
    paths: Annotated[Name, Ref("mediation")]
