"""Settings of the kind ``value_transfer``."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from circuit.config.analysis import AtCheckpoints, Study
from circuit.config.base import Count, Several
from circuit.config.marks import Mark, StreamStage
from circuit.config.names import need
from circuit.errors import ConfigError
from circuit.model.sites import stages

Outcome = Literal[
    "answer_margin", "soft_margin", "correct_value_logit", "negative_answer_loss", "correct"
]


class Settings(AtCheckpoints):
    """Ridge maps from the value's code where it is written to where it is answered.

    They go from the stage ``source`` at ``support_value`` to the later stage ``target`` at
    ``prediction``, between codes of ``rank`` directions. ``outcomes`` are what is rescued, and
    ``outcome`` is the one that is told. The last reads of ``programs`` programs of the split are
    looked at, one half of which fits. Drawn nulls have ``draws`` draws.
    """

    subspace: ClassVar[str] = "value_code"
    kind: Literal["value_transfer"]
    source: StreamStage
    target: StreamStage
    rank: Annotated[Count, Mark("subspace_rank")] = 8
    outcomes: Several[Outcome] = ("answer_margin", "soft_margin", "correct")
    outcome: Outcome = "soft_margin"
    programs: Annotated[int, Field(ge=32), Mark("programs", ("split",))] = 512
    draws: Annotated[int, Field(ge=20, le=1000)] = 50

    def check(self, study: Study, where: str) -> None:
        """The map leads forward, and what is told is measured."""
        need(self.outcome, self.outcomes, "outcome", f"{where}.outcome")
        layers = map(int, re.findall(r"layer_(\d+)", self.source + self.target))
        order = stages(1 + max(layers, default=0))
        if order.index(self.source) >= order.index(self.target):
            raise ConfigError(
                f"target {self.target!r} is not after source {self.source!r}",
                where=f"{where}.target",
                expected="a later stage than the source's",
                do="exchange them, or name a later target",
            )
