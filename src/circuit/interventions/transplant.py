"""Putting a part of one checkpoint into another, and what the model answers then.

Two checkpoints are seen on the same events (:func:`checkpoint_pass`). One *receives* a part of the
other, the *donor*:

1. Activations: at one stage, the receiver's stream takes the donor's state at a role's positions,
   and the receiver goes on from there (cross-model activation patching, Prakash et al. 2024).
2. Weights: the receiver's flat vector takes the donor's entries of one parameter group. Where the
   group lies in a layer, the receiver's own stream before that layer is unchanged, and the pass
   goes on from there; only the embeddings need a whole pass.

Both are exact: they give what a tap that edits the stage, or a model with the mixed vector, gives.

Two controls say what a part carries that is only *like* the donor's:

- *other events* (:func:`of_other_events`): the donor's states at the same role of another event;
- *shuffled changes* (:func:`shuffled_change`): every atom (one head's projection, a neuron, a
  token) changes by as much as between the checkpoints, but in a direction drawn at random.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.model.layout import Layout
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look
from circuit.scalars.behaviour import answer_logits
from circuit.task.events import ReadEvents


def checkpoint_pass(
    decoder: Decoder, theta: Float[Tensor, " P"], events: ReadEvents, value_ids: range
) -> Seen:
    """One pass over the events that leaves the stream at every stage."""
    sites = frozenset(stages(decoder.settings.n_layers))
    with torch.no_grad():
        return look(decoder, theta.detach(), events, value_ids, sites)


def logits_with_states(
    receiver: Seen, stage: str, states: Sequence[Float[Tensor, "E T d"]], roles: Sequence[str]
) -> Float[Tensor, "R E V"]:
    """Answer logits of the receiver with other states at a stage, at one role after another.

    Args:
        receiver: a :func:`checkpoint_pass`.
        stage: a stage of the residual stream.
        states: for each role, what to put in at its positions; elsewhere the receiver's own stay.
    """
    events, own = receiver.events, receiver.sites[stage]
    mixed = torch.stack(
        [
            torch.where(events.role_mask(role)[..., None], state.to(own), own)
            for role, state in zip(roles, states, strict=True)
        ]
    )
    with torch.no_grad():
        return _answers(receiver, stage, mixed)


def of_other_events(
    states: Float[Tensor, "E T d"], events: ReadEvents, role: str
) -> Float[Tensor, "E T d"]:
    """States that hold, at a role's positions, the states of the same role in the next event.

    The role's last position takes the other event's last, the one before it the one before, and so
    on; where the other event has fewer, its positions are gone through again. Where it has none at
    all, and at positions outside the role, any of its states may stand.
    """
    mask = events.role_mask(role)
    other = torch.arange(len(events)).roll(-1)
    ordered = (mask * torch.arange(1, mask.shape[1] + 1)).argsort(1, descending=True)
    from_last = mask.flip(1).cumsum(1).flip(1) - 1
    place = from_last.clamp(min=0) % mask.sum(1)[other, None].clamp(min=1)
    return states[other[:, None], ordered[other].gather(1, place)]


class WeightPart(NamedTuple):
    """A parameter group: its atoms [A] in the layout's order, and the last stage before it.

    ``stage`` is None where the group changes the embedding itself.
    """

    grouping: str
    group: str
    atoms: Bool[np.ndarray, " A"]
    stage: str | None


def weight_parts(layout: Layout, groupings: Iterable[str]) -> list[WeightPart]:
    """Every group of every grouping, the groups in the order of their first atom."""
    parts = []
    order = [None, *stages(layout.settings.n_layers)]
    before = layout.atoms["parameter"].map(lambda name: order.index(_stage_before(name, layout)))
    for grouping in groupings:
        labels = layout.groups(grouping)
        for group in dict.fromkeys(labels):
            atoms = (labels == group).to_numpy()
            stage = order[int(before[atoms].min())]
            parts.append(WeightPart(grouping, str(group), atoms, stage))
    return parts


def with_part(
    layout: Layout,
    receiver: Float[Tensor, " P"],
    donor: Float[Tensor, " P"],
    atoms: Bool[np.ndarray, " A"],
) -> Float[Tensor, " P"]:
    """The receiver's vector with the donor's entries in some atoms."""
    inside = torch.from_numpy(atoms.copy()).repeat_interleave(_sizes(layout))
    return torch.where(inside, donor, receiver)


def shuffled_change(
    layout: Layout, receiver: Float[Tensor, " P"], donor: Float[Tensor, " P"], seed: int
) -> Float[Tensor, " P"]:
    """The receiver, changed as much as to the donor but in another direction.

    The entries of the change are shuffled inside every atom, so each keeps its size.
    """
    sizes = _sizes(layout)
    atom = torch.arange(len(sizes)).repeat_interleave(sizes).double()
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(layout.size, generator=generator, dtype=torch.float64)
    return receiver + (donor - receiver)[(atom + place).argsort()]


def logits_with_weights(
    receiver: Seen, theta: Float[Tensor, " P"], stage: str | None
) -> Float[Tensor, "E V"]:
    """Answer logits of ``theta``, which differs from the receiver only after a stage.

    Args:
        receiver: a :func:`checkpoint_pass`.
        stage: of the :class:`WeightPart` that was put in; None runs the whole pass.
    """
    decoder = receiver.decoder
    with torch.no_grad():
        if stage is None:
            whole = frozenset({"final_norm"})
            return answer_logits(look(decoder, theta, receiver.events, receiver.value_ids, whole))
        changed = receiver._replace(params=decoder.layout.views(theta))
        return _answers(changed, stage, receiver.sites[stage][None])[0]


def _answers(seen: Seen, stage: str, streams: Float[Tensor, "R E T d"]) -> Float[Tensor, "R E V"]:
    """Answer logits when the model goes on from other streams at a stage."""
    decoder, at = seen.decoder, seen.events.prediction.repeat(len(streams))
    flat = streams.flatten(0, 1)
    if stage == "final_norm":
        state = flat[torch.arange(len(flat)), at]
    else:
        state = decoder.final_norm(
            seen.params, decoder.onward(seen.params, stage, flat, at=at)[:, 0]
        )
    logits = decoder.unembed(seen.params, state)
    return logits.view(*streams.shape[:2], -1)


def _sizes(layout: Layout) -> Int[Tensor, " A"]:
    """Parameters of every atom."""
    return torch.from_numpy(layout.atoms["size"].to_numpy(copy=True))


def _stage_before(parameter: str, layout: Layout) -> str | None:
    """The last stage that a parameter has no part in."""
    block, _, rest = parameter.partition(".")
    if block == "embedding":
        return None
    if block == "final_norm":
        return f"layer_{layout.settings.n_layers - 1}_post_mlp"
    if rest.startswith(("ln2", "mlp")):
        return f"{block}_post_attn"
    layer = int(block.removeprefix("layer_"))
    return f"layer_{layer - 1}_post_mlp" if layer else "embedding"
