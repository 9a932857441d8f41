"""Settings of the kind ``value_code``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AtCheckpoints, StateRole, Study
from circuit.config.base import Count, Several
from circuit.config.marks import FinalOrStep, Mark, StreamStage
from circuit.config.names import need


class Settings(AtCheckpoints):
    """What states tell of the value to be answered, at stages × roles × checkpoints.

    Codes are read at ``checkpoints``; at the steps ``removed_at`` and the stages ``removed`` the
    top ``ranks`` of their directions are removed and kept, and ``rank`` of them are told. The
    last reads of ``programs`` programs of the split are looked at, one half of which fits the
    directions. Labels are permuted in ``draws`` draws.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "ranks")
    told: ClassVar[frozenset[str]] = frozenset({"rank"})
    subspace: ClassVar[str] = "value_code"
    kind: Literal["value_code"]
    stages: Literal["all"] | Several[StreamStage] = "all"
    roles: Several[StateRole] = ("prediction", "support_value")
    removed: Literal["all"] | Several[StreamStage] = "all"
    removed_at: Several[FinalOrStep] = ("final",)
    ranks: Several[Annotated[Count, Mark("subspace_rank")]] = (1, 2, 4, 8, 12, 16)
    rank: Count = 8
    programs: Annotated[int, Field(ge=32), Mark("programs", ("split",))] = 512
    draws: Annotated[int, Field(ge=20, le=1000)] = 40

    def check(self, study: Study, where: str) -> None:
        """What is told is measured, and codes are removed where they are read."""
        need(str(self.rank), map(str, self.ranks), "rank", f"{where}.rank")
        for step in self.removed_at:
            need(str(step), map(str, self.checkpoints), "checkpoint", f"{where}.removed_at")
