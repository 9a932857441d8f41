"""Figures of functional writes, from rows made by hand."""

import numpy as np
import pandas as pd

from circuit.reports import figures_functional

STEPS = [0, 100, 200, 300, 400, 500]
WRITES = {
    "looked_up": ("L1H2", "layer_1_post_mlp at prediction"),
    "copied": ("L0H1", "layer_1_post_attn at prediction"),
    "first_mlp": ("L0MLP", "layer_0_post_mlp at support_value"),
}
ROLES = ["prediction", "support_value", "value_distractors"]
_PARTS = ("whole", "skip", "mlp")


def _number(mean: float) -> tuple[float, float, float, int]:
    return mean, mean - 0.3, mean + 0.3, 96


def rows() -> pd.DataFrame:
    """Effects that grow; only the first write has two parts, and one has no bottom head."""
    found = []
    for step in STEPS:
        for i, (name, (source, target)) in enumerate(WRITES.items()):
            whole = (3 - i) * step / 500
            skip = whole / 4 if i == 0 else whole
            values = {"whole": whole, "skip": skip, "mlp": whole - skip}
            for part in _PARTS:
                own = (step, name, source, target)
                found.append((*own, "write", part, "logit", *_number(values[part])))
                other = "gradient of another event"
                found.append((*own, other, part, "logit", *_number(0.1 * values[part])))
                if i < 2:
                    control = (step, name, "L1H0", target, "bottom head", part, "logit")
                    found.append((*control, *_number(0.01)))
            found.append((*own, "ablation", "whole", "logit", *_number(whole + 0.5)))
    names = ["step", "write", "source", "target", "of", "part", "unit"]
    return pd.DataFrame(found, columns=[*names, "mean", "low", "high", "count"])


def positions() -> pd.DataFrame:
    """Effects by role at both sides, at every step."""
    found = []
    for step in STEPS:
        for name in WRITES:
            for side, roles in (("target", ROLES), ("source", [*ROLES, "other", "together"])):
                for i, role in enumerate(roles):
                    numbers = _number(step / 500 / (i + 1) - 0.4 * (role == "together"))
                    found.append((step, name, side, role, "logit", *numbers))
    names = ["step", "write", "side", "role", "unit", "mean", "low", "high", "count"]
    return pd.DataFrame(found, columns=names)


def subspaces() -> pd.DataFrame:
    """Overlaps that rise to 1."""
    found = [
        (step, name, source, role, x, max(x - 0.1, 0), min(x + 0.1, 1), 0.8, 0.06, 0.03, 0.1, 96)
        for step in STEPS
        for name, (source, _) in WRITES.items()
        for i, role in enumerate(ROLES)
        for x in [(step / 500) ** (i + 1)]
    ]
    names = ["step", "write", "source", "role", "overlap", "low", "high", "explained"]
    return pd.DataFrame(found, columns=[*names, "chance", "chance_low", "chance_high", "count"])


def values() -> pd.DataFrame:
    """Effects of twelve values, at the first and the last checkpoint."""
    effects = np.random.default_rng(0).normal(2, 1, 12)
    found = [
        (step, name, f"V{i:03d}", "logit", x, x - 0.5, x + 0.5, 5 + i)
        for step in (0, 500)
        for name in WRITES
        for i, x in enumerate(effects * step / 500)
    ]
    names = ["step", "write", "value", "unit", "mean", "low", "high", "count"]
    return pd.DataFrame(found, columns=names)


def spread() -> pd.DataFrame:
    """Values matter for the first write only."""
    found = [
        (step, name, "logit", 2.0, 1.0, 2.0, 0.2 if i == 0 else 0.01, 0.03, 0.0, 12, 126)
        for step in (0, 500)
        for i, name in enumerate(WRITES)
    ]
    names = ["step", "write", "unit", "mean", "between", "within", "share"]
    return pd.DataFrame(found, columns=[*names, "chance_high", "chance", "values", "count"])


DRAW = {
    "write_effect": lambda p: figures_functional.write_effect(rows(), p),
    "write_positions": lambda p: figures_functional.write_positions(positions(), p),
    "write_subspace": lambda p: figures_functional.write_subspace(subspaces(), p),
    "write_values": lambda p: figures_functional.write_values(values(), spread(), p),
}
SAYS = {
    "write_effect": [
        "effect (logit)",
        "looked up: L1H2 →",
        "layer 1 post MLP at prediction",
        "through the MLP",
        "bottom head instead",
        "read for another event",
        "n = 96 events",
    ],
    "write_positions": [
        "At step 500",
        "looked up: read at",
        "looked up: written at",
        "other positions",
        "removed together",
        "effect (logit)",
    ],
    "write_subspace": ["overlap", "looked up: L1H2", "random subspaces", "support value"],
    "write_values": [
        "12 answer values, by effect",
        "share 20.0% (3.0%)",
        "n = 5–16 programs per value",
        "effect (logit)",
    ],
}
