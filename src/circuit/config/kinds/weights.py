"""Kinds that ask when the weights, and what states hold of them, took their shape."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.base import Name
from circuit.config.benchmark import SplitName
from circuit.config.kinds.base import AnalysisSettings

StateRole = Literal["prediction", "support_op", "support_key", "support_value"]
"""Roles that are one position of a read."""


class WeightSvd(AnalysisSettings):
    """Singular values of every weight matrix at every checkpoint, and the patterns in them.

    ``top`` singular values make up the spectral mass and span the subspace whose rotation is
    followed. ``baseline_draws`` random initialisations say what no training would show, ``shifts``
    random shifts how many matrices move together by chance.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "spectra", "patterns")
    figures: ClassVar[tuple[str, ...]] = ("effective_rank", "rotation", "spectrum", "births")
    kind: Literal["weight_svd"]
    births: Name
    top: Annotated[int, Field(ge=1)] = 4
    baseline_draws: Annotated[int, Field(ge=2)] = 20
    shifts: Annotated[int, Field(ge=20)] = 200
    seed: Annotated[int, Field(ge=0)] = 0


class ContextualGeometry(AnalysisSettings):
    """How states fall into groups, and whether the weights' singular directions see the groups.

    States are those at ``roles`` of the first ``programs`` programs of the split; ``groups`` are
    what they are grouped by. Subspaces are the top ``rank`` singular directions of the heads of
    ``selection``; controls are static token embeddings, and ``draws`` shuffles of the labels and
    random subspaces of the same rank. ``shrinkage`` is the share of the mean variance that the
    probe adds to the covariance within groups.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "alignment", "pairwise", "projections")
    figures: ClassVar[tuple[str, ...]] = (
        "separability",
        "alignment_curves",
        "group_distances",
        "axes",
    )
    kind: Literal["contextual_geometry"]
    heads: Name
    split: SplitName = "validation_iid"
    programs: Annotated[int, Field(ge=4)] = 256
    roles: Annotated[tuple[StateRole, ...], Field(min_length=1)] = ("prediction", "support_value")
    groups: Annotated[tuple[Literal["query_key", "answer"], ...], Field(min_length=1)] = (
        "query_key",
        "answer",
    )
    rank: Annotated[int, Field(ge=1)] = 4
    draws: Annotated[int, Field(ge=2)] = 20
    shrinkage: Annotated[float, Field(gt=0)] = 0.01
    seed: Annotated[int, Field(ge=0)] = 0
