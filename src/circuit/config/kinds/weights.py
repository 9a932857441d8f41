"""Kinds that ask when the weights, and what states hold of them, took their shape."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.base import Name
from circuit.config.benchmark import SplitName
from circuit.config.kinds.base import AnalysisSettings, RoleName


class WeightSvd(AnalysisSettings):
    """Singular values of every weight matrix at every checkpoint, and the patterns in them.

    ``top`` singular values make up the spectral mass and span the subspace whose rotation is
    followed. ``baseline_draws`` random matrices of each size say what no training would show.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "spectra", "patterns")
    figures: ClassVar[tuple[str, ...]] = ("effective_rank", "rotation", "spectrum", "births")
    kind: Literal["weight_svd"]
    births: Name
    top: Annotated[int, Field(ge=1)] = 4
    baseline_draws: Annotated[int, Field(ge=2)] = 20
    seed: Annotated[int, Field(ge=0)] = 0


class ContextualGeometry(AnalysisSettings):
    """How states fall into groups, and whether the weights' singular directions see the groups.

    ``groups`` are what states are grouped by. Subspaces are the top ``rank`` singular directions of
    the heads of ``selection``; controls are static token embeddings, shuffled labels and
    ``draws`` random subspaces of the same rank.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "alignment", "pairwise")
    figures: ClassVar[tuple[str, ...]] = (
        "separability",
        "alignment_curves",
        "group_distances",
        "axes",
    )
    kind: Literal["contextual_geometry"]
    selection: Name
    split: SplitName = "validation_iid"
    programs: Annotated[int, Field(ge=4)] = 256
    roles: tuple[RoleName, ...] = ("prediction", "support_value")
    groups: tuple[Literal["query_key", "answer"], ...] = ("query_key", "answer")
    rank: Annotated[int, Field(ge=1)] = 4
    draws: Annotated[int, Field(ge=2)] = 20
    seed: Annotated[int, Field(ge=0)] = 0
