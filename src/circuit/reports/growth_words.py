"""How attributions of growth name their parts, and what they must say of a residual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from circuit.attribution.window import WindowSum

SUMMANDS = {
    "current_gradient": "the current gradient",
    "momentum": "momentum",
    "weight_decay": "weight decay",
    "rounding": "rounding",
    "checkpoint_difference": "the difference of checkpoints",
    "basis_motion": "motion of the basis",
    "rank_cut_jump": "jumps at the rank cut",
    "branch_switch": "switches of the rival",
}
"""Everything that may sum to growth but the residual, as people call it."""


def named(scalar: str, heads: Mapping[str, str]) -> str:
    """A scalar with its head, if it has one."""
    return f"{scalar} ({heads[scalar]})" if scalar in heads else scalar


def residual_marks(sums: Sequence[WindowSum], bound: float) -> list[str]:
    """What to say of windows whose residual exceeds the bound."""
    return [
        f"{s.scalar}: the closure residual is {s.relative_residual:.2%} of the total absolute "
        f"movement, above the bound of {bound:.2%}."
        for s in sums
        if s.relative_residual > bound
    ]
