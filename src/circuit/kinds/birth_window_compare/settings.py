"""Settings of the kind ``birth_window_compare``."""

from __future__ import annotations

from typing import ClassVar, Literal

from circuit.config.analysis import AnalysisSettings, CheckpointWindow, RoleName, Study
from circuit.config.base import Seed, Several
from circuit.config.benchmark import SplitName
from circuit.config.names import need

Grouping = Literal["layer", "module", "head", "head_projection"]


class Settings(AnalysisSettings):
    """What carries a window's change: activations and weights put from one end into the other.

    Both directions are measured: the target's part put into the source model (does it bring the
    behaviour?) and the source's into the target model (does its absence take it away?). ``roles``
    are the positions whose states are exchanged, ``groups`` the groupings whose weights are, and
    ``grouping`` the one of them that the answer and the figure speak of; ``seed`` draws the changes
    of the same size that weights are compared with.
    """

    tables: ClassVar[tuple[str, ...]] = ("rows", "events")
    told: ClassVar[frozenset[str]] = frozenset({"grouping"})
    job_memory_mb: ClassVar[int] = 2000
    kind: Literal["birth_window_compare"]
    window: CheckpointWindow
    split: SplitName = "validation_iid"
    roles: Several[RoleName] = ("prediction", "support_value", "causal_prefix")
    groups: Several[Grouping] = ("module", "head", "head_projection")
    grouping: Grouping = "head"
    seed: Seed = 0

    def check(self, study: Study, where: str) -> None:
        """What is told is measured."""
        need(self.grouping, self.groups, "grouping", f"{where}.grouping")
