"""Every weight matrix at every checkpoint beside random matrices of its size.

1. Each checkpoint is decomposed once (:mod:`circuit.measures.weights.spectra`). Of two checkpoints,
   the previous and the final one, the singular subspaces are kept for comparison.
2. Per matrix: effective rank, spectral mass of the top k, Frobenius and spectral norm, the norm of
   its change since the previous checkpoint, and the rotation of either side's top-k subspace to
   the previous and to the final checkpoint.
3. Baseline: the run's own initialisation, drawn anew with a seed of its own, so that scale and
   shape of the distribution are exactly those of the untrained model. All heads (or MLPs) of all
   draws are one sample per kind of matrix; the band holds 95% of them. Two independent draws stand
   for two checkpoints: the rotation and the change between matrices that share nothing.

Weights have no events, so there is nothing to resample: the band says what single untrained
matrices show, not how well a mean is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.measures.weights.spectra import (
    MATRICES,
    Svd,
    component_names,
    decompose,
    effective_rank,
    require_top,
    rotation,
    spectral_mass,
)
from circuit.model.transformer import Decoder
from circuit.statistics import band

MEASURES = {
    "effective_rank": "1",
    "spectral_mass": "share",
    "frobenius_norm": "parameter unit",
    "spectral_norm": "parameter unit",
    "change_norm": "parameter unit",
    "rotation_previous_left": "degree",
    "rotation_previous_right": "degree",
    "rotation_final_left": "degree",
    "rotation_final_right": "degree",
}
"""Measures and their units. (Norms of W_QK and W_OV are in squared parameter units.)"""
_OF_MEASURE = ("value", "baseline_mean", "baseline_low", "baseline_high", "delta")
ROW_UNITS = {
    "step": "step",
    **dict.fromkeys(_OF_MEASURE, "unit of the measure"),
    "baseline_count": "1",
}
SPECTRUM_UNITS = {
    "step": "step",
    "index": "1",
    **dict.fromkeys(_OF_MEASURE[:-1], "parameter unit"),
    "baseline_count": "1",
}

Measured = dict[tuple[str, str], Float[np.ndarray, " N"]]
Decomposed = Mapping[str, Svd]


def weight_svd(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    top: int,
    draws: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures and singular values of every matrix at every step.

    Args:
        steps: checkpoint steps, increasing; the last one is the final checkpoint.
        top: number of singular values in the spectral mass, and of directions that are followed.
        draws: random initialisations for the baseline.

    Returns:
        rows: step, component, matrix, measure, value, baseline_mean, baseline_low, baseline_high,
        baseline_count (random matrices, or pairs of them), delta (value minus that at the previous
        checkpoint). The first step has no row that compares it with a previous one.
        spectra: step, component, matrix, index (from 1), value (singular value) and its baseline.

    Raises:
        AnalysisError: ``top`` is larger than a head is wide.
    """
    settings = decoder.settings
    require_top(settings, top)

    def at(flat: Float[Tensor, " P"]) -> dict[str, Svd]:
        return decompose(decoder.layout.views(flat), settings)

    final, previous = at(theta(steps[-1])), None
    measured, values = [], []
    for step in steps:
        now = at(theta(step))
        measured.append(_measures(now, previous, final, top))
        values.append({name: now[name].values.numpy() for name in MATRICES})
        previous = now
    baseline, spectrum = _baseline(decoder, at, top, draws, seed)
    rows = [
        _frame(settings, steps, key, [m[key] for m in measured if key in m], baseline[key])
        for key in measured[-1]
    ]
    spectra = [
        _spectra(settings, steps, name, np.stack([v[name] for v in values]), spectrum[name])
        for name in MATRICES
    ]
    return pd.concat(rows, ignore_index=True), pd.concat(spectra, ignore_index=True)


def _measures(
    now: Decomposed, previous: Decomposed | None, final: Decomposed, top: int
) -> Measured:
    """Every measure of every kind of matrix; no change where there is no previous checkpoint."""
    found: dict[tuple[str, str], Tensor] = {}
    for name, svd in now.items():
        found[name, "effective_rank"] = effective_rank(svd.values)
        found[name, "spectral_mass"] = spectral_mass(svd.values, top)
        found[name, "frobenius_norm"] = svd.values.norm(dim=-1)
        found[name, "spectral_norm"] = svd.values[:, 0]
        others = {"final": final[name]}
        if previous is not None:
            others["previous"] = previous[name]
            found[name, "change_norm"] = (svd.matrix - previous[name].matrix).norm(dim=(1, 2))
        for which, other in others.items():
            found[name, f"rotation_{which}_left"] = rotation(svd.left, other.left, top)
            found[name, f"rotation_{which}_right"] = rotation(svd.right, other.right, top)
    return {key: value.numpy() for key, value in found.items()}


def _baseline(
    decoder: Decoder,
    at: Callable[[Float[Tensor, " P"]], dict[str, Svd]],
    top: int,
    draws: int,
    seed: int,
) -> tuple[dict[tuple[str, str], np.ndarray], dict[str, np.ndarray]]:
    """Mean, low, high and count of every measure [4], and of every singular value [4, r]."""
    generator = torch.Generator().manual_seed(seed)
    previous = at(decoder.initialise(generator))
    measured, values = [], []
    for _ in range(draws):
        now = at(decoder.initialise(generator))
        measured.append(_measures(now, previous, previous, top))
        values.append({name: now[name].values.numpy() for name in MATRICES})
        previous = now
    return (
        {key: _summary(np.concatenate([m[key] for m in measured])) for key in measured[0]},
        {name: _summary(np.concatenate([v[name] for v in values])) for name in MATRICES},
    )


def _summary(sample: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "4 ..."]:
    return np.stack([*band(sample), np.full(sample.shape[1:], float(len(sample)))])


def _frame(
    settings: ModelSettings,
    steps: Sequence[int],
    key: tuple[str, str],
    values: list[Float[np.ndarray, " N"]],
    baseline: Float[np.ndarray, " 4"],
) -> pd.DataFrame:
    """Rows of one measure of one kind of matrix; a change has none at the first step."""
    matrix, measure = key
    names = component_names(settings, matrix)
    table = np.stack(values)
    delta = np.diff(table, axis=0, prepend=np.full_like(table[:1], np.nan))
    mean, low, high, count = baseline
    return pd.DataFrame(
        {
            "step": np.repeat(list(steps)[-len(table) :], len(names)),
            "component": np.tile(names, len(table)),
            "matrix": matrix,
            "measure": measure,
            "value": table.ravel(),
            "baseline_mean": mean,
            "baseline_low": low,
            "baseline_high": high,
            "baseline_count": int(count),
            "delta": delta.ravel(),
        }
    )


def _spectra(
    settings: ModelSettings,
    steps: Sequence[int],
    matrix: str,
    values: Float[np.ndarray, "C N r"],
    baseline: Float[np.ndarray, "4 r"],
) -> pd.DataFrame:
    """Singular values of one kind of matrix."""
    checkpoints, matrices, rank = values.shape
    names = component_names(settings, matrix)
    mean, low, high, count = (np.tile(row, checkpoints * matrices) for row in baseline)
    return pd.DataFrame(
        {
            "step": np.repeat(list(steps), matrices * rank),
            "component": np.tile(np.repeat(names, rank), checkpoints),
            "matrix": matrix,
            "index": np.tile(np.arange(1, rank + 1), checkpoints * matrices),
            "value": values.ravel(),
            "baseline_mean": mean,
            "baseline_low": low,
            "baseline_high": high,
            "baseline_count": count.astype(np.int64),
        }
    )
