"""Settings of the kind ``weight_svd``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Name, Seed
from circuit.config.marks import Rank, Ref


class Settings(AnalysisSettings):
    """Singular values of every weight matrix at every checkpoint, and the patterns in them.

    ``top`` singular values make up the spectral mass and span the subspace whose rotation is
    followed. ``baseline_draws`` random initialisations say what no training would show, ``shifts``
    random shifts how many matrices move together by chance.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "spectra", "patterns")
    job_memory_mb: ClassVar[int] = 2000
    kind: Literal["weight_svd"]
    births: Annotated[Name, Ref("birth_windows")]
    top: Rank = 4
    baseline_draws: Annotated[int, Field(ge=2, le=10_000)] = 20
    shifts: Annotated[int, Field(ge=20, le=10_000)] = 200
    seed: Seed = 0
