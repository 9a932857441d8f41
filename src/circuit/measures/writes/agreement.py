"""Whether a scalar goes with what the model achieves: three correlations. No torch here.

Pearson's correlation of every scalar, as it is, with every outcome

1. over ``checkpoints``: of the two mean curves;
2. over ``intervals``: of their changes between neighbouring checkpoints, which curves that merely
   both rise do not share;
3. over ``events``, at the last checkpoint.

Intervals resample events, both curves together. Over checkpoints they therefore say how sure the
two curves are, not how many independent ones there are: all rising curves correlate, and a control
head's correlation is the level to compare with.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.estimates import estimates
from circuit.measures.writes.measured import Progress
from circuit.measures.writes.names import OUTCOMES, SCALARS
from circuit.statistics import correlations, draws, told


def outcome_correlations(progress: Progress, seed: int = 0) -> pd.DataFrame:
    """Every scalar with every outcome, over checkpoints, intervals and events.

    Estimates by head, scalar, outcome and over; ``count`` is of what it is over. A ``correlation``
    is missing where one of the two does not vary.
    """
    steps, events = len(progress.steps), progress.values.shape[-1]
    # The measured events come first, then their resamples.
    weights = draws(events, seed) / events
    scalars = progress.real.reshape(steps, -1, events)
    curves = np.moveaxis(scalars @ weights.T, 0, -1)
    names = [(head, scalar) for head in progress.heads for scalar in SCALARS]
    frames = []
    for number, outcome in enumerate(OUTCOMES):
        achieved = progress.outcomes[:, number]
        curve = (achieved @ weights.T).T
        found = {
            "checkpoints": (_of_curves(curves, curve), steps),
            "intervals": (_of_curves(np.diff(curves), np.diff(curve)), steps - 1),
            "events": (_of_events(scalars[-1], achieved[-1], weights), events),
        }
        for over, (drawn, count) in found.items():
            frame = pd.DataFrame(names, columns=["head", "scalar"])
            frame = frame.assign(outcome=outcome, over=over)
            frame["mean"], frame["low"], frame["high"] = told(drawn.T)
            frames.append(frame.assign(count=count, noun=over))
    last = progress.steps[-1]
    return estimates(pd.concat(frames, ignore_index=True), "1", step=last, measure="correlation")


def _of_curves(
    curves: Float[np.ndarray, "K R S"], curve: Float[np.ndarray, "R S"]
) -> Float[np.ndarray, "K R"]:
    """Correlation over the last axis of each of K curves with one, resample by resample."""
    beside = np.broadcast_to(curve, curves.shape)
    flat = (part.reshape(-1, curve.shape[-1]) for part in (curves, beside))
    return correlations(*flat).reshape(curves.shape[:2])


def _of_events(
    x: Float[np.ndarray, "K E"], y: Float[np.ndarray, " E"], weights: Float[np.ndarray, "R E"]
) -> Float[np.ndarray, "K R"]:
    """Correlation over events of each of K scalars with an outcome, in weighted resamples."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean()
    mean_x, mean_y = x @ weights.T, weights @ y
    together = (x * y) @ weights.T - mean_x * mean_y
    spread = ((x * x) @ weights.T - mean_x**2) * (weights @ (y * y) - mean_y**2)
    none = np.full_like(together, np.nan)
    root = np.sqrt(np.maximum(spread, 0))
    found: Float[np.ndarray, "K R"] = np.divide(together, root, out=none, where=root > 0)
    return found
