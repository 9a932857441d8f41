"""Predicted against actual change, a dot for every event and interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

from circuit.reports.style import INK, SPARE_COLOURS, picture, words

POINTS = 600  # of an outcome; more are thinned evenly, and the figure says so


def predictions(events: pd.DataFrame, path: str) -> None:
    """Draw a panel for every outcome.

    Args:
        events: outcome, event, start, actual, predicted.
    """
    fitted = events.sort_values(["start", "event"])
    outcomes = list(dict.fromkeys(events["outcome"]))
    per = fitted[fitted["outcome"] == outcomes[0]]
    thin = "" if len(per) <= POINTS else f", {POINTS:,} of them drawn"
    note = (
        f"n = {per['event'].nunique():,} events × {per['start'].nunique():,} checkpoint intervals "
        f"per outcome{thin}. Predictions are cross-validated over events. Dashed: perfect."
    )
    down = -(-len(outcomes) // 2)
    with picture(path, "Predicted against actual change", note, height=0.5 + 2.9 * down) as body:
        panels = body.subplots(down, 2, squeeze=False).flat
        for ax, outcome in zip(panels, outcomes, strict=False):
            rows = fitted[fitted["outcome"] == outcome]
            kept = np.linspace(0, len(rows) - 1, min(len(rows), POINTS)).round().astype(int)
            part = rows.iloc[np.unique(kept)][["actual", "predicted"]]
            ends = [part.min().min(), part.max().max()]
            ax.plot(ends, ends, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
            dots = {"s": 7, "color": SPARE_COLOURS[0], "alpha": 0.3, "linewidth": 0}
            ax.scatter(part["actual"], part["predicted"], **dots)
            ax.set_title(words(outcome))
            ax.set(xlabel="actual change (outcome's unit)", ylabel="predicted change")
            ax.grid(visible=True, axis="both")
        for ax in list(body.axes)[len(outcomes) :]:
            ax.set_axis_off()
