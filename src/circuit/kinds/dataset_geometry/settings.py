"""Settings of the kind ``dataset_geometry``."""

from typing import ClassVar, Literal

from pydantic import field_validator

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Several
from circuit.config.benchmark import SplitName


class Settings(AnalysisSettings):
    """What each split asks for, what a shortcut would get, and what it changes against train.

    ``splits`` holds ``train``, which the others are compared with; figures show them in this order.
    """

    scope: ClassVar[Literal["run", "study"]] = "study"
    compares_runs: ClassVar[bool] = False
    tables: ClassVar[tuple[str, ...]] = ("rows", "histograms", "pairs", "overlaps", "graph")
    job_memory_mb: ClassVar[int] = 3000
    job_minutes: ClassVar[int] = 20
    torch: ClassVar[bool] = False
    kind: Literal["dataset_geometry"]
    splits: Several[SplitName] = (
        "train",
        "validation_iid",
        "test_iid",
        "heldout_pairs",
        "structural_ood",
        "counterfactual",
    )

    @field_validator("splits")
    @classmethod
    def _compared(cls, splits: tuple[SplitName, ...]) -> tuple[SplitName, ...]:
        if "train" not in splits:
            raise ValueError("train is missing, which the other splits are compared with")
        return splits
