"""States pooled over checkpoints, and how good a dictionary is on programs it was not fitted to.

1. All positions of a program count, up to its ``<eos>``. Programs with even numbers fit, those with
   odd ones score: what is fitted or chosen on one half is reported on the other.
2. R² is the share of the states' variance about their own mean at that checkpoint which the
   reconstruction explains. It is below 0 where the mean alone would do better, as it may where
   states are small beside those of other checkpoints.
3. The baseline is PCA of the same pooled states, with as many directions as features are active on
   the average state of that checkpoint, rounded up: as many numbers, but the same few directions
   for every state. Its rows are the control, R² minus the baseline's the paired excess.
4. A feature is *active* at a checkpoint where it fires on a share of at least ``least_rate`` of
   the states, and *dead* there otherwise. It is *born* at the first checkpoint where it is active,
   and *gone* at the one after the last.

Intervals resample programs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.estimates import EXCESS, estimates
from circuit.landmarks import stays_from, step_at
from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.tap import Tap
from circuit.model.transformer import Decoder
from circuit.scalars.features import Dictionary
from circuit.statistics import interval, resamples
from circuit.task.vocabulary import PAD

COMPONENTS = "principal components"
UNITS = {"r2": "share", "active_features": "1", "dead_share": "share"}
_RATIOS = (("r2", ""), ("r2", COMPONENTS), ("r2", EXCESS), ("active_features", ""))
_TINY = 1e-30


@dataclass(frozen=True, eq=False)
class PooledStates:
    """n states, one program after the other, by step."""

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
    """One pass per checkpoint, ended at the site (of states [B, T, d]), over whole programs."""
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


def reconstruction(
    dictionary: Dictionary, pooled: PooledStates, least_rate: float
) -> tuple[pd.DataFrame, Float[np.ndarray, "S F"]]:
    """Measure a dictionary at every checkpoint.

    Returned are estimates of r2, active_features and dead_share (of all features, without an
    interval), and the shares [S, F] of the states on which features fire.
    """
    scored, (mean, components) = ~pooled.fits, principal_components(pooled)
    program = pooled.program[scored].unique(return_inverse=True)[1]
    # Filled in place: tables that grew between large temporaries would scatter the memory.
    rates = np.empty((len(pooled.states), dictionary.size))
    sums = np.empty((len(pooled.states), int(program.max()) + 1, 5))
    for i, states in enumerate(pooled.states.values()):
        held = states[scored]
        active = dictionary.encode(held)
        rates[i] = (active > 0).double().mean(0).numpy()
        axes = components[:, : math.ceil(rates[i].sum())]
        flat = mean + (held - mean) @ axes @ axes.T
        # Squared distances to the mean, to what dictionary and baseline make of a state; firing; 1.
        errors = [
            (held - x).square().sum(1) for x in (held.mean(0), dictionary.decode(active), flat)
        ]
        columns = [*errors, (active > 0).sum(1).to(held), torch.ones_like(held[:, 0])]
        into = torch.zeros(sums[i].shape, dtype=torch.float64)
        sums[i] = into.index_add_(0, program, torch.stack(columns, 1).double()).numpy()
    steps = list(pooled.states)
    measure, against = zip(*_RATIOS, strict=True)
    counts = resamples(sums.shape[1], 0)
    drawn = _ratios(np.einsum("rp,spk->rsk", counts, sums)).reshape(len(counts), -1)
    low, high = interval(drawn)
    ends = {"mean": _ratios(sums.sum(1)).ravel(), "low": low, "high": high}
    keys = {"step": np.repeat(steps, len(_RATIOS)), "measure": measure * len(steps)}
    keys |= {"against": against * len(steps), "count": len(program)}
    rows = pd.DataFrame({**keys, **ends})
    dead = pd.DataFrame({"step": steps, "mean": (rates < least_rate).mean(1)})
    about = {"measure": "dead_share", "count": rates.shape[1]}
    found = [estimates(rows, UNITS, "states"), estimates(dead, UNITS, "features", **about)]
    return pd.concat(found, ignore_index=True), rates


def principal_components(
    pooled: PooledStates,
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Mean of the fitted states of all checkpoints and axes, the largest first; float64 inside."""
    fits, width = pooled.fits, next(iter(pooled.states.values())).shape[1]
    count = len(pooled.states) * int(fits.sum())
    mean = torch.zeros(width, dtype=torch.float64)
    for states in pooled.states.values():
        mean += states[fits].double().sum(0) / count
    scatter = torch.zeros(width, width, dtype=torch.float64)
    for states in pooled.states.values():
        centred = states[fits].double() - mean
        scatter += centred.T @ centred
    axes = torch.linalg.eigh(scatter).eigenvectors.flip(1)
    kept = next(iter(pooled.states.values())).dtype
    return mean.to(kept), axes.to(kept)


def _ratios(sums: Float[np.ndarray, "... 5"]) -> Float[np.ndarray, "... 4"]:
    """R², the baseline's, their difference, and active features, from sums over states."""
    total, error, flat_error, firing, count = np.moveaxis(sums, -1, 0)
    total = np.maximum(total, _TINY)
    r2, baseline = 1 - error / total, 1 - flat_error / total
    return np.stack([r2, baseline, r2 - baseline, firing / count], axis=-1)


def lives(rates: Float[np.ndarray, "S F"], steps: list[int], least_rate: float) -> pd.DataFrame:
    """Per feature the step at which it is born and gone; missing where that never happened."""
    alive = rates >= least_rate
    never, at = ~alive.any(0), np.asarray(steps)
    born = step_at(at, np.where(never, len(at), alive.argmax(0)))
    gone = step_at(at, np.where(never, len(at), stays_from(~alive.T)))
    return pd.DataFrame({"born": born, "gone": gone})
