"""What a component's write does to a later state, in the units of an answer.

1. The *source* is a head or an MLP. Its write leaves the residual stream at every position (zero in
   its place), right after the layer's attention or MLP, and the model goes on from there to the
   *target* stage. What lies before the source is that of the clean pass.
2. δ is the target state of the clean pass minus that of the ablated one: what the state has through
   the write, everything between recomputed.
3. g is the gradient of an answer scalar at the target state in a fixed, mature reference
   checkpoint, a constant vector per event and position. S = g · δ: larger where the write helps the
   answer, as the mature model reads the state. Where a role is several positions, an event's value
   is the mean over them. The gradient is ``local``, that of the clean state, or ``integrated``, its
   mean over the line from the state without the write to the clean one (Sundararajan et al. 2017).
   With the second, g · δ of the reference checkpoint itself, summed over all positions, is exactly
   what the answer loses with that change; the first is blind to writes that are most of a state,
   since LayerNorm makes the answer constant along the state itself.
4. For a target after layer t's MLP, x_out = x_in + F(x_in) with F the MLP block (its LayerNorm in),
   so δ = δ_in + (F(x_in) - F(x_in ablated)) exactly: the *skip* part g · δ_in, with δ_in the change
   after layer t's attention, and the *MLP* part. A target after attention has no MLP part.

S is linear in δ, not in the write: it says what the write does, in the direction that the mature
model reads. What removing the component costs the answer itself is the ablation effect
(:class:`circuit.experiments.edits.Removed`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.config.scalar import ScalarSettings
from circuit.model.sites import canonical_site, parse_component, stages
from circuit.scalars.base import Measure, Scalar, Seen, answering, look_on, masked_mean, pick
from circuit.scalars.options import refusal, require_checkpoint, require_given, require_role
from circuit.task.events import POSITION_ROLES, ReadEvents

Baseline = Literal["zero", "mean"]
"""What stands in for a removed write."""


class Change(NamedTuple):
    """What a state has through a write, at S positions: ``whole`` = ``skip`` + ``mlp``."""

    whole: Float[Tensor, "E S d"]
    skip: Float[Tensor, "E S d"]
    mlp: Float[Tensor, "E S d"]


PARTS = Change._fields
_NODES = 24  # of the integrated gradient: answers bend where a state loses most of itself


@dataclass(frozen=True, eq=False)
class Write:
    """A source, the target state that its write is followed to, and what a change there is worth.

    ``gradient`` is that of the answer scalar ``outcome`` at every position of the target stage in
    the reference checkpoint, in the outcome's unit per state unit; a constant.
    """

    source: str
    stage: str
    role: str
    outcome: Scalar
    gradient: Float[Tensor, "E T d"]

    @property
    def unit(self) -> str:
        return self.outcome.unit


def component_write(
    seen: Seen, component: str, at: Int[Tensor, " E"] | None = None
) -> Float[Tensor, "E ... d"]:
    """What a component adds to the residual stream, its bias in for an MLP.

    ``seen`` is a pass with the layer's ``z`` or ``mlp_write``; ``at`` one position per event, or
    None for all positions, [E, T, d].
    """
    layer, head = parse_component(component, seen.decoder.settings)
    written = seen.sites[f"layer_{layer}_mlp_write" if head is None else f"layer_{layer}_z"]
    if at is not None:
        written = pick(written, at)
    if head is None:
        return written
    return written[..., head, :] @ seen.params[f"layer_{layer}.attn.W_O"][head]


def removed_write(
    seen: Seen,
    component: str,
    baseline: Baseline = "zero",
    positions: Bool[Tensor, "E T"] | None = None,
) -> Float[Tensor, "E T d"]:
    """What removing a component takes out of the residual stream.

    Baseline ``zero`` takes the write away, ``mean`` puts its mean over all positions of all events
    in its place; at every position, or just at ``positions``.
    """
    write = component_write(seen, component)
    if baseline == "mean":
        write = write - write[seen.events.causal_prefix].mean(0)
    return write if positions is None else torch.where(positions[..., None], write, 0)


def stage_after(component: str, settings: ModelSettings) -> str:
    """The stage of the residual stream at which a component's write is in it."""
    layer, head = parse_component(component, settings)
    return f"layer_{layer}_post_mlp" if head is None else f"layer_{layer}_post_attn"


def write_sites(source: str, stage: str, settings: ModelSettings) -> frozenset[str]:
    """What a clean pass must leave for :func:`change`."""
    layer, head = parse_component(source, settings)
    own, start = ("mlp_write" if head is None else "z"), stage_after(source, settings)
    found = {f"layer_{layer}_{own}"}
    return frozenset(found if stage == start else found | {start, *_target_sites(stage)})


def _target_sites(stage: str) -> tuple[str, ...]:
    """The target stage and, behind an MLP, what it is the sum of."""
    behind = re.match(r"(layer_\d+)_post_mlp$", stage)
    return (stage, f"{behind[1]}_post_attn", f"{behind[1]}_mlp_write") if behind else (stage,)


def change(
    seen: Seen,
    source: str,
    stage: str,
    at: Int[Tensor, " E"] | None = None,
    removed: Bool[Tensor, "E T"] | None = None,
) -> Change:
    """How the states at a stage change with a component's write; differentiable in θ.

    Args:
        seen: a clean pass with the sites of :func:`write_sites`.
        at: one position per event, the only one that is looked at (S = 1); None for all (S = T).
        removed: the positions whose writes are taken away; None for all.
    """
    start = stage_after(source, seen.decoder.settings)
    write = removed_write(seen, source, positions=removed)
    if stage == start:
        own = _narrow(write, at)
        none = torch.zeros_like(own)
        return Change(own, none, own) if stage.endswith("mlp") else Change(own, own, none)
    wanted = _target_sites(stage)
    without = look_on(seen, start, seen.sites[start] - write, frozenset(wanted), at)
    pairs = ((seen.sites[name], without[name]) for name in wanted)
    whole, *split = (_narrow(clean, at) - _narrow(ablated, at) for clean, ablated in pairs)
    return Change(whole, *split) if split else Change(whole, whole, torch.zeros_like(whole))


