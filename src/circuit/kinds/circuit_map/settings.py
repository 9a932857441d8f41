"""Settings of the kind ``circuit_map``."""

from __future__ import annotations

from typing import ClassVar, Literal

from circuit.config.analysis import AnalysisSettings
from circuit.config.benchmark import SplitName


class Settings(AnalysisSettings):
    """Nodes and edges of the circuit at every checkpoint, each beside its control.

    Nodes are the embedding, heads, MLPs and the answer; edges are paths with patterns and LayerNorm
    scales frozen. ``ablation`` is what a component's write is replaced by.
    """

    records: ClassVar[tuple[str, ...]] = ("circuit",)
    job_memory_mb: ClassVar[int] = 4000
    kind: Literal["circuit_map"]
    split: SplitName = "validation_iid"
    ablation: Literal["zero", "mean"] = "mean"
