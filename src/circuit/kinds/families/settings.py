"""Settings of the kind ``families``."""

from __future__ import annotations

from string import ascii_lowercase
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AnalysisSettings, StateRole, Study
from circuit.config.base import Name, Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import FinalOrStep, Mark, Ref, Step
from circuit.errors import ConfigError

_Share = Annotated[float, Field(gt=0, lt=1)]


class Settings(AnalysisSettings):
    """Families of the features of a dictionary, and what they do to the answer.

    ``dictionaries`` are analyses of kind ``dictionary`` at one stage that differ in their seed: the
    first is told, the others say which of its families are found again. At each of ``roles`` the
    ``candidates`` largest features that fire on a share of at least ``least_rate`` of ``programs``
    programs, at the last of ``checkpoints``, are grouped: over ``bootstraps`` resamples features
    are together as long as they agree by ``agreement``, and a family is together in a share of
    ``consensus`` of them. The ``families`` that cost the answer most are told, on programs that
    did not choose them. They are called ``a@prediction``, ``b@prediction``, …, by which a
    ``feature_score`` of this analysis may name them.

    A family's part of the last state is put into the one ``earlier``, and that of a ``pair``'s
    other program into the last. Controls are ``draws`` sets of other features of the same rate.
    Labels are of ``groups``. ``seed`` is of resamples, draws and shuffles.
    """

    records: ClassVar[tuple[str, ...]] = ("cfg",)
    tensors: ClassVar[tuple[str, ...]] = ("sae_weights",)
    job_memory_mb: ClassVar[int] = 2500
    kind: Literal["families"]
    dictionaries: Several[Annotated[Name, Ref("dictionary")]]
    roles: Several[StateRole] = ("prediction", "support_value")
    checkpoints: Literal["all"] | Several[FinalOrStep] = "all"
    earlier: Step
    pair: Literal["support_value", "query_key"] = "support_value"
    split: SplitName = "validation_iid"
    programs: Annotated[int, Field(ge=16), Mark("programs", ("split",))] = 256
    candidates: Annotated[int, Field(ge=2, le=500)] = 32
    least_rate: _Share = 0.01
    bootstraps: Annotated[int, Field(ge=10, le=1000)] = 50
    agreement: _Share = 0.2
    consensus: _Share = 0.5
    families: Annotated[int, Field(ge=1, le=8)] = 2
    groups: Several[Literal["query_key", "answer"]] = ("query_key", "answer")
    draws: Annotated[int, Field(ge=10, le=1000)] = 20
    seed: Seed = 0

    def check(self, study: Study, where: str) -> None:
        """Dictionaries of one stage, and a checkpoint to compare with that is looked at."""
        first, *others = (study.analyses[name] for name in self.dictionaries)
        for name, other in zip(self.dictionaries[1:], others, strict=True):
            if (other.stage, other.size) != (first.stage, first.size):
                raise ConfigError(
                    what=f"analysis {name!r} has {other.size} features of states at {other.stage}, "
                    f"{self.dictionaries[0]!r} {first.size} of states at {first.stage}",
                    where=f"{where}.dictionaries",
                    expected="dictionaries of one stage and size that differ in their seed",
                    do="name others, or give each an analysis of kind families",
                )
        asked = self.checkpoints
        if asked != "all" and (
            self.earlier not in asked or not any(at == "final" or at > self.earlier for at in asked)
        ):
            raise ConfigError(
                what=f"earlier {self.earlier} is none of checkpoints, or their last",
                where=f"{where}.earlier",
                expected="one of checkpoints with another one after it",
                do="add checkpoints, or name another step",
            )

    @property
    def family_names(self) -> tuple[str, ...]:
        """The families that it tells at most, the one that costs most first."""
        letters = ascii_lowercase[: self.families]
        return tuple(f"{letter}@{role}" for role in self.roles for letter in letters)
