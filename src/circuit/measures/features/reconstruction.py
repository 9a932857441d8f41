"""States pooled over checkpoints, and how good a dictionary is on programs it was not fitted to.

1. All positions of a program count, up to its ``<eos>``. Programs with even numbers fit, those with
   odd ones score: what is fitted or chosen on one half is reported on the other. States lie in a
   temporary file, float32, mapped into memory: the machine keeps in memory what it has room for,
   and one checkpoint's states and activations are all that must fit at once.
2. *Explained variance* is the share of the states' variance about their own mean at that checkpoint
   which the reconstruction explains, summed in float64. The mean alone has exactly 0, so it is
   below 0 where the mean would do better, as it may where states are small beside those of other
   checkpoints.
3. The baselines are (a) PCA of the same pooled states, with as many directions as features are
   active on the average state of that checkpoint (L0), rounded up: as many numbers, but the same
   few directions for every state; (b) a dictionary fitted in the same way whose decoder was frozen
   at random directions: what an encoder gets without features. Their rows are the controls,
   explained variance minus theirs the paired excesses.
4. A feature is *active* at a checkpoint where it fires on a share of at least ``least_rate`` of
   the states, and *dead* there otherwise. It is *born* at the first checkpoint where it is active,
   and *gone* at the one after the last.

Intervals resample programs.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.estimates import estimates, over
from circuit.landmarks import stays_from, step_at
from circuit.measures.features.autoencoder import Rows
from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.tap import Tap
from circuit.model.transformer import Decoder
from circuit.scalars.features import Dictionary
from circuit.statistics import interval, resamples
from circuit.task.vocabulary import PAD

EXPLAINED = "explained_variance"
COMPONENTS, FROZEN = "principal components", "frozen decoder"
UNITS = {EXPLAINED: "share", "active_features": "1", "dead_share": "share"}
_RATIOS = (
    *((EXPLAINED, against) for against in ("", COMPONENTS, FROZEN, over(COMPONENTS), over(FROZEN))),
    ("active_features", ""),
)
_TINY = 1e-30


@dataclass(frozen=True, eq=False)
class PooledStates:
    """n states, one program after the other, at every step."""

    split: SplitReads
    steps: Sequence[int]
    every: Float[Tensor, "S n d"]

    @property
    def states(self) -> dict[int, Float[Tensor, "n d"]]:
        """Those of every step."""
        return dict(zip(self.steps, self.every, strict=True))

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

    @property
    def fitting(self) -> Rows:
        """The states that fit, of all checkpoints."""
        return Rows(self.every, self.fits.nonzero()[:, 0])

    def place(self, row: Int[Tensor, " k"], position: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
        """Numbers of the states of some programs at some positions."""
        return (self.lengths.cumsum(0) - self.lengths)[row] + position


def pool_states(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    split: SplitReads,
    site: str,
    folder: Path | None = None,
    batch: int = 256,
) -> PooledStates:
    """One pass per checkpoint, ended at the site (of states [B, T, d]), over whole programs.

    ``folder`` is where the file of states lies; it has no name, and goes with whoever reads it.
    """
    tap, inside = Tap(capture=(site,), stop=True), split.tokens != PAD
    shape = (len(steps), int(inside.sum()), decoder.settings.d_model)
    with tempfile.TemporaryFile(dir=folder) as file:
        every = torch.from_numpy(np.memmap(file, np.float32, "w+", shape=shape))
    for at, step in enumerate(steps):
        params, done = decoder.layout.views(theta(step)), 0
        for start in range(0, len(split.tokens), batch):
            part = slice(start, start + batch)
            with torch.no_grad():
                decoder.forward(params, split.tokens[part], tap)
            found = tap.cache[site][inside[part]]
            every[at, done : done + len(found)] = found
            done += len(found)
    return PooledStates(split, tuple(steps), every)


def reconstruction(
    dictionary: Dictionary, frozen: Dictionary, pooled: PooledStates, least_rate: float
) -> tuple[pd.DataFrame, Float[np.ndarray, "S F"]]:
    """Measure a dictionary at every checkpoint, beside one with a frozen decoder.

    Returned are estimates of explained_variance, active_features and dead_share (of all features,
    without an interval), and the shares [S, F] of the states on which features fire.
    """
    scored, (mean, components) = ~pooled.fits, principal_components(pooled)
    program = pooled.program[scored].unique(return_inverse=True)[1]
    # Filled in place: tables that grew between large temporaries would scatter the memory.
    rates = np.empty((len(pooled.steps), dictionary.size))
    sums = np.empty((len(pooled.steps), int(program.max()) + 1, 6))
    for i, states in enumerate(pooled.every):
        held = states[scored]
        active = dictionary.encode(held)
        rates[i] = (active > 0).double().mean(0).numpy()
        axes = components[:, : math.ceil(rates[i].sum())]
        flat = mean + (held - mean) @ axes @ axes.T
        remade = (dictionary.decode(active), flat, frozen.rebuild(held))
        exact = held.double()
        # Squared distances to the mean, and to what dictionary and baselines make; firing; 1.
        errors = [(exact - x).square().sum(1) for x in (exact.mean(0), *remade)]
        columns = [*errors, (active > 0).sum(1).double(), torch.ones_like(errors[0])]
        into = torch.zeros(sums[i].shape, dtype=torch.float64)
        sums[i] = into.index_add_(0, program, torch.stack(columns, 1)).numpy()
    steps = list(pooled.steps)
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
    states, width = pooled.fitting, pooled.every.shape[2]
    mean = torch.zeros(width, dtype=torch.float64)
    for some in states.chunks():
        mean += some.double().sum(0) / states.count
    scatter = torch.zeros(width, width, dtype=torch.float64)
    for some in states.chunks():
        centred = some.double() - mean
        scatter += centred.T @ centred
    axes = torch.linalg.eigh(scatter).eigenvectors.flip(1)
    return mean.to(pooled.every.dtype), axes.to(pooled.every.dtype)


def _ratios(sums: Float[np.ndarray, "... 6"]) -> Float[np.ndarray, "... 6"]:
    """What ``_RATIOS`` names, from sums over states."""
    total, error, flat, frozen, firing, count = np.moveaxis(sums, -1, 0)
    total = np.maximum(total, _TINY)
    own, *others = (1 - each / total for each in (error, flat, frozen))
    parts = [own, *others, *(own - other for other in others), firing / count]
    return np.stack(parts, axis=-1)


def lives(rates: Float[np.ndarray, "S F"], steps: list[int], least_rate: float) -> pd.DataFrame:
    """Per feature the step at which it is born and gone; missing where that never happened."""
    alive = rates >= least_rate
    never, at = ~alive.any(0), np.asarray(steps)
    born = step_at(at, np.where(never, len(at), alive.argmax(0)))
    gone = step_at(at, np.where(never, len(at), stays_from(~alive.T)))
    return pd.DataFrame({"born": born, "gone": gone})
