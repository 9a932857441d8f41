"""Kinds that ask what a component writes, and which scalar of it is fit to be attributed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from circuit.config.base import Name
from circuit.config.benchmark import SplitName
from circuit.config.kinds.base import AnalysisSettings, RoleName
from circuit.config.kinds.scalar import ScalarSettings


class ScalarProgress(AnalysisSettings):
    """Every head × six scalars of its write, with attention and values as they are or not.

    Attention is real or forced onto the support value, values are real or those of other events, in
    ``shuffles`` shuffles drawn with ``seed``. ``competitor`` fixes the rivals of margins at the
    run's first or last checkpoint. A scalar is fit to be attributed if it is born, is smooth, sees
    both attention and the write's size, if the interval of its correlation with each outcome over
    checkpoints lies above ``follows``, if with other events' values it grows by at most
    ``shuffled`` of its growth or not beyond its interval, and if at most ``elsewhere`` of its
    growth is read at other positions.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "births", "correlations", "parts", "verdicts")
    figures: ClassVar[tuple[str, ...]] = ("progress", "progress_conditions", "fitness")
    kind: Literal["scalar_progress"]
    heads: Name
    split: SplitName = "test_iid"
    competitor: Literal["fixed_source", "fixed_target"] = "fixed_source"
    shuffles: Annotated[int, Field(ge=1)] = 8
    follows: Annotated[float, Field(ge=0, lt=1)] = 0.5
    shuffled: Annotated[float, Field(gt=0, lt=1)] = 0.2
    elsewhere: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0


class FunctionalWrite(AnalysisSettings):
    """What a component's write does to a later state, over training, and through which part.

    Every scalar of ``writes`` is a ``functional_write``: a source component, a target stage and a
    role, read by the checkpoint ``basis``. ``roles`` are the positions that its effect is split
    over, at the target and at the source; no two of them may share a position. ``rank`` is that of
    the write subspaces whose overlap with the mature one is followed. ``programs`` programs of the
    split tell the effect per answer value. ``seed`` draws the controls.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "positions", "subspaces", "values", "value_spread")
    figures: ClassVar[tuple[str, ...]] = (
        "write_effect",
        "write_positions",
        "write_subspace",
        "write_values",
    )
    kind: Literal["functional_write"]
    heads: Name
    writes: Annotated[dict[Name, ScalarSettings], Field(min_length=1)]
    split: SplitName = "test_iid"
    roles: Annotated[tuple[RoleName, ...], Field(min_length=1)] = ("prediction", "support_value")
    rank: Annotated[int, Field(ge=1)] = 4
    programs: Annotated[int, Field(ge=2)] = 128
    seed: Annotated[int, Field(ge=0)] = 0

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
