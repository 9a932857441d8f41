"""Figures of the progress of write scalars: synthetic rows of a run that learns."""

import numpy as np
import pandas as pd
from report_frames import HEADS, ROLES, STEPS, rise

from circuit.measures.writes.names import CONDITIONS, MODEL, OUTCOMES, PARTS, SCALARS
from circuit.reports import figures_progress

TOPS = {"L1H2": 3.0, "L1H0": 0.5, "L0H3": 0.02}


def rows() -> pd.DataFrame:
    """Every scalar rises with its head; attention that is forced makes it rise earlier."""
    found = []
    for head in HEADS:
        for scalar in SCALARS:
            for attention, values in CONDITIONS:
                top = TOPS.get(head, -0.1) if values == "real" else -0.1
                late = 1000 if attention == "real" else 900
                for step, mean in zip(STEPS, rise(STEPS, top, late, 90), strict=True):
                    place = (step, head, scalar, attention, values, "logit")
                    found.append((*place, mean, mean - 0.1, mean + 0.1, 96))
    for outcome, unit in OUTCOMES.items():
        top, start = (0.0, -4.0) if unit == "nat" else (12.0, 0.0)
        for step, mean in zip(STEPS, rise(STEPS, top, 600, 150, start), strict=True):
            place = (step, MODEL, outcome, "real", "real", unit)
            found.append((*place, mean, mean - 0.2, mean + 0.2, 96))
    numbers = ["mean", "low", "high", "count"]
    names = ["step", "head", "scalar", "attention", "values", "unit"]
    return pd.DataFrame(found, columns=[*names, *numbers])


def births() -> pd.DataFrame:
    named = [(head, scalar) for head in HEADS for scalar in SCALARS]
    table = pd.DataFrame(
        [*named, *((MODEL, name) for name in OUTCOMES)], columns=["head", "scalar"]
    )
    found = table["head"].isin(["L1H2", MODEL])
    return table.assign(method="threshold", found=found, step=np.where(found, 1000.0, np.nan))


def parts() -> pd.DataFrame:
    shares = dict(zip(PARTS, (-0.05, 0.5, 0.52, 0.03, 1.0), strict=True))
    found = [
        (head, scalar, part, top * shares[part], 96)
        for head, top in TOPS.items()
        for scalar in SCALARS
        for part in PARTS
    ]
    return pd.DataFrame(found, columns=["head", "scalar", "part", "mean", "count"])


def correlations() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    found = [
        (head, scalar, outcome, "checkpoints", r, r - 0.1, min(r + 0.1, 1), len(STEPS))
        for head in TOPS
        for scalar in SCALARS
        for outcome in OUTCOMES
        for r in [0.8 if head == "L1H2" else rng.uniform(-0.5, 0.5)]
    ]
    keys = ["head", "scalar", "outcome", "over"]
    return pd.DataFrame(found, columns=[*keys, "correlation", "low", "high", "count"])


def verdicts() -> pd.DataFrame:
    found = [
        (head, scalar, half, (head, scalar) == ("L1H2", "head_value_over_mean_dla"))
        for head in TOPS
        for scalar in SCALARS
        for half in ("selection", "confirmation", "all")
    ]
    return pd.DataFrame(found, columns=["head", "scalar", "half", "fit"])


DRAW = {
    "progress": lambda p: figures_progress.progress(rows(), births(), ROLES, p),
    "progress_conditions": lambda p: figures_progress.progress_conditions(rows(), "L1H2", p),
    "fitness": lambda p: figures_progress.fitness(
        parts(), correlations(), verdicts(), ROLES, 0.5, p
    ),
}
SAYS = {
    "progress": [
        "What every head writes, by six scalars",
        "n = 96 events per step",
        "95% intervals over events",
        "DLA margin, moving rival",
        "Outcomes of the model",
        "L1H2 winner",
        "L0H3 bottom",
        "training step",
        "(nat)",
    ],
    "progress_conditions": [
        "What L1H2 writes",
        "attention forced onto the support value",
        "values of other events",
        "should stay at 0",
        "support mass × OV lens margin",
        "logit",
    ],
    "fitness": [
        "Which scalar of L1H2 and L0H3 is fit to be attributed",
        "n = 96 events",
        "dashed bound is 0.5",
        "L1H2 winner",
        "growth (logit)",
        "correlation over checkpoints",
        "negative answer loss",
        "elsewhere",
    ],
}
