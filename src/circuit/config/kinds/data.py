"""Kinds that ask what the data demands."""

from __future__ import annotations

from typing import ClassVar, Literal

from circuit.config.benchmark import SplitName
from circuit.config.kinds.base import AnalysisSettings


class DatasetGeometry(AnalysisSettings):
    """What each split asks for, what a shortcut would get, and what it changes against train."""

    scope: ClassVar[Literal["run", "study"]] = "study"
    tables: ClassVar[tuple[str, ...]] = ("rows", "histograms", "pairs", "graph")
    figures: ClassVar[tuple[str, ...]] = ("pair_matrix", "split_axes", "distractors", "event_graph")
    kind: Literal["dataset_geometry"]
    splits: tuple[SplitName, ...] = (
        "train",
        "validation_iid",
        "test_iid",
        "heldout_pairs",
        "structural_ood",
        "counterfactual",
    )
