"""Figures of what was foretold, from features and births made by hand."""

import numpy as np
import pandas as pd

from circuit.measures.replication.foretold import scores, verdicts
from circuit.measures.replication.selection import RANKED, predictions
from circuit.reports import figures_selection

HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
STEPS = (0, 100, 300)
RUNS = ("seed7", "seed11", "seed13")


def births() -> pd.DataFrame:
    """The last three heads are born, one of them between the cutoffs; the others never."""
    step = np.array([np.nan] * 5 + [100.0, 600.0, 600.0])
    return pd.DataFrame(
        {
            "head": HEADS,
            "born": ~np.isnan(step),
            "step": step,
            "order": pd.Series(step).rank(na_option="bottom"),
            "level": 2.0,
            "final": np.where(np.isnan(step), 0.1, 7.0) + np.arange(8) / 10,
            "low": np.where(np.isnan(step), -0.4, 6.5) + np.arange(8) / 10,
            "high": np.where(np.isnan(step), 0.6, 7.5) + np.arange(8) / 10,
            "count": 96,
        }
    )


def features(seed: int, foresight: float) -> pd.DataFrame:
    """Features that follow the heads' numbers, and with them the births, as much as asked."""
    rng = np.random.default_rng(seed)
    found = []
    for step in STEPS:
        for name in (*RANKED, "gradient_norm", "shared_cosine"):
            measure, _, part = name.rstrip(")").partition(" (")
            weight = foresight if name in RANKED and name != "strength" else 0.0
            values = weight * np.arange(8) + rng.normal(size=8)
            base = {"step": step, "measure": measure, "part": part}
            found.append(pd.DataFrame({**base, "head": HEADS, "mean": values}))
    return pd.concat(found, ignore_index=True)


def study():
    """Rows, scores, verdicts and births of three runs."""
    rows = [
        predictions(features(i, foresight=0.3), births()).assign(run=run)
        for i, run in enumerate(RUNS)
    ]
    table = pd.concat(rows, ignore_index=True)
    found = scores(table, 0)
    born = pd.concat([births().assign(run=run) for run in RUNS])
    return table, found, verdicts(found, STEPS), born


ROWS, SCORED, TOLD, BORN = study()
DRAW = {
    "predicted_order": lambda p: figures_selection.predicted_order(ROWS, BORN, p),
    "selection_scores": lambda p: figures_selection.selection_scores(SCORED, TOLD, p),
}
SAYS = {
    "predicted_order": [
        "n = 3 runs of up to 8 candidates",
        "L1H1 · 100",
        "L1H3 · 600",
        "L0H0 · never",
        "cutoff (training step)",
        "seed11",
    ],
    "selection_scores": [
        "n = 3 runs",
        "95% intervals",
        "random orders",
        "rank correlation",
        "gradient norm",
        "layer",
        "shared cosine",
        "Rank correlation of each feature",
        "runs (%)",
    ],
}
