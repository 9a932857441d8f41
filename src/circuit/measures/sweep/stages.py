"""The residual stream at every stage: what it would answer already, and how far it has moved.

1. *Logit lens* (nostalgebraist 2020): the state at ``prediction`` goes through the final LayerNorm
   and is unembedded. Its margin is the right value's logit minus the best other value's; its
   accuracy is the share of events where that is positive. ``final_norm`` is LayerNorm'd already:
   there the lens is the model's own answer, as it is after the last layer.
2. *Drift*: how far an event's state x lies from the same event's state x′ at another checkpoint,
   relative to that one's size, ‖x − x′‖ / ‖x′‖. Zero means unmoved; two random states of one size
   are √2 apart. Unlike a cosine it also sees growth.

Roles are ``prediction`` and ``support_value``; ``query_key`` is the position of ``prediction``.
Nothing here averages: a function returns one value per event, by (stage, role, target, measure).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from circuit.model.sites import stages
from circuit.scalars.base import Seen, margin, pick
from circuit.scalars.value import right_value, value_logits

ROLES = ("prediction", "support_value")

Columns = dict[tuple[str, ...], Float[Tensor, " E"]]
"""One value per event, by what names a row."""
StageStates = Float[Tensor, "S R E d"]
"""States of E events at every stage and each of ``ROLES``."""


def stage_states(seen: Seen) -> StageStates:
    """States at the roles' positions.

    Args:
        seen: a pass with every stage but ``final_norm``, which is worked out here: at two positions
            instead of all.
    """
    names = stages(seen.decoder.settings.n_layers)[:-1]
    where = [seen.events.role_position(role) for role in ROLES]
    inner = [torch.stack([pick(seen.sites[name], at) for at in where]) for name in names]
    return torch.stack([*inner, seen.decoder.final_norm(seen.params, inner[-1])])


def lens(seen: Seen, states: StageStates) -> Columns:
    """Lens accuracy and margin (logit) at ``prediction``, for every stage."""
    names = stages(seen.decoder.settings.n_layers)
    at = states[:, ROLES.index("prediction")]
    read = torch.cat([seen.decoder.final_norm(seen.params, at[:-1]), at[-1:]])
    right = right_value(seen)
    found: Columns = {}
    for name, logits in zip(names, value_logits(seen, read), strict=True):
        values = margin(logits, right, None)
        found[name, "prediction", "", "lens_accuracy"] = (values > 0).to(values.dtype)
        found[name, "prediction", "", "lens_margin"] = values
    return found


def drift(seen: Seen, states: StageStates, others: StageStates, measure: str) -> Columns:
    """Relative distance of every state to the same event's state elsewhere, as ``measure``."""
    names = stages(seen.decoder.settings.n_layers)
    moved = (states - others).norm(dim=-1) / others.norm(dim=-1)
    return {
        (name, role, "", measure): moved[i, j]
        for i, name in enumerate(names)
        for j, role in enumerate(ROLES)
    }
