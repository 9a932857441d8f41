"""Figures of weights, from rows made by hand."""

import numpy as np
import pandas as pd

from circuit.reports import figures_weights

STEPS = [0, 100, 200, 300, 400, 500, 600, 700]
HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(3)]
MLPS = ["L0MLP", "L1MLP"]
KINDS = {
    **dict.fromkeys(("W_Q", "W_K", "W_V", "W_O", "W_QK", "W_OV"), HEADS),
    **dict.fromkeys(("W_in", "W_out"), MLPS),
}
WINDOWS = {
    "main": {"start": 300, "stop": 500, "found": True},
    "window_1": {"start": 300, "stop": 500, "found": True},
}


def rows() -> pd.DataFrame:
    """Effective ranks that fall at different speeds, and rotations that decay."""
    found = []
    for kind, names in KINDS.items():
        for i, name in enumerate(names):
            for step in STEPS:
                left = np.exp(-step * (i + 1) / 900)
                values = {"effective_rank": 4 + 10 * left}
                for side in ("left", "right"):
                    values[f"rotation_final_{side}"] = 75 * (1 - step / 700)
                    if step:
                        values[f"rotation_previous_{side}"] = 60 * left
                for measure, value in values.items():
                    band = (70.0, 82.0) if "rotation" in measure else (13.5, 14.5)
                    found.append((step, name, kind, measure, value, *band, 20 * len(names)))
    names = ["step", "component", "matrix", "measure", "value"]
    return pd.DataFrame(found, columns=[*names, "baseline_low", "baseline_high", "baseline_count"])


def spectra() -> pd.DataFrame:
    """Singular values that grow apart."""
    found = [
        (step, name, kind, i, np.exp(-i / 5) * (1 + step / 100 * (i < 4)), 0.4, 0.6)
        for kind in ("W_QK", "W_OV")
        for name in HEADS
        for step in STEPS
        for i in range(1, 17)
    ]
    names = ["step", "component", "matrix", "index", "value", "baseline_low", "baseline_high"]
    return pd.DataFrame(found, columns=names)


def patterns() -> pd.DataFrame:
    """Births of every kind, and one stretch of common movement."""
    found = []
    for kind, names in KINDS.items():
        for i, name in enumerate(names):
            for pattern, step in (("compression", 100), ("growth", 400), ("stabilisation", 500)):
                at = step + 100 * (i % 2)
                found.append((name, kind, pattern, at, at - 100, at + 100, 1))
    found.append(("all", "all", "co_movement", 0, 0, 200, 31))
    names = ["component", "matrix", "pattern", "step", "start", "stop", "matrices"]
    return pd.DataFrame(found, columns=names)


DRAW = {
    "effective_rank": lambda p: figures_weights.effective_rank(rows(), p),
    "rotation": lambda p: figures_weights.rotation(rows(), p),
    "spectrum": lambda p: figures_weights.spectrum(rows(), spectra(), p),
    "births": lambda p: figures_weights.births(patterns(), WINDOWS, 700, p),
}
SAYS = {
    "effective_rank": [
        "effective rank",
        "W_QK: L1H2 4.",
        "W_out: L1MLP",
        "training step",
        "n = 40–120 random",
        "layer",
    ],
    "rotation": ["angle (degree)", "W_OV, to the previous", "W_in, to the final", "mean of both"],
    "spectrum": ["singular value (parameter unit²)", "W_QK of L1H2", "W_OV of L1H2", "700"],
    "births": [
        "compression",
        "stabilisation",
        "n = 120 births in weights",
        "31 together",
        "windows of behaviour",
        "W_QK",
    ],
}
