"""Every weight matrix at every checkpoint beside random matrices of its size.

1. Each checkpoint is decomposed once (:mod:`circuit.measures.weights.spectra`).
2. Per matrix: effective rank, spectral mass of the top k, Frobenius and spectral norm, the norm of
   its change since the previous checkpoint, and the rotation of the top-k subspace to the previous
   and to the final checkpoint, of either side and as the mean of both.
3. Baseline: the run's own initialisation, drawn anew, so that scale and shape of the distribution
   are those of the untrained model. All heads (or MLPs) of all draws are one sample per kind of
   matrix; the band holds 95% of them. Two draws stand for two checkpoints: the rotation and the
   change between matrices that share nothing.
4. ``compression`` is the share of an untrained matrix' effective rank that is gone. Its band holds
   95% of draws with all their matrices at once, so that the most compressed one of a model may be
   compared with it; ``matrices_below`` and ``matrices_above`` count those outside the band of one.

Weights have no events: the band says what single untrained matrices show, not how well a mean is
known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.estimates import estimates, over
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
_SINCE = over("previous checkpoint")
_PRODUCTS = ("W_QK", "W_OV")

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
        steps: increasing; the last one is the final checkpoint.
        top: singular values in the spectral mass, and directions that are followed.
        draws: initialisations of the baseline.

    Returns:
        rows: estimates by matrix and component, exact but for ``against`` untrained: the mean and
        95% band of random matrices, or pairs of them. Rows over the previous checkpoint are what a
        measure changed by since. Components are empty where a number is that of a kind of matrix.
        spectra: measure ``singular_value`` by matrix, component and ``index`` (from 1), with the
        ``place`` of the component among its kind by effective rank at the last step, the lowest 1.

    Raises:
        AnalysisError: ``top`` is larger than a head is wide.
    """
    require_top(decoder.settings, top)

    def at(flat: Float[Tensor, " P"]) -> Decomposed:
        return decompose(decoder.layout.views(flat), decoder.settings)

    measured, values = _walk((at(theta(step)) for step in steps), None, at(theta(steps[-1])), top)
    generator = torch.Generator().manual_seed(seed)
    first = at(decoder.initialise(generator))
    drawn, spectrum = _walk(
        (at(decoder.initialise(generator)) for _ in range(draws)), first, None, top
    )
    samples = {key: np.stack([draw[key] for draw in drawn]) for key in drawn[0]}
    ranks = {name: np.stack([m[name, "effective_rank"] for m in measured]) for name in MATRICES}
    untrained = {name: samples[name, "effective_rank"] for name in MATRICES}
    names = {name: component_names(decoder.settings, name) for name in MATRICES}
    parts = []
    for key, sample in samples.items():
        table = np.stack([m[key] for m in measured if key in m])
        seen = steps[-len(table) :]  # a change has no number at the first checkpoint
        since = _levels(names[key[0]], seen[1:], np.diff(table, axis=0))
        beside = _untrained(seen, band(sample.ravel()), sample.size, "random matrices")
        found = [_levels(names[key[0]], seen, table), since.assign(against=_SINCE), beside]
        about = {"matrix": key[0], "measure": key[1], "unit": _unit(*key)}
        parts.append(pd.concat(found).assign(**about))
    parts += [*_kinds(steps, ranks, untrained), *_compression(steps, names, ranks, untrained)]
    rows = pd.concat(parts)
    spectra = [
        _spectra(name, names[name], steps, values[name], spectrum[name], ranks[name][-1])
        for name in MATRICES
    ]
    rows = rows[["matrix", "component", *rows.columns.drop(["matrix", "component"])]]
    return estimates(rows), estimates(pd.concat(spectra), measure="singular_value")


def _walk(
    states: Iterable[Decomposed], previous: Decomposed | None, final: Decomposed | None, top: int
) -> tuple[list[Measured], dict[str, Float[np.ndarray, "C N r"]]]:
    """Every measure of states in order, and their singular values by kind of matrix.

    Without a final state, each is compared with the previous one twice.
    """
    measured, values = [], []
    for now in states:
        others = {"final": final or previous, "previous": previous}
        measured.append(_measures(now, {name: of for name, of in others.items() if of}, top))
        values.append({name: now[name].values.numpy() for name in MATRICES})
        previous = now
    return measured, {name: np.stack([v[name] for v in values]) for name in MATRICES}


def _measures(now: Decomposed, others: Mapping[str, Decomposed], top: int) -> Measured:
    """Every measure of every kind of matrix; what is compared with others only where they are."""
    found: dict[tuple[str, str], Tensor] = {}
    for name, svd in now.items():
        found[name, "effective_rank"] = effective_rank(svd.values)
        found[name, "spectral_mass"] = spectral_mass(svd.values, top)
        found[name, "frobenius_norm"] = svd.values.norm(dim=-1)
        found[name, "spectral_norm"] = svd.values[:, 0]
        if "previous" in others:
            change = svd.matrix - others["previous"][name].matrix
            found[name, "change_norm"] = change.norm(dim=(1, 2))
        for which, other in others.items():
            left = rotation(svd.left, other[name].left, top)
            right = rotation(svd.right, other[name].right, top)
            found[name, f"rotation_{which}_left"] = left
            found[name, f"rotation_{which}_right"] = right
            found[name, f"rotation_{which}"] = (left + right) / 2
    return {key: value.numpy() for key, value in found.items()}


