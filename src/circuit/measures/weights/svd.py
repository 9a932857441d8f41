"""Every weight matrix at every checkpoint beside random matrices of its size.

1. Each checkpoint is decomposed once (:mod:`circuit.measures.weights.spectra`). Of two checkpoints,
   the previous and the final one, the singular subspaces are kept for comparison.
2. Per matrix: effective rank, spectral mass of the top k, Frobenius and spectral norm, the norm of
   its change since the previous checkpoint, and the rotation of the top-k subspace to the previous
   and to the final checkpoint, of either side and as the mean of both.
3. Baseline: the run's own initialisation, drawn anew with a seed of its own, so that scale and
   shape of the distribution are exactly those of the untrained model. All heads (or MLPs) of all
   draws are one sample per kind of matrix; the band holds 95% of them. Two independent draws stand
   for two checkpoints: the rotation and the change between matrices that share nothing.
4. ``compression`` is the share of an untrained matrix' effective rank that is gone. Its band holds
   95% of draws with all their matrices at once, so that the most compressed one of a model may be
   compared with it; ``matrices_below`` and ``matrices_above`` count those outside the band of one.

Weights have no events, so there is nothing to resample: the band says what single untrained
matrices show, not how well a mean is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.config.recipe import ModelSettings
from circuit.estimates import EXCESS, estimates
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
from circuit.statistics import band, interval

MEASURES = {
    "effective_rank": "1",
    "spectral_mass": "share",
    "frobenius_norm": "parameter unit",
    "spectral_norm": "parameter unit",
    "change_norm": "parameter unit",
    **{
        f"rotation_{which}{side}": "degree"
        for which in ("previous", "final")
        for side in ("", "_left", "_right")
    },
}
"""Measures and their units. Norms of W_QK and W_OV, products of two, are in squared units."""
UNTRAINED = "untrained"
EVERY = "all"
"""In place of a kind of matrix: all of them."""
_SINCE = f"{EXCESS} over previous checkpoint"
_PRODUCTS = ("W_QK", "W_OV")
_KEYS = ("matrix", "component", "place", "index")

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
        rows: estimates by matrix and component, exact but for ``against`` untrained: the mean and
        95% band of random matrices, or pairs of them. Rows over the previous checkpoint are what a
        measure changed by since. Components are empty where a number is that of a kind of matrix.
        spectra: measure ``singular_value`` by matrix, component and ``index`` (from 1), with the
        ``place`` of the component among its kind by effective rank at the last step, the lowest 1.

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
    drawn, spectrum = _baseline(decoder, at, top, draws, seed)
    samples = {key: np.stack([draw[key] for draw in drawn]) for key in drawn[0]}
    rows = [
        _frame(settings, steps, key, [m[key] for m in measured if key in m], samples[key].ravel())
        for key in measured[-1]
    ]
    ranks = {name: np.stack([m[name, "effective_rank"] for m in measured]) for name in MATRICES}
    untrained = {name: samples[name, "effective_rank"] for name in MATRICES}
    rows += [*_kinds(steps, ranks, untrained), _compression(settings, steps, ranks, untrained)]
    spectra = [
        _spectra(
            settings, steps, name, np.stack([v[name] for v in values]), spectrum[name],
            ranks[name][-1].argsort(kind="stable").argsort(kind="stable") + 1,
        )
        for name in MATRICES
    ]  # fmt: skip
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
            left = rotation(svd.left, other.left, top)
            right = rotation(svd.right, other.right, top)
            found[name, f"rotation_{which}_left"] = left
            found[name, f"rotation_{which}_right"] = right
            found[name, f"rotation_{which}"] = (left + right) / 2
    return {key: value.numpy() for key, value in found.items()}


def _baseline(
    decoder: Decoder,
    at: Callable[[Float[Tensor, " P"]], dict[str, Svd]],
    top: int,
    draws: int,
    seed: int,
) -> tuple[list[Measured], dict[str, Float[np.ndarray, "n r"]]]:
    """Every measure of every draw, and the singular values of the matrices of all of them."""
    generator = torch.Generator().manual_seed(seed)
    previous = at(decoder.initialise(generator))
    measured, values = [], []
    for _ in range(draws):
        now = at(decoder.initialise(generator))
        measured.append(_measures(now, previous, previous, top))
        values.append({name: now[name].values.numpy() for name in MATRICES})
        previous = now
    return measured, {name: np.concatenate([v[name] for v in values]) for name in MATRICES}


def _unit(matrix: str, measure: str) -> str:
    unit = MEASURES.get(measure, "parameter unit")
    return f"{unit}²" if unit == "parameter unit" and matrix in _PRODUCTS else unit


def _untrained(sample: Float[np.ndarray, "n ..."]) -> dict[str, Any]:
    """Columns of the control rows: mean and band of a sample of random matrices."""
    mean, low, high = band(sample)
    ends = {"mean": mean, "low": low, "high": high}
    return {**ends, "count": len(sample), "against": UNTRAINED, "noun": "random matrices"}


def _frame(
    settings: ModelSettings,
    steps: Sequence[int],
    key: tuple[str, str],
    values: list[Float[np.ndarray, " N"]],
    sample: Float[np.ndarray, " n"],
) -> pd.DataFrame:
    """Rows of one measure of one kind of matrix; a change has none at the first step."""
    matrix, measure = key
    names = component_names(settings, matrix)
    table = np.stack(values)
    at = list(steps)[-len(table) :]
    keys = pd.DataFrame({"component": np.tile(names, len(at)), "step": np.repeat(at, len(names))})
    parts = [
        keys.assign(mean=table.ravel(), against=""),
        keys.iloc[len(names) :].assign(mean=np.diff(table, axis=0).ravel(), against=_SINCE),
        pd.DataFrame({"component": "", "step": at, **_untrained(sample)}),
    ]
    return _rows(pd.concat(parts), _unit(matrix, measure), matrix=matrix, measure=measure)


def _rows(frame: pd.DataFrame, unit: str, **fixed: str) -> pd.DataFrame:
    found = estimates(frame.assign(noun=frame.get("noun", "")).fillna({"noun": ""}), unit, **fixed)
    keys = [name for name in _KEYS if name in found]
    return found[[*keys, *(name for name in found if name not in keys)]]


def _kinds(
    steps: Sequence[int],
    ranks: Mapping[str, Float[np.ndarray, "C N"]],
    untrained: Mapping[str, Float[np.ndarray, "K N"]],
) -> Iterator[pd.DataFrame]:
    """Effective ranks of every kind of matrix, and how many lie outside the band of one matrix.

    The control of the numbers outside is how many there are in every untrained model, outside the
    band of the others.
    """
    below, above, drawn = {}, {}, {}
    for matrix, values in ranks.items():
        _, low, high = band(untrained[matrix].ravel())
        below[matrix], above[matrix] = (values < low).sum(1), (values > high).sum(1)
        drawn[matrix] = _outside(untrained[matrix])
        for name, of in (("median", np.median), ("least", np.min), ("most", np.max)):
            frame = pd.DataFrame({"component": "", "step": steps, "mean": of(values, axis=1)})
            yield _rows(frame, "1", matrix=matrix, measure=f"{name}_effective_rank")
    for which, (side, found) in enumerate((("below", below), ("above", above))):
        everywhere = {**found, EVERY: np.sum(list(found.values()), axis=0)}
        for matrix, counts in everywhere.items():
            one = drawn.values() if matrix == EVERY else [drawn[matrix]]
            chance = _untrained(np.sum([draws[which] for draws in one], axis=0))
            control = pd.DataFrame({"step": steps, **chance, "noun": "untrained models"})
            frame = pd.concat(
                [pd.DataFrame({"step": steps, "mean": counts, "against": ""}), control]
            )
            yield _rows(frame.assign(component=""), "1", matrix=matrix, measure=f"matrices_{side}")


def _outside(sample: Float[np.ndarray, "K N"]) -> tuple[Int[np.ndarray, " K"], ...]:
    """How many matrices of every draw lie below and above the band of all other draws."""
    ends = [band(np.delete(sample, k, axis=0).ravel())[1:, None] for k in range(len(sample))]
    low, high = np.stack(ends, 1)
    return (sample < low).sum(1), (sample > high).sum(1)


def _compression(
    settings: ModelSettings,
    steps: Sequence[int],
    ranks: Mapping[str, Float[np.ndarray, "C N"]],
    untrained: Mapping[str, Float[np.ndarray, "K N"]],
) -> pd.DataFrame:
    """How much of its untrained effective rank every matrix lacks, in a band that holds all."""
    means = {matrix: drawn.ravel().mean() for matrix, drawn in untrained.items()}
    lacking = np.hstack([1 - drawn / means[matrix] for matrix, drawn in untrained.items()])
    low, high = interval(lacking.min(1))[0], interval(lacking.max(1))[1]
    ends = {"mean": 0.0, "low": low, "high": high, "count": len(lacking)}
    parts = []
    for matrix, values in ranks.items():
        names = component_names(settings, matrix)
        parts += [
            pd.DataFrame(
                {
                    "component": np.tile(names, len(steps)),
                    "step": np.repeat(list(steps), len(names)),
                    "mean": (1 - values / means[matrix]).ravel(),
                    "against": "",
                    "noun": "",
                }
            ).assign(matrix=matrix),
            pd.DataFrame(
                {"component": "", "step": steps, **ends, "against": UNTRAINED, "matrix": matrix}
            ).assign(noun="untrained models"),
        ]
    return _rows(pd.concat(parts), "share", measure="compression")


def _spectra(
    settings: ModelSettings,
    steps: Sequence[int],
    matrix: str,
    values: Float[np.ndarray, "C N r"],
    sample: Float[np.ndarray, "n r"],
    place: Int[np.ndarray, " N"],
) -> pd.DataFrame:
    """Singular values of one kind of matrix; untrained ones beside every component's last."""
    checkpoints, matrices, rank = values.shape
    names = np.repeat(component_names(settings, matrix), rank)
    keys = {"component": names, "place": np.repeat(place, rank)}
    keys["index"] = np.tile(np.arange(1, rank + 1), matrices)
    of_one = pd.DataFrame(keys)
    found = pd.concat([of_one] * checkpoints).assign(
        step=np.repeat(list(steps), matrices * rank), mean=values.ravel(), against=""
    )
    beside = {
        name: np.tile(column, matrices) if isinstance(column, np.ndarray) else column
        for name, column in _untrained(sample).items()
    }
    both = pd.concat([found, of_one.assign(step=steps[-1], **beside)])
    return _rows(both, _unit(matrix, ""), matrix=matrix, measure="singular_value")
