"""How good a dictionary is at every checkpoint, on programs that it was not fitted to.

1. R² is the share of the states' variance about their own mean at that checkpoint which the
   reconstruction explains. It is below 0 where the mean alone would do better, as it may where
   states are small beside those of other checkpoints.
2. The baseline is PCA of the same pooled states, with as many directions as features are active on
   the average state of that checkpoint, rounded up: as many numbers, but the same few directions
   for every state. Its rows are the control, R² minus the baseline's the paired excess.
3. A feature is *active* at a checkpoint where it fires on a share of at least ``least_rate`` of
   the states, and *dead* there otherwise. It is *born* at the first checkpoint where it is active,
   and *gone* at the one after the last.

Intervals resample programs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import EXCESS, estimates
from circuit.landmarks import stays_from, step_at
from circuit.measures.features.pooled_states import PooledStates
from circuit.scalars.features import Dictionary
from circuit.statistics import interval, resamples

COMPONENTS = "principal components"
UNITS = {"r2": "share", "active_features": "1", "dead_share": "share"}
_RATIOS = (("r2", ""), ("r2", COMPONENTS), ("r2", EXCESS), ("active_features", ""))
_TINY = 1e-30


class Components(NamedTuple):
    """Principal components of states, the largest first, about their mean."""

    mean: Float[Tensor, " d"]
    axes: Float[Tensor, "d d"]


class Quality(NamedTuple):
    """``rows``: estimates of r2, active_features and dead_share (of all features, without an
    interval). ``rates`` [S, F]: shares of the states on which features fire.
    """

    rows: pd.DataFrame
    rates: Float[np.ndarray, "S F"]


def reconstruction(dictionary: Dictionary, pooled: PooledStates, least_rate: float) -> Quality:
    """Measure a dictionary at every checkpoint."""
    scored, components = ~pooled.fits, principal_components(pooled)
    program = pooled.program[scored].unique(return_inverse=True)[1]
    # Filled in place: tables that grew between large temporaries would scatter the memory.
    rates = np.empty((len(pooled.states), dictionary.size))
    sums = np.empty((len(pooled.states), int(program.max()) + 1, 5))
    for i, states in enumerate(pooled.states.values()):
        held = states[scored]
        active = dictionary.encode(held)
        rates[i] = (active > 0).double().mean(0).numpy()
        axes = components.axes[:, : math.ceil(rates[i].sum())]
        flat = components.mean + (held - components.mean) @ axes @ axes.T
        columns = _columns(held, active, dictionary.decode(active), flat)
        into = torch.zeros(sums[i].shape, dtype=torch.float64)
        sums[i] = into.index_add_(0, program, columns).numpy()
    steps = list(pooled.states)
    rows = _rows(steps, sums, len(program))
    dead = pd.DataFrame({"step": steps, "mean": (rates < least_rate).mean(1)})
    about = {"measure": "dead_share", "count": rates.shape[1]}
    found = [estimates(rows, UNITS, "states"), estimates(dead, UNITS, "features", **about)]
    return Quality(pd.concat(found, ignore_index=True), rates)


def principal_components(pooled: PooledStates) -> Components:
    """Of the fitted states of all checkpoints together; float64 inside."""
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
    return Components(mean.to(kept), axes.to(kept))


def _columns(
    states: Float[Tensor, "m d"],
    active: Float[Tensor, "m F"],
    *rebuilt: Float[Tensor, "m d"],
) -> Float[Tensor, "m 5"]:
    """Per state: squared distance to the mean, to what dictionary and baseline make of it, features
    that fire, and 1.
    """
    parts = [
        (states - states.mean(0)).square().sum(1),
        *((states - made).square().sum(1) for made in rebuilt),
        (active > 0).sum(1).to(states),
        torch.ones_like(states[:, 0]),
    ]
    return torch.stack(parts, 1).double()


def _rows(steps: list[int], sums: Float[np.ndarray, "S P 5"], count: int) -> pd.DataFrame:
    """The measures with an interval, all checkpoints from the same resamples."""
    measure, against = zip(*_RATIOS, strict=True)
    counts = resamples(sums.shape[1], 0)
    drawn = _ratios(np.einsum("rp,spk->rsk", counts, sums)).reshape(len(counts), -1)
    low, high = interval(drawn)
    ends = {"mean": _ratios(sums.sum(1)).ravel(), "low": low, "high": high}
    keys = {"step": np.repeat(steps, len(_RATIOS)), "measure": measure * len(steps)}
    return pd.DataFrame({**keys, "against": against * len(steps), **ends, "count": count})


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
