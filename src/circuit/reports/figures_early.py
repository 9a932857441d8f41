"""The figure of early features: how each of them ranks the candidate routes at every cutoff."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from circuit.reports.style import SEQUENTIAL, need, picture, readable_on, thinned, words

StrPath = str | os.PathLike[str]

_SHOWN = {
    ("strength", ""): "strength",
    ("gradient_norm", ""): "gradient norm",
    ("alignment", "tokens"): "alignment",
    ("growth", ""): "growth",
    ("component_share", "momentum"): "momentum's share",
    ("own_update_norm", ""): "own update norm",
    ("own_growth_share", ""): "own growth share",
    ("shared_cosine", ""): "shared cosine",
    ("unique_growth", ""): "unique growth",
}
_PANELS = 4


def route_features(rows: pd.DataFrame, path: StrPath) -> None:
    """Draw the rank of every route under every feature, one panel per cutoff.

    Args:
        rows: of :class:`circuit.measures.routes.early.Features`.
    """
    need(rows, ("step", "head", "measure", "part", "mean", "count"), "features of routes")
    keys = list(zip(rows["measure"], rows["part"], strict=True))
    shown = rows.assign(feature=[_SHOWN.get(key) for key in keys]).dropna(subset="feature")
    need(shown, ("step", "head"), "features of routes")
    every = sorted(set(shown["step"]))
    steps = thinned(every, _PANELS)
    heads = sorted(set(shown["head"]))
    chunks = int(rows.loc[rows["measure"] == "growth", "count"].iloc[0])
    events = int(rows.loc[rows["measure"] == "strength", "count"].iloc[0])
    note = (
        f"1 (dark): largest of n = {len(heads)} candidate routes, one per head; equal values share "
        f"their mean rank. Values and intervals are in the rows.\nStrengths over n = {events} "
        f"events, losses over {chunks} chunks of programs. {len(steps)} of {len(every)} cutoffs."
    )
    title = "How features from before a cutoff rank the candidate routes"
    with picture(path, title, note, height=2.35 + 0.2 * len(heads)) as body:
        axes = body.subplots(1, len(steps), sharey=True, squeeze=False)[0]
        for ax, step in zip(axes, steps, strict=True):
            table = shown[shown["step"] == step].pivot(
                index="head", columns="feature", values="mean"
            )
            names = [name for name in _SHOWN.values() if name in table]
            ranks = table.loc[heads, names].rank(ascending=False)
            _ranks(ax, ranks)
            ax.set_title(f"step {step:,}")
        axes[0].set_yticks(range(len(heads)), heads)
        axes[0].set_ylabel("route (its head)")


def _ranks(ax: Axes, ranks: pd.DataFrame) -> None:
    """A map of ranks, each written in its cell."""
    dark = 1 - (ranks.to_numpy() - 1) / max(len(ranks) - 1, 1)
    ax.imshow(0.85 * dark, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    for (y, x), rank in np.ndenumerate(ranks.to_numpy()):
        colour = to_hex(SEQUENTIAL(0.85 * dark[y, x]))
        ax.text(x, y, f"{rank:g}", ha="center", va="center", size=6, color=readable_on(colour))
    ax.set_xticks(range(ranks.shape[1]), [words(name) for name in ranks], rotation=90, fontsize=7)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
