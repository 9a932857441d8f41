"""Settings of the kind ``contextual_geometry``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings, StateRole
from circuit.config.base import Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import HeadScanName, Mark, Rank


class Settings(AnalysisSettings):
    """How states fall into groups, and whether the weights' singular directions see the groups.

    States are those at ``roles`` of the first ``programs`` programs of the split; ``groups`` are
    what they are grouped by. Subspaces are the top ``rank`` singular directions of the heads of
    ``selection``; controls are static token embeddings, and ``draws`` shuffles of the labels and
    random subspaces of the same rank. ``shrinkage`` is the share of the mean variance that the
    probe adds to the covariance within groups.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "pairwise", "projections")
    job_memory_mb: ClassVar[int] = 2000
    kind: Literal["contextual_geometry"]
    heads: HeadScanName
    split: SplitName = "validation_iid"
    programs: Annotated[int, Field(ge=4), Mark("programs", ("split",))] = 256
    roles: Several[StateRole] = ("prediction", "support_value")
    groups: Several[Literal["query_key", "answer"]] = (
        "query_key",
        "answer",
    )
    rank: Rank = 4
    draws: Annotated[int, Field(ge=2, le=10_000)] = 20
    shrinkage: Annotated[float, Field(gt=0)] = 0.01
    seed: Seed = 0
