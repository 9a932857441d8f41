"""The states of some programs at one stage, at many checkpoints.

All positions of a program count, up to its ``<eos>``. Programs with even numbers fit, those with
odd ones score: what is fitted or chosen on one half is reported on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.tap import Tap
from circuit.model.transformer import Decoder
from circuit.task.vocabulary import PAD


@dataclass(frozen=True, eq=False)
class PooledStates:
    """n states, one program after the other, at every checkpoint.

    Attributes:
        split: the programs.
        states: [n, d] by step.
    """

    split: SplitReads
    states: dict[int, Float[Tensor, "n d"]]

    @cached_property
    def lengths(self) -> Int[Tensor, " N"]:
        """Tokens of every program."""
        return (self.split.tokens != PAD).sum(1)

    @cached_property
    def program(self) -> Int[Tensor, " n"]:
        """Program of every state."""
        return torch.arange(len(self.lengths)).repeat_interleave(self.lengths)

    @cached_property
    def token(self) -> Int[Tensor, " n"]:
        """Token id at every state."""
        return self.split.tokens[self.split.tokens != PAD]

    @cached_property
    def fits(self) -> Bool[Tensor, " n"]:
        """States of programs with even numbers."""
        return self.program % 2 == 0

    def fitting(self) -> Float[Tensor, "m d"]:
        """The states that fit, of all checkpoints."""
        return torch.cat([states[self.fits] for states in self.states.values()])

    def place(self, row: Int[Tensor, " k"], position: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
        """Numbers of the states of some programs at some positions."""
        return (self.lengths.cumsum(0) - self.lengths)[row] + position


def pool_states(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Iterable[int],
    split: SplitReads,
    site: str,
    batch: int = 256,
) -> PooledStates:
    """One pass per checkpoint, ended at the site, over whole programs.

    Args:
        site: canonical name of a site of states [B, T, d].
    """
    states = {}
    tap, inside = Tap(capture=(site,), stop=True), split.tokens != PAD
    for step in steps:
        params, parts = decoder.layout.views(theta(step)), []
        for start in range(0, len(split.tokens), batch):
            part = slice(start, start + batch)
            with torch.no_grad():
                decoder.forward(params, split.tokens[part], tap)
            parts.append(tap.cache[site][inside[part]])
        states[step] = torch.cat(parts)
    return PooledStates(split, states)
