"""Settings of the kind ``closure``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings, CheckpointWindow
from circuit.config.base import Name, Seed
from circuit.config.benchmark import SplitName
from circuit.config.marks import HeadScanName, Mark
from circuit.config.scalar import ScalarSettings


class Settings(AnalysisSettings):
    """How much of behaviour's change between checkpoints the change of route scalars explains."""

    tables: ClassVar[tuple[str, ...]] = ("rows", "intervals", "events")
    reads_dictionaries: ClassVar[bool] = True
    kind: Literal["closure"]
    heads: HeadScanName
    window: CheckpointWindow
    outcomes: Annotated[dict[Name, ScalarSettings], Field(min_length=1)]
    routes: Annotated[dict[Name, ScalarSettings], Field(min_length=1)]
    split: SplitName = "validation_iid"
    folds: Annotated[int, Field(ge=2, le=10_000), Mark("probe_count", 2)] = 5
    seed: Seed = 0
