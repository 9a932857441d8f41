"""When features live: how many are active, born and gone at every checkpoint."""

from __future__ import annotations

import numpy as np
import pandas as pd

from circuit.reports import style

_TICKS = 16
_SILENT = "silent at the end"


def feature_births(rows: pd.DataFrame, features: pd.DataFrame, path: str) -> None:
    """Draw how many features are alive, and which are born and gone at every checkpoint.

    Args:
        rows: estimates of ``dead_share``.
        features: feature, against, born, gone, role, label.
    """
    features = features[features["against"] == ""]
    dead = rows[rows["measure"] == "dead_share"].set_index("step")["mean"].sort_index()
    places, steps = range(len(dead)), dead.index
    never = int(features["born"].isna().sum())
    note = (
        f"n = {len(features):,} features, {never:,} of them never active. Bars up: born, first "
        "active; bars down: gone, never active again.\nColour: what a feature fires on at the "
        "last checkpoint, the label that explains most of its activation."
    )
    where = (" at " + features["role"].map(style.words)).where(features["role"] != "everywhere", "")
    kinds = (features["label"].map(style.words) + where).where(features["label"] != "", _SILENT)
    with style.picture(path, "When features are born", note, height=4.4) as body:
        top, bottom = body.subplots(2, 1, sharex=True, height_ratios=[1, 2])
        top.plot(places, len(features) * (1 - dead), color=style.INK, marker="o", markersize=2.6)
        top.set_ylabel("active (1)")
        top.set_ylim(bottom=0)
        for sign, at in ((1, features["born"]), (-1, features["gone"])):
            base = np.zeros(len(dead))
            for i, (kind, part) in enumerate(at.groupby(kinds)):
                height = sign * part.value_counts().reindex(steps, fill_value=0).to_numpy()
                colour = style.FAINT if kind == _SILENT else style.spare_colour(i)
                bar = {"color": colour, "label": kind if sign > 0 else None, "width": 0.8}
                bottom.bar(places, height, bottom=base, **bar)
                base += height
        bottom.axhline(0, color=style.SOFT, linewidth=0.8)
        bottom.set_ylabel("features (1)")
        shown = style.every_nth(len(dead), _TICKS)
        bottom.set_xticks(shown, [f"{steps[i]:,}" for i in shown])
        bottom.set_xlabel("checkpoint (training step)")
        style.side_legend(bottom, "fires on", fontsize=7.5)
