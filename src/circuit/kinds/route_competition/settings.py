"""Settings of the kind ``route_competition``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings, CheckpointWindow
from circuit.config.base import Name, Seed
from circuit.config.benchmark import SplitName
from circuit.config.marks import Mark
from circuit.config.scalar import Route


class Settings(AnalysisSettings):
    """Candidate routes in one frame: strength, change, and whether training pushes them.

    A route is a scalar; ``head: every`` stands for one route per head. ``train_programs`` programs
    of the training split and as many of ``split``, cut into ``chunks`` for intervals, give the
    loss' descent directions at ``checkpoints`` checkpoints spread over the window. ``seed`` draws
    the order in which the control exchanges answers.
    """

    reads_dictionaries: ClassVar[bool] = True
    job_memory_mb: ClassVar[int] = 2000
    kind: Literal["route_competition"]
    window: CheckpointWindow
    routes: Annotated[dict[Name, Route], Field(min_length=1)]
    split: SplitName = "validation_iid"
    train_programs: Annotated[int, Field(ge=2), Mark("programs", ("train", "split"))] = 128
    chunks: Annotated[int, Field(ge=2), Mark("within", "train_programs")] = 8
    checkpoints: Annotated[int, Field(ge=2, le=10_000)] = 4
    seed: Seed = 0
