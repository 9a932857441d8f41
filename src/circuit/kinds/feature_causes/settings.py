"""Settings of the kind ``feature_causes``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings
from circuit.config.attribution import RequestedOfFeatures
from circuit.config.base import Count


class Settings(RequestedOfFeatures, AnalysisSettings):
    """Growth of the pre-activations of a dictionary's features, attributed to update components.

    The ``top_groups`` largest parameter groups of every told feature have rows of their own. A
    feature is marked whose closure residual exceeds ``residual_bound`` of its total movement.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "features", "largest_groups")
    told: ClassVar[frozenset[str]] = frozenset({"residual_bound"})
    torch: ClassVar[bool] = False
    reads_dictionaries: ClassVar[bool] = True
    takes_every_feature: ClassVar[bool] = True
    job_memory_mb: ClassVar[int] = 1000
    job_minutes: ClassVar[int] = 10
    kind: Literal["feature_causes"]
    top_groups: Count = 8
    residual_bound: Annotated[float, Field(gt=0)] = 0.01

    @property
    def replays(self) -> bool:
        """Its scalars are attributed as training is replayed."""
        return True

    @classmethod
    def asked(cls) -> set[str]:
        """What is requested, and by which kind: what is only told later reruns no replay."""
        return {"kind", *RequestedOfFeatures.model_fields}
