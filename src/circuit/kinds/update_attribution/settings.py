"""Settings of the kind ``update_attribution``."""

from __future__ import annotations

from typing import ClassVar, Literal

from circuit.config.attribution import Attribution


class Settings(Attribution):
    """Growth of scalars attributed to update components and parameter groups.

    ``update`` is what the intervals of the window are: optimizer steps, which are replayed and
    split into their components, or the differences of consecutive checkpoints, which are one part
    each and need no replay, but a path rule with many nodes.
    """

    torch: ClassVar[bool] = False
    job_memory_mb: ClassVar[int] = 4000
    job_minutes: ClassVar[int] = 10
    kind: Literal["update_attribution"]
    update: Literal["optimizer_step", "checkpoint_difference"] = "optimizer_step"

    @property
    def replays(self) -> bool:
        """Differences of checkpoints need no replay."""
        return self.update == "optimizer_step"
