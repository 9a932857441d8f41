"""What a scalar is: a differentiable map from a model and read events to one value per event.

A scalar names the sites of the forward pass that it reads, so several scalars share one pass, and
the pass ends at the last site that any of them needs. Every scalar is signed so that larger means
the role is done better, and knows its unit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.model.tap import Edit, StopForwardError, Tap
from circuit.model.transformer import Decoder, Params
from circuit.task.events import ReadEvents


class Seen(NamedTuple):
    """What a scalar may look at: parameters, the sites it asked for, and the events.

    ``known`` is what scalars have derived from the pass, for others that read the same.
    """

    decoder: Decoder
    params: Params
    sites: dict[str, Tensor]
    events: ReadEvents
    value_ids: range
    known: dict[Hashable, Tensor]

    def once(self, what: Hashable, derive: Callable[[], Tensor]) -> Tensor:
        """What is derived from the pass, made by the first scalar that asks for it."""
        if what not in self.known:
            self.known[what] = derive()
        return self.known[what]


Rebinding = tuple[str | None, "Scalar"]
"""The term that a change of value is booked under (None: nothing changes), and the scalar after."""


class Scalar(Protocol):
    """One differentiable measure.

    ``sites`` are the canonical site names it reads and ``unit`` that of its values.

    Some scalars make a choice at every θ: a margin its rival, a rank its directions. Over an
    interval they are smooth only if the choice is held. ``at(theta)`` is the scalar bound to its
    choice at an interval's first state. ``rebind(theta)`` of a bound scalar says how it becomes the
    one that is bound at the interval's last state: a chain of scalars, each with the term under
    which the change of value from the one before is booked; the last one is bound at ``theta``. It
    is empty where the choice is the same. ``terms`` are all terms that may occur; a scalar without
    any makes no choice. So growth within intervals plus these terms is the growth of the unbound
    scalar, whatever the intervals. ``along(theta)`` is a bound scalar at the next of several points
    within its interval: an own basis follows its directions from point to point.
    """

    @property
    def unit(self) -> str: ...

    @property
    def sites(self) -> frozenset[str]: ...

    @property
    def terms(self) -> tuple[str, ...]: ...

    def at(self, theta: Float[Tensor, " P"]) -> Scalar: ...

    def along(self, theta: Float[Tensor, " P"]) -> Scalar: ...

    def rebind(self, theta: Float[Tensor, " P"]) -> tuple[Rebinding, ...]: ...

    def __call__(self, seen: Seen) -> Float[Tensor, " E"]: ...


@dataclass(frozen=True)
class Measure:
    """A scalar made of a function: the common case, whose definition never moves."""

    unit: str
    sites: frozenset[str]
    function: Callable[[Seen], Float[Tensor, " E"]]
    terms: tuple[str, ...] = ()

    def at(self, theta: Float[Tensor, " P"]) -> Measure:
        return self

    def along(self, theta: Float[Tensor, " P"]) -> Measure:
        return self

    def rebind(self, theta: Float[Tensor, " P"]) -> tuple[Rebinding, ...]:
        return ()

    def __call__(self, seen: Seen) -> Float[Tensor, " E"]:
        return self.function(seen)


Rival = Int[Tensor, " E"] | Literal["mean"] | None
"""What a margin is over: a given wrong token per event, the mean of all wrong ones, or the best."""


@dataclass(frozen=True, eq=False)
class Branched:
    """A scalar of smooth branches, of which it takes one at each θ: a rival, or what is active.

    Unbound it is the scalar itself, with a kink wherever it goes over to another branch. Bound, it
    stays on its branch; re-binding books what going over changes as ``branch_switch``. A branch
    that makes a choice of its own makes it first.

    ``make`` gives the scalar on a branch (None: on the one that is taken at the θ it is seen at),
    ``choose`` the branch that is taken at a θ: best wrong tokens, or which features are active.
    Bound, ``branch`` is the one held and ``held`` the scalar on it.
    """

    make: Callable[[Tensor | None], Scalar]
    choose: Callable[[Float[Tensor, " P"]], Tensor]
    branch: Tensor | None = None
    held: Scalar | None = None

    @property
    def _scalar(self) -> Scalar:
        return self.make(None) if self.held is None else self.held

    @property
    def unit(self) -> str:
        return self._scalar.unit

    @property
    def sites(self) -> frozenset[str]:
        return self._scalar.sites

    @property
    def terms(self) -> tuple[str, ...]:
        return (*self._scalar.terms, "branch_switch")

    def at(self, theta: Float[Tensor, " P"]) -> Branched:
        return self._on(self.choose(theta), theta)

    def _on(self, branch: Tensor, theta: Float[Tensor, " P"]) -> Branched:
        return replace(self, branch=branch, held=self.make(branch).at(theta))

    def along(self, theta: Float[Tensor, " P"]) -> Branched:
        return self if self.held is None else replace(self, held=self.held.along(theta))

    def rebind(self, theta: Float[Tensor, " P"]) -> tuple[Rebinding, ...]:
        """The branch's own choice made anew, then the branch itself where another one is taken."""
        assert self.branch is not None
        assert self.held is not None
        chain: list[Rebinding] = [
            (term, replace(self, held=scalar)) for term, scalar in self.held.rebind(theta)
        ]
        branch = self.choose(theta)
        if not torch.equal(branch, self.branch):
            chain.append(("branch_switch", self._on(branch, theta)))
        return tuple(chain)

    def __call__(self, seen: Seen) -> Float[Tensor, " E"]:
        return self._scalar(seen)


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
    return Seen(decoder, params, tap.cache, events, value_ids, {})


def look_on(
    seen: Seen,
    stage: str,
    x: Float[Tensor, "B T d"],
    sites: frozenset[str],
    at: Int[Tensor, " B"] | None = None,
    edits: Mapping[str, Sequence[Edit]] | None = None,
) -> dict[str, Tensor]:
    """Go on from the states ``x`` at a stage, with the parameters of ``seen``; leave ``sites``.

    All of these are at or after the stage; the pass ends at the last. ``at`` is one position per
    program, the only one that the last layer answers for.
    """
    tap = Tap(capture=sites, edits=edits, stop=True)
    with contextlib.suppress(StopForwardError):
        last = seen.decoder.onward(seen.params, stage, x, tap, at)
        seen.decoder.final_norm(seen.params, last, tap)
    return tap.cache


def answering(seen: Seen, **states: Float[Tensor, "E d"]) -> Seen:
    """A pass of which sites are known at the prediction position alone, and 0 elsewhere."""
    events = seen.events
    rows = torch.arange(len(events)), events.prediction
    sites = {
        site: state.new_zeros(*events.tokens.shape, state.shape[-1]).index_put(rows, state)
        for site, state in states.items()
    }
    return seen._replace(sites=sites, known={})


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
    logits: Float[Tensor, "E N"], right: Int[Tensor, " E"], rival: Rival
) -> Float[Tensor, " E"]:
    """Right logit minus the rival's; with no rival given, minus the best other logit."""
    if isinstance(rival, str):
        return over_mean(logits, right)
    rival = best_other(logits, right) if rival is None else rival
    return pick(logits, right) - pick(logits, rival)


def over_mean(logits: Float[Tensor, "E N"], right: Int[Tensor, " E"]) -> Float[Tensor, " E"]:
    """Right logit minus the mean of all others; 0 on average for logits that know nothing."""
    known = pick(logits, right)
    return known - (logits.sum(-1) - known) / (logits.shape[-1] - 1)
