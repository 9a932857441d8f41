"""Settings of the kind ``head_scan``."""

from __future__ import annotations

from typing import ClassVar, Literal

from circuit.config.analysis import AnalysisSettings, Window
from circuit.config.benchmark import SplitName
from circuit.config.marks import Rank


class Settings(AnalysisSettings):
    """QK separation of every head at every checkpoint; chooses winner, runner-up and bottom.

    ``criterion`` is the growth that is ranked: of full-score separation, or of the rank-limited one
    in each checkpoint's own basis. Selection uses half the events, confirmation the other half.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "events")
    records: ClassVar[tuple[str, ...]] = ("heads",)
    least_heads: ClassVar[int] = 3
    kind: Literal["head_scan"]
    split: SplitName = "validation_iid"
    rank: Rank = 4
    criterion: Literal["qk_separation", "qk_separation_rank"] = "qk_separation"
    window: Window | None = None
