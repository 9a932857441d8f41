"""Settings of the kind ``embedding_alignment``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Seed
from circuit.config.marks import HeadScanName, Rank


class Settings(AnalysisSettings):
    """How far heads' top ``rank`` singular directions lie in the identities of embeddings.

    An identity is the fewest directions that hold the share ``variance`` of what tells keys, or
    values, apart. ``draws`` of random directions of the same rank are the control.
    """

    job_memory_mb: ClassVar[int] = 2000
    job_minutes: ClassVar[int] = 30
    kind: Literal["embedding_alignment"]
    heads: HeadScanName
    rank: Rank = 4
    variance: Annotated[float, Field(gt=0, le=1)] = 0.9
    draws: Annotated[int, Field(ge=20, le=10_000)] = 200
    seed: Seed = 0
