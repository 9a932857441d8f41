"""What a window's updates sum to in every weight matrix, by optimizer component.

1. A stored matrix' change is the sum over steps of its update's components. W_QK and W_OV are
   products: with Q and K midway between a step's two states, ΔW_QK = ΔQ Kᵀ + Q ΔKᵀ exactly, and
   linear in the components; W_OV likewise. So components sum to the change there, too.
2. Of every sum (and of all components together, ``update``): effective rank and spectral mass
   (:mod:`circuit.measures.weights.spectra`), and the overlap of its top singular directions, the
   mean squared cosine of principal angles, with those of the final matrix and of other components.
3. The control are random updates: normal numbers in every stored matrix, with the update's norm,
   carried to products at the point midway through the window. A final matrix holds its update, so a
   random one is compared with the matrix that it would have ended in, final − update + random;
   components are compared with each other as two random updates are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.terms import COMPONENTS
from circuit.estimates import estimates
from circuit.measures.states.alignment import overlap
from circuit.measures.weights import spectra
from circuit.measures.weights.spectra import Svd, plain_svd
from circuit.model.transformer import Decoder
from circuit.statistics import band
from circuit.training.replay import ReplayedStep

PARTS = ("current_gradient", "momentum", "weight_decay")
UPDATE, FINAL, RANDOM = "update", "final matrix", "random updates"
_UNITS = {
    "effective_rank": "1",
    "spectral_mass": "share",
    "overlap": "share",
    "left_over": "parameter unit",
}

Matrices = Mapping[str, Float[Tensor, "N m n"]]


def update_geometry(
    decoder: Decoder,
    steps: Iterable[ReplayedStep],
    states: tuple[Float[Tensor, " P"], Float[Tensor, " P"], Float[Tensor, " P"]],
    chosen: Mapping[str, str],
    asked: tuple[int, int, int],
    step: int,
) -> pd.DataFrame:
    """Rows by matrix, component, part, other and side; exact but for random updates.

    ``left_over`` is the norm of what components leave of the difference of the window's ends.

    Args:
        states: parameters before and after the window's steps, and at the last checkpoint.
        chosen: head → what a scan chose it as.
        asked: number of top directions, draws of random updates, and their seed.
        step: the window's last.
    """
    top, draws, seed = asked
    spectra.require_top(decoder.settings, top)
    before, after, final = (theta.double() for theta in states)
    found, changes = summed(decoder, steps)
    drawn = list(_random(decoder, changes.sum(0), (before + after) / 2, draws, seed))
    ends = spectra.decompose(decoder.layout.views(final), decoder.settings)
    left = float((after - before - changes.sum(0)).norm())
    tables = []
    for matrix in found[UPDATE]:
        names = spectra.component_names(decoder.settings, matrix)
        keys = {"matrix": matrix, "component": names, "chosen": [chosen.get(n, "") for n in names]}
        svds = {part: plain_svd(found[part][matrix]) for part in (*PARTS, UPDATE)}
        random = plain_svd(torch.stack([draw[matrix] for draw in drawn]))
        for about, value, by_chance in _numbers(svds, ends[matrix], random, top):
            keys |= dict(zip(("part", "other", "side", "measure"), about, strict=True))
            numbers = (value.numpy(), np.nan, np.nan, 0), (*band(by_chance.numpy()), draws)
            for against, one in zip(("", RANDOM), numbers, strict=True):
                told = dict(zip(("mean", "low", "high", "count"), one, strict=True))
                tables.append(pd.DataFrame({**keys, "against": against, **told, "noun": "draws"}))
    rows = pd.concat(tables).sort_values("against", kind="stable")
    missed = pd.DataFrame([dict.fromkeys(keys, "") | {"measure": "left_over", "mean": left}])
    return pd.concat([estimates(one, _UNITS, step=step) for one in (rows, missed)])


def summed(
    decoder: Decoder, steps: Iterable[ReplayedStep]
) -> tuple[dict[str, Matrices], Float[Tensor, "C P"]]:
    """Sums of updates over steps in float64; nothing of a single step is kept.

    Returns:
        Changes of every matrix by component and of all (``update``), and of the parameters.
    """
    vectors = torch.zeros(len(COMPONENTS), decoder.layout.size, dtype=torch.float64)
    found: dict[str, dict[str, Tensor]] = {part: {} for part in COMPONENTS}
    for step in steps:
        parts = step.components.stacked()
        vectors += parts
        midway = _stored(decoder, (step.before.theta.double() + step.after.theta.double()) / 2)
        for held, part in zip(found.values(), parts, strict=True):
            for name, change in _with_products(_stored(decoder, part), midway).items():
                held[name] = held.get(name, 0.0) + change
    names = found[PARTS[0]]
    whole = {name: torch.stack([one[name] for one in found.values()]).sum(0) for name in names}
    return {**found, UPDATE: whole}, vectors


def _stored(decoder: Decoder, flat: Float[Tensor, " P"]) -> Matrices:
    return spectra.matrices(decoder.layout.views(flat), decoder.settings)


def _with_products(change: Matrices, at: Matrices) -> Matrices:
    """Changes of matrices, with those of W_QK and W_OV, whose factors are midway at ``at``."""
    return {
        **change,
        "W_QK": change["W_Q"] @ at["W_K"].mT + at["W_Q"] @ change["W_K"].mT,
        "W_OV": change["W_V"] @ at["W_O"] + at["W_V"] @ change["W_O"],
    }


def _random(
    decoder: Decoder,
    change: Float[Tensor, " P"],
    midway: Float[Tensor, " P"],
    draws: int,
    seed: int,
) -> Iterator[Matrices]:
    """Random updates with the norm of the summed one in every stored matrix."""
    generator, at = torch.Generator().manual_seed(seed), _stored(decoder, midway)
    for _ in range(draws):
        drawn = {}
        for name, like in _stored(decoder, change).items():
            normal = torch.randn(like.shape, generator=generator, dtype=torch.float64)
            norms = (part.norm(dim=(1, 2), keepdim=True) for part in (like, normal))
            drawn[name] = normal * torch.div(*norms)
        yield _with_products(drawn, at)


def _numbers(
    parts: Mapping[str, Svd], last: Svd, random: Svd, top: int
) -> Iterator[tuple[tuple[str, str, str, str], Float[Tensor, " N"], Float[Tensor, "K N"]]]:
    """Keys, values and values of random updates of one kind of matrix."""
    for part, svd in parts.items():
        rank, by_chance = (spectra.effective_rank(one.values) for one in (svd, random))
        yield (part, "", "", "effective_rank"), rank, by_chance
        mass, by_chance = (spectra.spectral_mass(one.values, top) for one in (svd, random))
        yield (part, "", "", "spectral_mass"), mass, by_chance
    ended = plain_svd(last.matrix - parts[UPDATE].matrix + random.matrix)
    for side in ("left", "right"):
        ends = {part: _directions(svd, side, top) for part, svd in parts.items()}
        final, drawn, to = (_directions(svd, side, top) for svd in (last, random, ended))
        for part, mine in ends.items():
            yield (part, FINAL, side, "overlap"), overlap(mine, final), overlap(drawn, to)
        pairs = zip(drawn, [*drawn[1:], drawn[0]], strict=True)
        between = torch.stack([overlap(*pair) for pair in pairs])
        for part, other in combinations(PARTS, 2):
            yield (part, other, side, "overlap"), overlap(ends[part], ends[other]), between


def _directions(svd: Svd, side: str, top: int) -> Float[Tensor, "*K N n r"]:
    """Top singular directions of a side; a matrix of zeros has none (NaN)."""
    found: Tensor = getattr(svd, side)[..., :top]
    return torch.where(svd.values[..., :1, None] > 0, found, torch.nan)
