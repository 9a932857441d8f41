"""Kinds that ask which mechanism is there."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.base import Name
from circuit.config.benchmark import SplitName
from circuit.config.kinds.base import AnalysisSettings, CheckpointWindow, Window
from circuit.config.kinds.scalar import ScalarSettings


class HeadScan(AnalysisSettings):
    """QK separation of every head at every checkpoint; chooses winner, runner-up and bottom.

    ``criterion`` is the growth that is ranked: of full-score separation, or of the rank-limited one
    in each checkpoint's own basis. Selection uses half the events, confirmation the other half.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "events")
    records: ClassVar[tuple[str, ...]] = ("selection",)
    figures: ClassVar[tuple[str, ...]] = ("separation", "heads")
    kind: Literal["head_scan"]
    split: SplitName = "validation_iid"
    rank: Annotated[int, Field(ge=1)] = 4
    criterion: Literal["qk_separation", "qk_separation_rank"] = "qk_separation"
    window: Window | None = None


class AttentionGeometry(AnalysisSettings):
    """Every head at every checkpoint: where it looks, what it reads there, what that is worth.

    The retrieval chain is score margin → attention mass → OV value margin → direct logit effect.
    ``head`` is the one whose patterns are pictured and whose chain is told; ``directions`` is the
    number of top singular directions of W_QK and W_OV, of which ``tokens`` tokens are named.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "maps", "directions_table", "patterns_table")
    figures: ClassVar[tuple[str, ...]] = (
        "patterns",
        "roles",
        "chain",
        "maps_by_role",
        "directions",
    )
    kind: Literal["attention_geometry"]
    selection: Name
    split: SplitName = "validation_iid"
    head: str = "winner"
    pictures: Annotated[int, Field(ge=1, le=12)] = 4
    directions: Annotated[int, Field(ge=1)] = 3
    tokens: Annotated[int, Field(ge=1)] = 5


class PathLogits(AnalysisSettings):
    """The correct logit and its margins as sums over paths, at every checkpoint.

    First-order paths at every checkpoint; second-order paths and ablations at ``second_order``
    (checkpoint steps, or ``final``). ``top`` components are compared with their ablation effect.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "second_order_table", "readout", "ablations")
    figures: ClassVar[tuple[str, ...]] = (
        "trajectories",
        "second_order",
        "stages",
        "direct_and_ablated",
    )
    kind: Literal["path_logits"]
    split: SplitName = "validation_iid"
    second_order: tuple[Literal["final"] | Annotated[int, Field(ge=0)], ...] = ("final",)
    top: Annotated[int, Field(ge=2)] = 6


class RouteCompetition(AnalysisSettings):
    """Candidate routes in one frame: strength, change, and whether training pushes them.

    A route is a scalar; ``head: every`` stands for one route per head. ``train_programs`` programs
    of the training split and as many of ``split`` give the loss' descent directions.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "ranking")
    figures: ClassVar[tuple[str, ...]] = ("ranked", "alignment")
    kind: Literal["route_competition"]
    window: CheckpointWindow
    routes: dict[Name, ScalarSettings]
    split: SplitName = "validation_iid"
    train_programs: Annotated[int, Field(ge=2)] = 128
    checkpoints: Annotated[int, Field(ge=2)] = 4


class PromptTrace(AnalysisSettings):
    """One program, one read, one checkpoint, told step by step."""

    tables: ClassVar[tuple[str, ...]] = ("rows", "attention", "neurons", "lens", "paths")
    pages: ClassVar[tuple[str, ...]] = ("trace",)
    figures: ClassVar[tuple[str, ...]] = ("story",)
    kind: Literal["prompt_trace"]
    split: SplitName = "validation_iid"
    event: Annotated[int, Field(ge=0)] = 0
    checkpoint: Literal["final"] | Annotated[int, Field(ge=0)] = "final"
    top: Annotated[int, Field(ge=1)] = 5