def _narrow(states: Float[Tensor, "E P d"], at: Int[Tensor, " E"] | None) -> Float[Tensor, "E S d"]:
    """States at the positions that are looked at; a last layer's may have only these already."""
    return states if at is None or states.shape[1] == 1 else pick(states, at)[:, None]


def reference_gradient(
    seen: Seen, source: str, stage: str, outcome: Scalar, integrated: bool
) -> Float[Tensor, "E T d"]:
    """Gradient of an answer scalar at every position of a stage, per event; a constant.

    Args:
        seen: a pass of the reference checkpoint with the stage; to integrate, with the sites of
            :func:`write_sites` too.
        outcome: a scalar that reads ``final_norm`` at the prediction position only.
        integrated: the mean over the line from the states without the source's write to the clean
            ones, by Gauss-Legendre quadrature, instead of the gradient at the clean ones.
    """
    clean = seen.sites[stage]
    with torch.no_grad():
        through = change(seen, source, stage).whole if integrated else torch.zeros_like(clean)
    places, weights = np.polynomial.legendre.leggauss(_NODES if integrated else 1)
    total = torch.zeros_like(clean)
    for missing, weight in zip((1 - places) / 2, weights / 2, strict=True):
        with torch.enable_grad():
            state = (clean - missing * through).requires_grad_()
            left = look_on(seen, stage, state, frozenset({"final_norm"}), seen.events.prediction)
            # Events do not see each other: the gradient of the sum is that of each one's value.
            value = outcome(answering(seen, final_norm=left["final_norm"][:, 0])).sum()
            total += weight * torch.autograd.grad(value, state)[0]
    return total


def role_position(events: ReadEvents, role: str) -> Int[Tensor, " E"] | None:
    """The one position of a role, or None where a role is several positions."""
    return events.role_position(role) if role in POSITION_ROLES else None


def at_role(
    gradient: Float[Tensor, "E T d"], found: Float[Tensor, "E S d"], events: ReadEvents, role: str
) -> Float[Tensor, " E"]:
    """g · δ at a role, the mean over its positions; of one position, δ may be given there only."""
    at = role_position(events, role)
    products = (_narrow(gradient, at).to(found) * _narrow(found, at)).sum(-1)
    return masked_mean(products, events.role_mask(role)) if at is None else products[:, 0]


def functional_write(write: Write, settings: ModelSettings, part: str = "whole") -> Measure:
    """g · δ of a write, or its part through the skip connection or through the target's MLP.

    Larger = the write helps the answer more; in the unit of the answer scalar.
    """

    def value(seen: Seen) -> Float[Tensor, " E"]:
        at = role_position(seen.events, write.role)
        found = getattr(change(seen, write.source, write.stage, at), part)
        return at_role(write.gradient, found, seen.events, write.role)

    return Measure(write.unit, write_sites(write.source, write.stage, settings), value)


def rescue(source: str, stage: str, outcome: Scalar, role: str, settings: ModelSettings) -> Measure:
    """What an answer gains as the clean state of a role is put back, the source's write gone.

    S(repaired) − S(damaged), each pass going on from the stage; > 0 where the state brings back
    what the answer lacks without the write. In the unit of the answer scalar.
    """

    def value(seen: Seen) -> Float[Tensor, " E"]:
        lost = change(seen, source, stage).whole
        damaged = seen.sites[stage] - lost
        back = torch.where(seen.events.role_mask(role)[..., None], lost, 0)

        def answer(state: Float[Tensor, "E T d"]) -> Float[Tensor, " E"]:
            left = look_on(seen, stage, state, frozenset({"final_norm"}), seen.events.prediction)
            return outcome(answering(seen, final_norm=left["final_norm"][:, 0]))

        return answer(damaged + back) - answer(damaged)

    return Measure(outcome.unit, write_sites(source, stage, settings) | {stage}, value)


def require_write(
    settings: ScalarSettings, source: str, shape: ModelSettings, events: ReadEvents
) -> str:
    """The target stage that settings mean, once they say where the write is followed to.

    Raises:
        AnalysisError: a choice is missing or has no meaning, or an event lacks the role.
    """
    name = settings.scalar
    require_given(settings, "stage", "role")
    stage, start = canonical_site(str(settings.stage), shape.n_layers), stage_after(source, shape)
    order = stages(shape.n_layers)[:-1]
    behind = order[order.index(start) :]
    if stage not in behind:
        raise refusal(
            name,
            f"cannot follow the write of {source} to {stage}",
            f"a stage that it reaches: {', '.join(behind)}",
            "choose another stage or source",
        )
    if settings.part != "whole" and (stage == start or stage.endswith("attn")):
        raise refusal(
            name,
            f"has no parts at {stage} of a write of {source}",
            "a stage after the MLP of a layer, which the write itself is not",
            "leave part out, or choose another stage",
        )
    if settings.outcome == "answer_margin" and settings.competitor == "moving":
        raise refusal(
            name,
            "cannot have a competitor that moves: what is compared has one and the same",
            "competitor: fixed_target or fixed_source",
            "fix the competitor, or choose another outcome",
        )
    require_checkpoint(settings, "gradient")
    require_role(name, str(settings.role), events)
    return stage
