"""Settings of the kind ``dictionary``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings, StateRole, Study
from circuit.config.base import Count, Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import Mark, Stage, Step
from circuit.errors import ConfigError


class Settings(AnalysisSettings):
    """One dictionary of features for the states of all checkpoints at a stage.

    A sparse autoencoder with ``size`` features, fitted to the states at all positions of
    ``programs`` programs, at all checkpoints from ``first`` on: programs with even numbers fit,
    those with odd ones score. Its ``architecture`` says which features are active: with relu
    ``sparsity`` weighs the sum of activations against the squared error; with all others ``k``
    features are active (on average; of every state with topk), which with jumprelu is what
    ``sparsity`` weighs. ``steps``, ``batch_size`` and ``learning_rate`` are those of its fit. Of
    ``seeds`` dictionaries the first is the one that is described, the others are matched with it.
    A feature counts as active at a checkpoint where it fires on a share of at least ``least_rate``
    of the states.

    The ``family`` features that tell most about each of ``groups`` at each of ``roles`` are a
    family, such as ``answer@prediction``, by which a ``feature_score`` may name them. ``draws``
    shuffles of the labels are the control.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "features")
    records: ClassVar[tuple[str, ...]] = ("cfg",)
    tensors: ClassVar[tuple[str, ...]] = ("sae_weights",)
    job_memory_mb: ClassVar[int] = 2000
    kind: Literal["dictionary"]
    stage: Stage
    split: SplitName = "train"
    programs: Annotated[int, Field(ge=4), Mark("programs", ("split",))] = 256
    first: Step = 0
    architecture: Literal["relu", "topk", "batchtopk", "jumprelu", "matryoshka"] = "relu"
    size: Annotated[int, Field(ge=2, le=65_536), Mark("supported")] = 256
    sparsity: Annotated[float, Field(ge=0)] = 0.1
    k: Annotated[int, Field(ge=1, le=65_536)] = 16
    steps: Count = 3000
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 256
    learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    seeds: Annotated[int, Field(ge=1, le=100)] = 4
    least_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    roles: Several[StateRole] = ("prediction", "support_value")
    groups: Several[Literal["query_key", "answer"]] = (
        "query_key",
        "answer",
    )
    family: Annotated[int, Field(ge=1), Mark("within", "size")] = 4
    draws: Annotated[int, Field(ge=2, le=10_000)] = 20
    seed: Seed = 0

    def check(self, study: Study, where: str) -> None:
        """No more features can be active than there are."""
        if self.architecture != "relu" and self.k > self.size:
            raise ConfigError(
                what=f"k {self.k} is more than size {self.size}",
                where=f"{where}.k",
                expected=f"at most {self.size}",
                do="lower k, or raise size",
            )

    @property
    def family_names(self) -> tuple[str, ...]:
        """The families that it finds: what they tell, and where."""
        return tuple(f"{group}@{role}" for role in self.roles for group in self.groups)
