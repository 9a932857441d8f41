"""Settings of the kind ``full_evaluation``."""

from __future__ import annotations

from typing import Literal

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import FinalOrStep, MeasuredSplit, SweepName


class Settings(AnalysisSettings):
    """Every program of every split at one checkpoint."""

    kind: Literal["full_evaluation"]
    checkpoint: Literal["best"] | FinalOrStep = "best"
    sweep: SweepName
    best_by: MeasuredSplit = "heldout_pairs"
    splits: Several[SplitName] = (
        "validation_iid",
        "test_iid",
        "heldout_pairs",
        "structural_ood",
        "counterfactual",
    )
