"""Figures of a sweep's stages and components, from tables in the shape of a small run's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import report_frames as frames

from circuit.reports import figures_sweep

STAGES = ["embedding", *(f"layer_{n}_post_{s}" for n in (0, 1) for s in ("attn", "mlp"))]
STAGES += ["final_norm"]
_NUMBERS = ["mean", "low", "high", "count", "delta"]


def stages() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    rows = []

    def add(step, stage, role, target, measure, mean, spread, count):
        mean += spread / 4 * rng.standard_normal()
        row = (step, stage, role, target, measure, mean, mean - spread, mean + spread, count, 0.0)
        rows.append(row)

    labels = {
        "prediction": ("query_key", "answer", "stale_value"),
        "support_value": ("query_key", "answer", "stale_value", "latest"),
    }
    for step in frames.STEPS:
        for i, stage in enumerate(STAGES):
            for role, targets in labels.items():
                for target in targets:
                    top = 0.2 + 0.15 * i
                    accuracy = frames.rise(step, top, 600 + 40 * i, 80, 0.05)
                    add(step, stage, role, target, "probe_accuracy", accuracy, 0.03, 580)
                    add(step, stage, role, target, "probe_control", 0.04, 0.01, 580)
                away = 1.4 * (1 - step / 1500) * (1 + 0.1 * i)
                add(step, stage, role, "", "drift_reference", away, 0.02, 96)
                if step > 0:
                    moved = 1.5 * np.exp(-step / 300) + 0.1 * i
                    add(step, stage, role, "", "drift_previous", moved, 0.02, 96)
            lens = frames.rise(step, 0.19 * i, 650, 80, 0.03)
            add(step, stage, "prediction", "", "lens_accuracy", lens, 0.05, 96)
            add(step, stage, "prediction", "", "lens_margin", 8 * lens - 3, 0.3, 96)
    return pd.DataFrame(rows, columns=["step", "stage", "role", "target", "measure", *_NUMBERS])


def components() -> pd.DataFrame:
    rng = np.random.default_rng(12)
    names = [*frames.HEADS[:4], "L0MLP", *frames.HEADS[4:], "L1MLP"]
    tops = dict(zip(names, (0.3, 2.0, 0.1, 1.2, 3.0, 0.2, 0.4, 6.0, -0.2, 2.5), strict=True))
    rows = []
    for step in frames.STEPS:
        for name in names:
            effect = frames.rise(step, tops[name], 620, 70) + 0.05 * rng.standard_normal()
            found = {"ablation_effect": effect, "answer_contribution": effect / 3}
            if "H" in name:
                found["attention_support_value"] = 0.05 + abs(effect) / 8
                found["attention_query_key"] = 0.05
            for measure, mean in found.items():
                rows.append(
                    (step, name, "prediction", measure, mean, mean - 0.1, mean + 0.1, 96, 0)
                )
        if step > 0:
            for measure in ("rank_correlation_ablation", "rank_correlation_support"):
                mean = float(frames.rise(step, 0.95, 300, 100))
                row = (step, "heads", "prediction", measure, mean, mean - 0.3, mean + 0.03, 96, 0)
                rows.append(row)
    return pd.DataFrame(rows, columns=["step", "component", "role", "measure", *_NUMBERS])


DRAW = {
    "probes": lambda path: figures_sweep.probes(stages(), path),
    "lens": lambda path: figures_sweep.lens(stages(), 32, path),
    "drift": lambda path: figures_sweep.drift(stages(), 1500, path),
    "localisation": lambda path: figures_sweep.localisation(components(), path),
    "ablations": lambda path: figures_sweep.ablations(components(), path),
}
SAYS = {
    "probes": [
        "probe accuracy (% of reads)",
        "n = 580 reads of programs that did not fit",
        "fitted on shuffled labels",
        "The answer, at prediction",
        "layer 1 post attn",
    ],
    "lens": [
        "margin (logit)",
        "n = 96 events per step",
        "a guess, 1 in 32",
        "layer 1 post MLP",
    ],
    "drift": [
        "relative distance",
        "n = 96 events",
        "from the previous checkpoint's",
        "from step 1,500's",
        "final norm",
    ],
    "localisation": [
        "attention (probability)",
        "To the support value",
        "To the query key",
        "L1H2",
        "n = 96 events",
    ],
    "ablations": [
        "ablation effect (logit)",
        "rank correlation",
        "against the previous checkpoint",
        "L1H2",
        "L0MLP",
        "n = 96 events",
    ],
}
