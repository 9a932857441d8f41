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
    records: ClassVar[tuple[str, ...]] = ("heads",)
    figures: ClassVar[tuple[str, ...]] = ("separation", "head_map")
    kind: Literal["head_scan"]
    split: SplitName = "validation_iid"
    rank: Annotated[int, Field(ge=1)] = 4
    criterion: Literal["qk_separation", "qk_separation_rank"] = "qk_separation"
    window: Window | None = None


class AttentionGeometry(AnalysisSettings):
    """Every head at every checkpoint: where it looks, what it reads there, what that is worth.

    The retrieval chain is score → attention mass → OV value margin → direct logit. ``head`` is the
    one whose patterns are pictured and whose chain is told, beside the other heads of the
    selection, so the split should not be the one that chose them. ``directions`` is the number of
    top singular directions of W_QK and W_OV, at the first and the last checkpoint, of which
    ``tokens`` tokens are named on each side.
    """

    tables: ClassVar[tuple[str, ...]] = (
        "rows",
        "maps",
        "moves",
        "directions_table",
        "patterns_table",
    )
    figures: ClassVar[tuple[str, ...]] = (
        "patterns",
        "roles",
        "chain",
        "maps_by_role",
        "directions",
    )
    kind: Literal["attention_geometry"]
    heads: Name
    split: SplitName = "test_iid"
    head: str = "winner"
    pictures: Annotated[int, Field(ge=1, le=12)] = 4
    directions: Annotated[int, Field(ge=1)] = 3
    tokens: Annotated[int, Field(ge=1)] = 5


class PathLogits(AnalysisSettings):
    """The correct logit and its margins as sums over paths, at every checkpoint.

    Direct paths at every checkpoint; paths through one module more, and ablations, at
    ``second_order`` (checkpoint steps, or ``final``), of which the last is told. The ``top``
    components by direct attribution are compared with what their ablation does; ``ablation`` is
    what a component's write is replaced by.
    """

    tables: ClassVar[tuple[str, ...]] = (
        "rows",
        "second_order_table",
        "readout",
        "ablations",
        "identities",
    )
    figures: ClassVar[tuple[str, ...]] = (
        "trajectories",
        "second_order",
        "stages",
        "direct_and_ablated",
    )
    kind: Literal["path_logits"]
    split: SplitName = "validation_iid"
    second_order: Annotated[
        tuple[Literal["final"] | Annotated[int, Field(ge=0)], ...], Field(min_length=1)
    ] = ("final",)
    top: Annotated[int, Field(ge=2)] = 6
    ablation: Literal["zero", "mean"] = "mean"


class RouteCompetition(AnalysisSettings):
    """Candidate routes in one frame: strength, change, and whether training pushes them.

    A route is a scalar; ``head: every`` stands for one route per head. ``train_programs`` programs
    of the training split and as many of ``split``, cut into ``chunks`` for intervals, give the
    loss' descent directions at ``checkpoints`` checkpoints spread over the window. ``seed`` draws
    the order in which the control exchanges answers.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "ranking")
    figures: ClassVar[tuple[str, ...]] = ("ranked", "alignment")
    kind: Literal["route_competition"]
    window: CheckpointWindow
    routes: dict[Name, ScalarSettings]
    split: SplitName = "validation_iid"
    train_programs: Annotated[int, Field(ge=2)] = 128
    chunks: Annotated[int, Field(ge=2)] = 8
    checkpoints: Annotated[int, Field(ge=2)] = 4
    seed: Annotated[int, Field(ge=0)] = 0


class PromptTrace(AnalysisSettings):
    """One program, one read, one checkpoint, told step by step.

    ``event`` is the number of one of the split's probe events. ``top`` neurons per MLP and position
    are kept, ``top`` tokens of each logit lens, and ``top`` paths are told.
    """

    tables: ClassVar[tuple[str, ...]] = (
        "rows",
        "attention",
        "writes",
        "neurons",
        "lens",
        "paths",
        "matching",
    )
    pages: ClassVar[tuple[str, ...]] = ("trace",)
    figures: ClassVar[tuple[str, ...]] = ("story",)
    kind: Literal["prompt_trace"]
    split: SplitName = "validation_iid"
    event: Annotated[int, Field(ge=0)] = 0
    checkpoint: Literal["final"] | Annotated[int, Field(ge=0)] = "final"
    top: Annotated[int, Field(ge=1)] = 5
