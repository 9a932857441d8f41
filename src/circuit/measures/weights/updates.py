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

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.config.terms import COMPONENTS
from circuit.estimates import estimates, with_controls
from circuit.measures.states.alignment import overlap
from circuit.measures.weights.spectra import (
    Svd,
    component_names,
    decompose,
    effective_rank,
    matrices,
    plain_svd,
    require_top,
    spectral_mass,
)
from circuit.model.transformer import Decoder
from circuit.statistics import band
from circuit.training.replay import ReplayedStep

PARTS = ("current_gradient", "momentum", "weight_decay")
UPDATE, FINAL, RANDOM = "update", "final matrix", "random updates"
_UNITS = {"effective_rank": "1", "spectral_mass": "share", "overlap": "share"}
_CONTROL = {RANDOM: ("random", "random_low", "random_high")}

Matrices = Mapping[str, Float[Tensor, "N m n"]]


def product_changes(change: Matrices, at: Matrices) -> dict[str, Float[Tensor, "N d d"]]:
    """Change of W_QK and W_OV with changes of their factors, which are midway at ``at``."""
    return {
        "W_QK": change["W_Q"] @ at["W_K"].mT + at["W_Q"] @ change["W_K"].mT,
        "W_OV": change["W_V"] @ at["W_O"] + at["W_V"] @ change["W_O"],
    }


class UpdateSums:
    """Sums over replayed steps, float64: nothing of a single step is kept.

    Attributes:
        vectors: of every component in the order of ``COMPONENTS``, [C, P].
        products: of every component, W_QK and W_OV.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.vectors = torch.zeros(len(COMPONENTS), decoder.layout.size, dtype=torch.float64)
        self.products: list[dict[str, Tensor]] = [{} for _ in COMPONENTS]

    def _matrices(self, flat: Float[Tensor, " P"]) -> dict[str, Tensor]:
        return matrices(self.decoder.layout.views(flat), self.decoder.settings)

    def see(self, step: ReplayedStep) -> None:
        """Add one step."""
        parts = step.components.stacked()
        self.vectors += parts
        midway = self._matrices((step.before.theta.double() + step.after.theta.double()) / 2)
        for held, part in zip(self.products, parts, strict=True):
            for name, change in product_changes(self._matrices(part), midway).items():
                held[name] = held.get(name, 0.0) + change

    def matrices(self) -> dict[str, dict[str, Tensor]]:
        """Summed changes by part and matrix; ``update`` is the sum of all components."""
        found = {
            part: {**self._matrices(vector), **products}
            for part, vector, products in zip(COMPONENTS, self.vectors, self.products, strict=True)
        }
        names = found[COMPONENTS[0]]
        whole = {
            name: torch.stack([found[part][name] for part in COMPONENTS]).sum(0) for name in names
        }
        return {**{part: found[part] for part in PARTS}, UPDATE: whole}

    def random(self, midway: Float[Tensor, " P"], seed: int, draws: int) -> Iterator[Matrices]:
        """Random updates with the norm of the summed one in every stored matrix."""
        generator, at = torch.Generator().manual_seed(seed), self._matrices(midway)
        sizes = self._matrices(self.vectors.sum(0))
        for _ in range(draws):
            change = {}
            for name, like in sizes.items():
                drawn = torch.randn(like.shape, generator=generator, dtype=torch.float64)
                norms = (part.norm(dim=(1, 2), keepdim=True) for part in (like, drawn))
                change[name] = drawn * torch.div(*norms)
            yield {**change, **product_changes(change, at)}


def update_geometry(
    sums: UpdateSums,
    midway: Float[Tensor, " P"],
    final: Float[Tensor, " P"],
    chosen: Mapping[str, str],
    asked: tuple[int, int, int],
    step: int,
) -> pd.DataFrame:
    """Estimates by matrix, component, part, other and side; exact but for random updates.

    Args:
        midway: parameters midway between the window's ends; ``final``: at the last checkpoint.
        chosen: head → what a scan chose it as.
        asked: number of top directions, draws of random updates, and their seed.
        step: the window's last.
    """
    decoder, (top, draws, seed) = sums.decoder, asked
    require_top(decoder.settings, top)
    parts = {
        part: {name: plain_svd(matrix) for name, matrix in found.items()}
        for part, found in sums.matrices().items()
    }
    last = decompose(decoder.layout.views(final.double()), decoder.settings)
    random = [
        {name: plain_svd(matrix) for name, matrix in found.items()}
        for found in sums.random(midway, seed, draws)
    ]
    rows = []
    for matrix in parts[UPDATE]:
        names = component_names(decoder.settings, matrix)
        mine = {part: found[matrix] for part, found in parts.items()}
        for about, value, drawn in _numbers(mine, last[matrix], [r[matrix] for r in random], top):
            keys = {"matrix": matrix, "component": names, **about}
            control = dict(zip(_CONTROL[RANDOM], band(torch.stack(drawn).numpy()), strict=True))
            numbers = {"mean": value.numpy(), "low": np.nan, "high": np.nan, **control}
            rows.append(pd.DataFrame({**keys, **numbers}))
    table = pd.concat(rows, ignore_index=True)
    table.insert(2, "chosen", [chosen.get(name, "") for name in table["component"]])
    table = with_controls(table, _CONTROL)
    table["count"] = np.where(table["against"] == RANDOM, draws, 0)
    return estimates(table, _UNITS, "draws", step=step)


def _numbers(
    parts: Mapping[str, Svd], last: Svd, random: Sequence[Svd], top: int
) -> Iterator[tuple[dict[str, Any], Float[Tensor, " N"], list[Float[Tensor, " N"]]]]:
    """Keys, values and values of random updates of one kind of matrix."""
    for part, svd in parts.items():
        about = {"part": part, "other": "", "side": ""}
        ranks = [effective_rank(draw.values) for draw in random]
        yield {**about, "measure": "effective_rank"}, effective_rank(svd.values), ranks
        masses = [spectral_mass(draw.values, top) for draw in random]
        yield {**about, "measure": "spectral_mass"}, spectral_mass(svd.values, top), masses
    rest = last.matrix - parts[UPDATE].matrix
    ended = [plain_svd(rest + draw.matrix) for draw in random]
    for side in ("left", "right"):
        about = {"side": side, "measure": "overlap"}
        ends = {part: _directions(svd, side, top) for part, svd in parts.items()}
        drawn = [_directions(svd, side, top) for svd in random]
        end = _directions(last, side, top)
        to_final = [
            overlap(draw, _directions(svd, side, top))
            for draw, svd in zip(drawn, ended, strict=True)
        ]
        for part in parts:
            yield {"part": part, "other": FINAL, **about}, overlap(ends[part], end), to_final
        between = [overlap(*pair) for pair in zip(drawn, drawn[1:] + drawn[:1], strict=True)]
        for part, other in combinations(PARTS, 2):
            yield {"part": part, "other": other, **about}, overlap(ends[part], ends[other]), between


def _directions(svd: Svd, side: str, top: int) -> Float[Tensor, "N n r"]:
    """Top singular directions of a side; a matrix of zeros has none (NaN)."""
    found: Tensor = getattr(svd, side)[..., :top]
    return torch.where(svd.values[:, :1, None] > 0, found, torch.nan)
