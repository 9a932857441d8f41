"""Figures of example gradients, from tables made by hand."""

import numpy as np
import pandas as pd

from circuit.reports import figures_examples

STEPS = (500, 1300)
KEYS = ("K00", "K01", "K02")
VALUES = tuple(f"V{number:03d}" for number in range(14))
EFFECTS = {"query_key": 0.05, "answer_value": 0.15, "lag": 0.0, "split": -0.02, "route": 0.2}


def rows() -> pd.DataFrame:
    """Means with and without every relation; the supported route has nothing net of others."""
    lines = []
    for step in STEPS:
        for name, effect in EFFECTS.items():
            means = {"same": 0.02 + effect, "different": 0.02, "difference": effect}
            means |= {"shuffled": 0.0} | ({} if name == "route" else {"net": 0.9 * effect})
            lines += [(step, name, which, mean) for which, mean in means.items()]
        lines.append((step, "all", "all", 0.03))
    found = pd.DataFrame(lines, columns=["step", "relation", "which", "mean"])
    found = found.assign(low=found["mean"] - 0.01, high=found["mean"] + 0.01)
    return found.assign(measure="cosine", unit="1", pairs=500, reads=48)


def reads() -> pd.DataFrame:
    """Forty-eight reads of three keys, two lags and two splits."""
    number = np.arange(48)
    one = pd.DataFrame(
        {
            "read": number,
            "query_key": np.array(KEYS)[number % 3],
            "lag": 1 + number % 2,
            "split": np.where(number < 24, "train", "heldout_pairs"),
        }
    )
    return pd.concat([one.assign(step=step) for step in STEPS], ignore_index=True)


def cosines() -> dict[int, np.ndarray]:
    """Reads of one key push alike."""
    key = np.arange(48) % 3
    same = (key[:, None] == key).astype(float)
    return dict.fromkeys(STEPS, 0.4 * same - 0.05)


def conflicts() -> pd.DataFrame:
    """Three graphs: few nodes, many, and two."""
    lines = []
    for step in STEPS:
        for relation, groups in (
            ("query_key", KEYS),
            ("answer_value", VALUES),
            ("split", ("heldout_pairs", "train")),
            ("route", ("copying", "looking")),
        ):
            for i, group in enumerate(groups):
                for j, other in enumerate(groups[i:]):
                    mean = 0.1 if j == 0 else -0.06 + 0.02 * ((i * j) % 6)
                    lines.append((step, relation, group, other, mean))
    found = pd.DataFrame(lines, columns=["step", "relation", "group", "other", "mean"])
    found = found.assign(low=found["mean"] - 0.015, high=found["mean"] + 0.015)
    return found.assign(pairs=100, reads=20)


DRAW = {
    "relations": lambda p: figures_examples.relations(rows(), p),
    "gradient_matrix": lambda p: figures_examples.gradient_matrix(cosines(), reads(), p),
    "conflict_graph": lambda p: figures_examples.conflict_graph(conflicts(), p),
}
SAYS = {
    "relations": [
        "mean cosine of gradients",
        "n = 48 reads",
        "95% intervals",
        "answer value",
        "step 1,300",
        "shuffled",
        "net of the others (hollow)",
    ],
    "gradient_matrix": [
        "n = 48 reads by query key",
        "Step 1,300",
        "K01",
        "cosine",
        "1 × 1 pairs",
        "(train, heldout_pairs)",
    ],
    "conflict_graph": [
        "Query keys, step 500",
        "Answer values, step 1,300",
        "mean cosine",
        "95% interval",
        "heldout pairs",
        "looking",
        "the 30 largest",
    ],
}
