"""Curves and sweep tables made by hand, whose births are known."""

import numpy as np
import pandas as pd

from circuit.estimates import estimates
from circuit.measures.births.sweep_curves import Curve

STEPS = [0, 10, 30, *range(100, 1301, 100)]


def curve(mean, band=0.04, noise=0.0, seed=0, steps=STEPS, **how):
    """A curve with a band of this width around noisy values of a function of steps."""
    steps = np.asarray(steps)
    at = np.array([mean(step) for step in steps], dtype=np.float64)
    at += noise * np.random.default_rng(seed).standard_normal(len(at))
    options = {"name": "accuracy", "unit": "1", "count": 96, **how}
    return Curve(steps=steps, mean=at, low=at - band / 2, high=at + band / 2, **options)


def jump(at, low=0.0, high=1.0):
    """Low before step ``at``, high from there on."""
    return lambda step: high if step >= at else low


def ramp(start, stop, low=0.0, high=1.0):
    """Straight from low at ``start`` to high at ``stop``."""
    return lambda step: low + (high - low) * np.clip((step - start) / (stop - start), 0, 1)


def changes(rows):
    """Rows that no curve may be read off."""
    return rows.assign(against="excess over previous checkpoint", mean=77.0)


def sweep_tables(births, steps=STEPS, width=0.02):
    """A sweep's three tables, in which every curve jumps at its own step (None: it stays)."""

    def level(name, step, low, high):
        at = births.get(name)
        return low if at is None or step < at else high

    rows, stages, components = [], [], []
    for step in steps:
        for split, name in (("iid", "accuracy"), ("heldout", "heldout_accuracy")):
            value = level(name, step, 0.05, 0.95)
            rows.append((step, split, "all", "", "accuracy", value))
            rows.append((step, split, "active_keys", "2", "accuracy", 0.5))
        for name in "qrw":
            rows.append((step, "probes", "all", "", name, level(name, step, 0.1, 0.9)))
        drift = level("drift", step, 1.1, 0.2) if step < steps[-1] else 0.0
        stages.append((step, "final_norm", "prediction", "", "drift_reference", drift))
        stages.append((step, "embedding", "prediction", "", "drift_reference", 5.0))
        effect = level("importance", step, 0.0, 3.0)
        for head, share in (("L0H0", 0.1), ("L1H1", 1.0)):
            components.append((step, head, "prediction", "ablation_effect", share * effect))
        components.append((step, "L0MLP", "prediction", "ablation_effect", 9.0))
        if step > steps[0]:
            ranks = level("ranks", step, 0.1, 0.95)
            components.append((step, "heads", "prediction", "rank_correlation_ablation", ranks))
    keys = (
        ["split", "slice", "slice_value", "measure"],
        ["stage", "role", "target", "measure"],
        ["component", "role", "measure"],
    )
    frames = []
    for part, names in zip((rows, stages, components), keys, strict=True):
        frame = pd.DataFrame(part, columns=["step", *names, "mean"])
        own = (frame["measure"] == "drift_reference") & (frame["mean"] == 0)
        half = np.where(own, 0, width / 2)
        frame = frame.assign(low=frame["mean"] - half, high=frame["mean"] + half, count=96)
        rows = estimates(frame, unit="1", noun="events")
        frames.append(pd.concat([rows, changes(rows)]).sample(frac=1, random_state=0))
    return frames
