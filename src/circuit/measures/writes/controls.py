"""What a functional write stands beside: another head, another event's gradient; and its roles."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.write import Write, stage_after
from circuit.task.events import ReadEvents


def foreign_gradient(
    write: Write, events: ReadEvents, other: Int[Tensor, " E"]
) -> Float[Tensor, "E T d"]:
    """Another event's gradient, the mean over its role's positions, at every position."""
    mask = events.role_mask(write.role)[..., None]
    mean = torch.where(mask, write.gradient, 0).sum(1) / mask.sum(1)
    return mean[other][:, None].expand_as(write.gradient)


def control_head(write: Write, bottom: str, decoder: Decoder) -> str | None:
    """The bottom head, unless it is the source itself or writes after the target."""
    order = stages(decoder.settings.n_layers)
    reached = order.index(stage_after(bottom, decoder.settings)) <= order.index(write.stage)
    return bottom if reached and bottom != write.source else None


def role_masks(events: ReadEvents, roles: Iterable[str]) -> dict[str, Bool[Tensor, "E T"]]:
    """The positions of roles that share out a program.

    Raises:
        AnalysisError: two roles share a position, or an event lacks one of them.
    """
    masks = {role: events.role_mask(role) for role in roles}
    for role, mask in masks.items():
        twins = [name for name, m in masks.items() if name != role and (m & mask).any()]
        if twins or not mask.any(-1).all():
            raise AnalysisError(
                what=f"role {role!r} shares positions with {twins[0]!r}"
                if twins
                else f"some events have no {role!r}",
                where="functional_write: roles",
                expected="roles that every event has, each position in at most one of them",
                do="take it away, or choose another role",
            )
    return masks
