"""What looks at a replayed stretch of training.

An observer sees every step as it passes and ends with tidy tables. One replay feeds them all; none
keeps a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from circuit.attribution.growth import Growth
from circuit.attribution.sources import UpdateSource
from circuit.training.replay import ReplayedStep


class Observer(Protocol):
    """Sees the steps of a stretch in order; ``tables`` gives what it gathered.

    Before that it is shown the steps from ``since`` on, to ``remember`` them.
    """

    @property
    def since(self) -> int: ...

    def remember(self, step: ReplayedStep) -> None: ...

    def see(self, step: ReplayedStep) -> None: ...

    def tables(self) -> dict[str, pd.DataFrame]: ...


@dataclass
class AttributionObserver:
    """Attributes the growth of scalars over every replayed step."""

    growth: Growth
    source: UpdateSource
    since: int

    def remember(self, step: ReplayedStep) -> None:
        """A step before the stretch."""
        theta = step.before.theta
        pushed = self.source.by_gradient
        self.source.remember(step, self.growth.engine.start(theta).gradients if pushed else None)

    def see(self, step: ReplayedStep) -> None:
        """Attribute one step."""
        before, after = step.before.theta, step.after.theta
        updates = self.source.split(step, self.growth.engine.start(before).gradients)
        self.growth.attribute((step.step, step.step + 1), before, after, updates)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Those of :class:`circuit.attribution.growth.Growth`."""
        return self.growth.tables()
