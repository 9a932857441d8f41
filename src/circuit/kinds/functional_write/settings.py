"""Settings of the kind ``functional_write``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from circuit.config.analysis import AnalysisSettings, RoleName
from circuit.config.base import Name, Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import HeadScanName, Mark, Rank
from circuit.config.scalar import ScalarSettings


class Settings(AnalysisSettings):
    """What a component's write does to a later state, over training, and through which part.

    Every scalar of ``writes`` is a ``functional_write``: a source component, a target stage and a
    role, read by the checkpoint ``basis``. ``roles`` are the positions that its effect is split
    over, at the target and at the source; no two of them may share a position. ``rank`` is that of
    the write subspaces whose overlap with the mature one is followed. ``programs`` programs of the
    split tell the effect per answer value. ``seed`` draws the controls.
    """

    job_memory_mb: ClassVar[int] = 2000
    kind: Literal["functional_write"]
    heads: HeadScanName
    writes: Annotated[dict[Name, ScalarSettings], Field(min_length=1)]
    split: SplitName = "test_iid"
    roles: Several[RoleName] = ("prediction", "support_value")
    rank: Rank = 4
    programs: Annotated[int, Field(ge=2), Mark("programs", ("split",))] = 128
    seed: Seed = 0

    @field_validator("writes")
    @classmethod
    def _whole_writes(cls, writes: dict[str, ScalarSettings]) -> dict[str, ScalarSettings]:
        for name, scalar in writes.items():
            if scalar.scalar != "functional_write" or scalar.part != "whole":
                raise ValueError(
                    f"write {name!r} must be a functional_write without a part: this kind tells "
                    "the parts of every write by itself"
                )
        return writes
