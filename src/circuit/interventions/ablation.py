"""Removing a component's write everywhere, and what the model answers then.

1. One pass over the events, with a tap at ``removal_sites``, leaves every component's write.
2. Removing a head or an MLP changes the residual stream at the stage right after it, by the write
   that is taken out (and its mean over all positions of all events put in, for ``mean``).
3. The model goes on from that stage (:meth:`circuit.model.transformer.Decoder.onward`), for the
   prediction position alone in the last layer. Components of one stage go on as one batch.

The result is that of a tap which edits the component's site, and for ``zero`` that of a model whose
output weights for it are zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.scalars.base import Seen
from circuit.scalars.write import component_write, stage_after
from circuit.task.events import ReadEvents

Baseline = Literal["zero", "mean"]
_PARTS = 8  # of events of like length: 2.2 times faster at reference size than all at once


def components(settings: ModelSettings) -> tuple[str, ...]:
    """Every head and MLP, in the order in which the model meets them."""
    return tuple(
        name
        for layer in range(settings.n_layers)
        for name in (*(f"L{layer}H{h}" for h in range(settings.n_heads)), f"L{layer}MLP")
    )


def removal_sites(n_layers: int) -> frozenset[str]:
    """What a pass must leave for :func:`ablated_logits`."""
    names = ("z", "post_attn", "mlp_write", "post_mlp")
    return frozenset(f"layer_{layer}_{name}" for layer in range(n_layers) for name in names)


def removed_write(seen: Seen, component: str, baseline: Baseline) -> Float[Tensor, "E T d"]:
    """What removing a component takes out of the residual stream at every position."""
    write = component_write(seen, component)
    return write if baseline == "zero" else write - write[seen.events.causal_prefix].mean(0)


def ablated_logits(
    seen: Seen, names: Iterable[str], baseline: Baseline
) -> Mapping[str, Float[Tensor, "E V"]]:
    """Logits at the prediction position with one component removed, for each component.

    Args:
        seen: a pass with the sites of :func:`removal_sites`.
        names: heads and MLPs, such as ``L1H3`` and ``L0MLP``.
        baseline: ``zero`` takes the write away; ``mean`` puts its mean over all positions of all
            events in its place.

    Raises:
        AnalysisError: a component does not exist.
    """
    decoder, events = seen.decoder, seen.events
    found: dict[str, Tensor] = {}
    for stage, group in groupby(names, lambda name: stage_after(name, decoder.settings)):
        members = list(group)
        changed = torch.stack(
            [seen.sites[stage] - removed_write(seen, n, baseline) for n in members]
        )
        logits = changed.new_empty(len(members), len(events), decoder.vocab_size)
        for chosen, width in _by_length(events):
            streams = changed[:, chosen, :width].flatten(0, 1)
            at = events.prediction[chosen].repeat(len(members))
            x = decoder.onward(seen.params, stage, streams, at=at)[:, 0]
            answers = decoder.unembed(seen.params, decoder.final_norm(seen.params, x))
            logits[:, chosen] = answers.view(len(members), len(chosen), -1)
        found |= zip(members, logits, strict=True)
    return found


def _by_length(events: ReadEvents) -> list[tuple[Int[Tensor, " chosen"], int]]:
    """Events in parts of like length, each with the longest one's: padding costs as programs do."""
    parts = events.length.argsort().chunk(_PARTS)
    return [(part, int(events.length[part].max())) for part in parts]
