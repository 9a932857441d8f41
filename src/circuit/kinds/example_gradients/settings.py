"""Settings of the kind ``example_gradients``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from circuit.config.analysis import AnalysisSettings
from circuit.config.base import Listed, Name, Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.marks import FinalOrStep, HeadScanName, Mark
from circuit.config.parameter_groups import check_names
from circuit.config.scalar import ScalarSettings


class Settings(AnalysisSettings):
    """Inner products of single reads' loss gradients, summarised by how the reads are related.

    ``reads`` reads of every split of ``splits``, each of another program, are drawn with ``seed``
    and looked at at every checkpoint of ``checkpoints``. ``groups`` restricts gradients to
    parameter groups of ``grouping`` (built in, or nested); none means all parameters. ``routes``
    are the two scalars whose supporters are told apart; they are measured on the probe events of
    ``route_split``, which is none of ``splits``. ``memory_mb`` bounds what is held of gradients at
    a time.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "reads_table", "conflicts")
    tensors: ClassVar[tuple[str, ...]] = ("products",)
    job_memory_mb: ClassVar[int] = 3000
    kind: Literal["example_gradients"]
    heads: HeadScanName
    checkpoints: Several[FinalOrStep] = ("final",)
    splits: Several[SplitName] = ("train", "heldout_pairs")
    reads: Annotated[int, Field(ge=8), Mark("programs", ("splits",))] = 256
    routes: Annotated[dict[Name, ScalarSettings], Field(min_length=2, max_length=2)]
    route_split: SplitName = "validation_iid"
    grouping: str = "module"
    groups: Listed[str] = ()
    memory_mb: Annotated[int, Field(ge=16, le=1_000_000)] = 512
    seed: Seed = 0

    @model_validator(mode="after")
    def _routes_are_measured_elsewhere(self) -> Settings:
        if self.route_split in self.splits:
            raise ValueError(
                f"route_split {self.route_split!r} is among splits, but routes are to be measured "
                "on other programs than the reads; take another split for the routes"
            )
        return self

    @model_validator(mode="after")
    def _grouping_exists(self) -> Settings:
        check_names((self.grouping,), ())
        return self