def _unit(matrix: str, measure: str) -> str:
    unit = MEASURES.get(measure, "parameter unit")
    return f"{unit}²" if unit == "parameter unit" and matrix in _PRODUCTS else unit


def _levels(
    names: list[str], steps: Sequence[int], table: Float[np.ndarray, "C N"]
) -> pd.DataFrame:
    """One number of every component at every step."""
    grid = pd.MultiIndex.from_product([steps, names], names=["step", "component"])
    return pd.DataFrame({"mean": table.ravel(), "against": ""}, index=grid).reset_index()


def _untrained(
    steps: Sequence[int], ends: Float[np.ndarray, " 3"], count: int, noun: str
) -> pd.DataFrame:
    """Rows of a control that is the same at every step: mean, low and high."""
    numbers = dict(zip(("mean", "low", "high"), ends, strict=True))
    about = {"component": "", "against": UNTRAINED, "count": count, "noun": noun}
    return pd.DataFrame({"step": steps, **numbers, **about})


def _kinds(
    steps: Sequence[int],
    ranks: Mapping[str, Float[np.ndarray, "C N"]],
    untrained: Mapping[str, Float[np.ndarray, "K N"]],
) -> Iterator[pd.DataFrame]:
    """Effective ranks of every kind of matrix, and how many lie outside the band of one matrix.

    The control of the numbers outside is how many there are in every untrained model, outside the
    band of the others.
    """
    counts, chance = {}, {}  # below and above
    for matrix, values in ranks.items():
        _, low, high = band(untrained[matrix].ravel())
        counts[matrix] = np.stack([(values < low).sum(1), (values > high).sum(1)])
        chance[matrix] = _outside(untrained[matrix])
        for name, of in (("median", np.median), ("least", np.min), ("most", np.max)):
            found = _levels([""], steps, of(values, axis=1))
            yield found.assign(matrix=matrix, measure=f"{name}_effective_rank", unit="1")
    counts[EVERY], chance[EVERY] = (np.sum([*of.values()], axis=0) for of in (counts, chance))
    for i, side in enumerate(("below", "above")):
        for matrix, number in counts.items():
            by_chance = chance[matrix][i]
            beside = _untrained(steps, band(by_chance), len(by_chance), "untrained models")
            found = pd.concat([_levels([""], steps, number[i]), beside])
            yield found.assign(matrix=matrix, measure=f"matrices_{side}", unit="1")


def _outside(sample: Float[np.ndarray, "K N"]) -> Int[np.ndarray, "2 K"]:
    """How many matrices of every draw lie below and above the band of all other draws."""
    ends = [band(np.delete(sample, k, axis=0).ravel())[1:, None] for k in range(len(sample))]
    low, high = np.stack(ends, 1)
    return np.stack([(sample < low).sum(1), (sample > high).sum(1)])


def _compression(
    steps: Sequence[int],
    names: Mapping[str, list[str]],
    ranks: Mapping[str, Float[np.ndarray, "C N"]],
    untrained: Mapping[str, Float[np.ndarray, "K N"]],
) -> Iterator[pd.DataFrame]:
    """How much of its untrained effective rank every matrix lacks, in a band that holds all."""
    means = {matrix: drawn.ravel().mean() for matrix, drawn in untrained.items()}
    lacking = np.hstack([1 - drawn / means[matrix] for matrix, drawn in untrained.items()])
    ends = np.array([0.0, interval(lacking.min(1))[0], interval(lacking.max(1))[1]])
    for matrix, values in ranks.items():
        found = _levels(names[matrix], steps, 1 - values / means[matrix])
        found = pd.concat([found, _untrained(steps, ends, len(lacking), "untrained models")])
        yield found.assign(matrix=matrix, measure="compression", unit="share")


def _spectra(
    matrix: str,
    names: list[str],
    steps: Sequence[int],
    values: Float[np.ndarray, "C N r"],
    drawn: Float[np.ndarray, "K N r"],
    last: Float[np.ndarray, " N"],
) -> pd.DataFrame:
    """Singular values of one kind of matrix; untrained ones beside every component's last."""
    n, rank = values.shape[1:]
    place = last.argsort(kind="stable").argsort(kind="stable") + 1
    of_one = pd.DataFrame(
        {
            "matrix": matrix,
            "component": np.repeat(names, rank),
            "place": np.repeat(place, rank),
            "index": np.tile(np.arange(1, rank + 1), n),
            "unit": _unit(matrix, ""),
            "against": "",
        }
    )
    sample = drawn.reshape(-1, rank)
    ends = dict(zip(("mean", "low", "high"), np.tile(band(sample), n), strict=True))
    control = {"against": UNTRAINED, "count": len(sample), "noun": "random matrices"}
    seen = [of_one.assign(step=step, mean=v.ravel()) for step, v in zip(steps, values, strict=True)]
    return pd.concat([*seen, of_one.assign(step=steps[-1], **ends, **control)])
