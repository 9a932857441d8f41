"""What an update is split into: the optimizer's components, data groups, or nothing at all.

A *part* of an update has a component and, where data are told apart, a data group. The first
``summands`` parts of a source sum to the update; the others are comparators.
"""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.terms import CHECKPOINT_DIFFERENCE, COMPARATORS, COMPONENTS
from circuit.training.replay import ReplayedStep

Part = tuple[str, str]
"""Component and data group; the group is empty where a component is not split over data."""
WHOLE: tuple[Part, ...] = ((CHECKPOINT_DIFFERENCE, ""),)
"""The one part of an interval whose steps are not looked at."""


class UpdateSource(Protocol):
    """Splits the updates of consecutive steps.

    ``memory`` is how many steps before a stretch it is to be shown, to ``remember`` them;
    ``by_gradient`` says whether it then needs the scalars' gradients at the step's start.
    """

    @property
    def parts(self) -> tuple[Part, ...]: ...

    @property
    def summands(self) -> int: ...

    @property
    def memory(self) -> int: ...

    @property
    def by_gradient(self) -> bool: ...

    def remember(self, step: ReplayedStep, gradients: Float[Tensor, "S P"] | None) -> None: ...

    def split(
        self, step: ReplayedStep, gradients: Float[Tensor, "S P"]
    ) -> Float[Tensor, "C P"]: ...


class OptimizerStep:
    """A step by the optimizer's components, with raw and clipped SGD beside them."""

    parts: tuple[Part, ...] = tuple((name, "") for name in (*COMPONENTS, *COMPARATORS))
    summands = len(COMPONENTS)
    memory = 0
    by_gradient = False

    def remember(self, step: ReplayedStep, gradients: Float[Tensor, "S P"] | None) -> None:
        """Nothing: a step holds all that its split needs."""

    def split(self, step: ReplayedStep, gradients: Float[Tensor, "S P"]) -> Float[Tensor, "C P"]:
        """Components, then comparators, float64; the scalars' gradients play no part."""
        others = [step.comparators[name] for name in COMPARATORS]
        return torch.cat([step.components.stacked(), torch.stack(others)])
