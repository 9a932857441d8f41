"""Synthetic tables of an attribution to data, shaped like a real run."""

from __future__ import annotations

import numpy as np
import pandas as pd
from report_frames import rise

UNITS = {"route": "score", "margin": "logit"}
GROUPS = ("K00", "K01", "K02", "K03", "other_tokens")
_PARTS = {"route": (1.1, 2.4, 0.9, -0.6, 2.0), "margin": (0.3, 0.6, 0.2, 0.4, -1.1)}
_SHARES = (0.03, 0.028, 0.027, 0.025, 0.89)


def rows(groups: int = len(GROUPS)) -> pd.DataFrame:
    """Attributions of 400 steps under two path rules; with more groups, small ones are added."""
    steps = np.arange(500, 900)
    speed = np.diff(rise(np.append(steps, 900), 1.0, 650, 40))
    frames = []

    def add(rule, scalar, component, group, total):
        labels = {"path_rule": rule, "scalar": scalar, "component": component, "data_group": group}
        frames.append(pd.DataFrame({"step": steps, **labels, "attribution": total * speed}))

    for rule, off in (("trapezoid", 1e-4), ("left", 0.3)):
        for scalar, totals in _PARTS.items():
            small = [0.01 * (i + 1) for i in range(groups - len(GROUPS))]
            names = (*GROUPS, *(f"V{i:03d}" for i in range(len(small))))
            for name, total in zip(names, (*totals, *small), strict=True):
                add(rule, scalar, "current_gradient", name, 0.25 * total)
                add(rule, scalar, "momentum", name, 0.75 * total)
                add(rule, scalar, "raw_sgd", name, 0.01 * total)
                add(rule, scalar, "clipped_sgd", name, 0.005 * total)
            add(rule, scalar, "momentum", "before_window", 0.02)
            add(rule, scalar, "weight_decay", "", -0.3)
            add(rule, scalar, "rounding", "", 1e-6)
            if scalar == "margin":
                add(rule, scalar, "branch_switch", "", -0.05)
            add(rule, scalar, "residual", "", off)
    return pd.concat(frames, ignore_index=True)


def values(of: pd.DataFrame) -> pd.DataFrame:
    """Growth that the rows of the first path rule sum to."""
    main = of[(of["path_rule"] == "trapezoid") & ~of["component"].isin(["raw_sgd", "clipped_sgd"])]
    growth = main.groupby(["step", "scalar"], sort=False)["attribution"].sum().reset_index()
    growth = growth.rename(columns={"attribution": "growth"})
    after = growth.groupby("scalar")["growth"].cumsum()
    return growth.assign(before=after - growth["growth"], after=after)


def first_order() -> pd.DataFrame:
    """Measures at five checkpoints; other tokens hold no answer, so no control."""
    found = []

    def add(step, scalar, group, measure, unit, mean, spread):
        low, high = mean - spread, mean + spread
        found.append((step, scalar, group, measure, unit, mean, low, high, 256))

    for step in (500, 600, 700, 800, 900):
        for group, share in zip(GROUPS, _SHARES, strict=True):
            add(step, "", group, "share_of_targets", "share", share, 0.003)
        for scalar, totals in _PARTS.items():
            rate = f"{UNITS[scalar]} per unit of learning rate"
            late = 1.2 - (step - 500) / 400
            for group, total, share in zip(GROUPS, totals, _SHARES, strict=True):
                add(step, scalar, group, "push", rate, 20 * total * late, 4.0)
                add(step, scalar, group, "contribution", rate, 20 * total * late * share, 0.2)
                add(step, scalar, group, "alignment", "1", 0.3 * total * late, 0.08)
                if group != "other_tokens":
                    add(step, scalar, group, "push_shuffled_answers", rate, -30.0, 9.0)
                    add(step, scalar, group, "alignment_shuffled_answers", "1", -0.3, 0.1)
    columns = ["step", "scalar", "data_group", "measure", "unit", "mean", "low", "high", "count"]
    return pd.DataFrame(found, columns=columns)


def removal() -> pd.DataFrame:
    """Predictions that are missed by more where more is taken out."""
    found = []
    for scalar, totals in _PARTS.items():
        for group, total in zip(GROUPS, totals, strict=True):
            for share in (0.01, 0.1, 1.0):
                said = -0.004 * total * share
                found.append(
                    {
                        "step": 500,
                        "scalar": scalar,
                        "unit": UNITS[scalar],
                        "data_group": group,
                        "share": share,
                        "attributed": said,
                        "actual_held": said * (1 + 0.05 * share),
                        "predicted": 0.9 * said,
                        "actual": 0.9 * said * (1 + 0.08 * share),
                        "parameters_missed_held": 1e-11,
                        "parameters_missed": 0.08 * share,
                    }
                )
    return pd.DataFrame(found)
