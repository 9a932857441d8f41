"""What a scalar is: a differentiable map from a model and read events to one value per event.

A scalar names the sites of the forward pass that it reads, so several scalars share one pass, and
the pass ends at the last site that any of them needs. Every scalar is signed so that larger means
the role is done better, and knows its unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.model.tap import Tap
from circuit.model.transformer import Decoder, Params
from circuit.task.events import ReadEvents


class Seen(NamedTuple):
    """What a scalar may look at: parameters, the sites it asked for, and the events."""

    decoder: Decoder
    params: Params
    sites: dict[str, Tensor]
    events: ReadEvents
    value_ids: range


class Scalar(Protocol):
    """One differentiable measure.

    ``sites`` are the canonical site names it reads and ``unit`` that of its values. ``at`` gives
    the scalar as it is to be used over an interval that starts at ``theta``; only one whose basis
    follows the interval (``follows``) differs from itself there.
    """

    @property
    def unit(self) -> str: ...

    @property
    def sites(self) -> frozenset[str]: ...

    @property
    def follows(self) -> bool: ...

    def at(self, theta: Float[Tensor, " P"]) -> Scalar: ...

    def __call__(self, seen: Seen) -> Float[Tensor, " E"]: ...


@dataclass(frozen=True)
class Measure:
    """A scalar made of a function: the common case, whose definition never moves."""

    unit: str
    sites: frozenset[str]
    function: Callable[[Seen], Float[Tensor, " E"]]
    follows: bool = False

    def at(self, theta: Float[Tensor, " P"]) -> Measure:
        """Itself: nothing about it depends on the interval."""
        return self

    def __call__(self, seen: Seen) -> Float[Tensor, " E"]:
        """One value per event."""
        return self.function(seen)


def look(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    value_ids: range,
    sites: frozenset[str],
) -> Seen:
    """One forward pass over the events, ended as soon as all sites were met."""
    tap = Tap(capture=sites, stop=True)
    params = decoder.layout.views(theta)
    if sites:
        decoder.forward(params, events.tokens, tap)
    return Seen(decoder, params, tap.cache, events, value_ids)


def pick(values: Float[Tensor, "E T ..."], position: Int[Tensor, " E"]) -> Float[Tensor, "E ..."]:
    """Each event's entry at its own position."""
    return values[torch.arange(len(position)), position]


def centre(states: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
    """States less their mean over the residual stream's coordinates, as LayerNorm takes them."""
    return states - states.mean(-1, keepdim=True)


def masked_mean(values: Float[Tensor, "E T"], mask: Bool[Tensor, "E T"]) -> Float[Tensor, " E"]:
    """Mean over each event's marked positions; every event has at least one."""
    return torch.where(mask, values, 0).sum(-1) / mask.sum(-1)


def best_other(logits: Float[Tensor, "E N"], right: Int[Tensor, " E"]) -> Int[Tensor, " E"]:
    """Column of the largest logit that is not the right one."""
    return logits.detach().scatter(1, right[:, None], -torch.inf).argmax(-1)


def margin(
    logits: Float[Tensor, "E N"], right: Int[Tensor, " E"], rival: Int[Tensor, " E"] | None
) -> Float[Tensor, " E"]:
    """Right logit minus the rival's; with no rival given, minus the best other logit."""
    rival = best_other(logits, right) if rival is None else rival
    return pick(logits, right) - pick(logits, rival)


def over_mean(logits: Float[Tensor, "E N"], right: Int[Tensor, " E"]) -> Float[Tensor, " E"]:
    """Right logit minus the mean of all others; 0 on average for logits that know nothing."""
    known = pick(logits, right)
    return known - (logits.sum(-1) - known) / (logits.shape[-1] - 1)
