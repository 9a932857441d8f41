"""Settings of the kind ``feature_births``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings, StateRole
from circuit.config.base import Count, Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import FinalOrStep, Mark, Stage


class Settings(AnalysisSettings):
    """A temporal crosscoder of the states at a stage, and the births of its features.

    It has ``size`` features, ``active`` of which fire on an input on average, and is fitted to the
    states of the ``checkpoints`` at all positions of ``programs`` programs, or at one ``role`` of
    their reads: programs with even numbers fit, those with odd ones score. ``steps``,
    ``batch_size`` and ``learning_rate`` are those of a fit; there are ``fits`` of them, by as many
    seeds. ``untrained`` has the null of models that were never trained, which is one fit more.

    Labels are shuffled ``draws`` times; the ``family`` features that tell most about each of
    ``groups`` at each of ``roles`` are a family by which a ``feature_score`` may name them. A
    feature counts for a family where it fires on a share of at least ``least_rate`` of the states.
    Curves are drawn of the ``shown`` features that are told best.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "features", "curves", "contexts")
    tensors: ClassVar[tuple[str, ...]] = ("crosscoder", "sae_weights")
    records: ClassVar[tuple[str, ...]] = ("about", "cfg")
    job_memory_mb: ClassVar[int] = 3000
    job_minutes: ClassVar[int] = 120
    kind: Literal["feature_births"]
    stage: Stage
    role: Literal["everywhere"] | StateRole = "everywhere"
    checkpoints: Literal["all"] | Annotated[Several[FinalOrStep], Field(min_length=2)] = "all"
    split: SplitName = "train"
    programs: Annotated[int, Field(ge=8), Mark("programs", ("split",))] = 512
    size: Annotated[int, Field(ge=2, le=65_536)] = 256
    active: Annotated[float, Field(gt=0, le=1000), Mark("within", "size")] = 16.0
    steps: Count = 4000
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 512
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    fits: Annotated[int, Field(ge=1, le=100)] = 1
    untrained: bool = True
    least_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    roles: Several[StateRole] = ("prediction", "support_value")
    groups: Several[Literal["query_key", "answer"]] = ("query_key", "answer")
    family: Annotated[int, Field(ge=1), Mark("within", "size")] = 4
    draws: Annotated[int, Field(ge=2, le=10_000)] = 20
    shown: Annotated[int, Field(ge=1, le=20)] = 8
    seed: Seed = 0

    @property
    def family_names(self) -> tuple[str, ...]:
        """The families that it finds: what they tell, and where."""
        return tuple(f"{group}@{role}" for role in self.roles for group in self.groups)
