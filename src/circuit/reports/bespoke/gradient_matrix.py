"""Cosines of every two reads' gradients as maps, reads by query key, then lag."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.colors import Normalize
from safetensors.numpy import load_file

from circuit.reports.style import DIVERGING, INK, bare, colour_bar, picture, thinned

_MOST = 3  # checkpoints drawn
_CELLS = 96  # of a map's side


def draw(material: Any, path: str) -> None:
    """Draw the matrices of some checkpoints, averaged in cells that hold one key and one lag.

    Args:
        material: with the table ``reads_table`` and the file ``products``.
    """
    reads, products = material.tables["reads_table"], load_file(material.paths["products"])
    steps = thinned(reads["step"].drop_duplicates().tolist(), _MOST)
    one = reads[reads["step"] == steps[0]].reset_index(drop=True)
    # Reads of one split stand together, and a stable order keeps them so.
    order = one.sort_values(["query_key", "lag"], kind="stable").index.to_numpy()
    cell, keys = _cells(one.loc[order, ["query_key", "lag"]])
    maps = {
        step: _averaged(_cosines(products[f"gram_{step}"])[np.ix_(order, order)], cell)
        for step in steps
    }
    side = len(one) / (cell.max() + 1)
    limit = float(np.quantile(np.abs(np.concatenate([m.ravel() for m in maps.values()])), 0.99))
    note = (
        f"n = {len(one):,} reads by query key (labels), within it by lag from least to most, then "
        f"by split ({', '.join(dict.fromkeys(one['split']))}).\nA cell is the mean over some "
        f"{side:.0f} × {side:.0f} pairs, without a read's pair with itself. Blue: alike; red: "
        "opposed; colours end at the 99% quantile."
    )
    title = "Cosine of two reads' gradients, by query key and lag"
    with picture(path, title, note, height=1.15 + 6.9 / max(len(steps), 2)) as body:
        axes = body.subplots(1, len(steps), squeeze=False)[0]
        ends = np.cumsum(keys.to_numpy())
        for ax, step in zip(axes, steps, strict=True):
            image = ax.imshow(maps[step], cmap=DIVERGING, norm=Normalize(-limit or -1, limit or 1))
            for end in ends[:-1]:
                ax.axhline(end - 0.5, color=INK, linewidth=0.5)
                ax.axvline(end - 0.5, color=INK, linewidth=0.5)
            middles = ends - keys.to_numpy() / 2 - 0.5
            ax.set_xticks(middles, keys.index)
            ax.set_yticks(middles, keys.index if ax is axes[0] else [""] * len(keys))
            ax.set_title(f"Step {step:,}")
            bare(ax)
        axes[0].set(xlabel="query key", ylabel="query key")
        colour_bar(image, list(axes), "cosine", aspect=18, shrink=0.8)


def _cosines(gram: Float[np.ndarray, "N N"]) -> Float[np.ndarray, "N N"]:
    """Cosines of vectors from their inner products; 0 where a vector is 0."""
    length = np.sqrt(gram.diagonal())
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    found: Float[np.ndarray, "N N"] = gram * scale[:, None] * scale
    return found


def _cells(ordered: pd.DataFrame) -> tuple[np.ndarray, pd.Series]:
    """The cell of every read, none across two keys or lags; and the number of cells per key."""
    size = max(1, -(-len(ordered) // _CELLS))
    part = ordered.groupby(["query_key", "lag"], sort=False).cumcount() // size
    cell = ordered.assign(part=part).groupby(["query_key", "lag", "part"], sort=False).ngroup()
    return cell.to_numpy(), cell.groupby(ordered["query_key"]).nunique()


def _averaged(matrix: Float[np.ndarray, "N N"], cell: np.ndarray) -> Float[np.ndarray, "c c"]:
    """Means over cells without the diagonal; a cell of one read's own pair is 0."""
    member = (np.arange(cell.max() + 1)[:, None] == cell).astype(float)
    other = 1 - np.eye(len(matrix))
    pairs = member @ other @ member.T
    sums: Float[np.ndarray, "c c"] = member @ (matrix * other) @ member.T / np.maximum(pairs, 1)
    return sums
