"""The figure of early features, from rows made by hand."""

import numpy as np
import pandas as pd

from circuit.reports import figures_early

HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
MEASURES = [
    ("strength", "", "score"),
    ("gradient_norm", "", "score per parameter unit"),
    ("alignment", "tokens", "1"),
    ("alignment", "shuffled_answers", "1"),
    ("growth", "", "score per step"),
    ("component_share", "momentum", "1"),
    ("own_update_norm", "", "parameter unit"),
    ("own_growth_share", "", "1"),
    ("shared_cosine", "", "1"),
    ("unique_growth", "", "score per step"),
]
BARE = ("gradient_norm", "own_update_norm", "shared_cosine")


def rows(steps=(0, 30, 100, 300, 500)) -> pd.DataFrame:
    """Eight heads under every shown feature; momentum is still 0 at step 0."""
    rng = np.random.default_rng(4)
    found = []
    for step in steps:
        for measure, part, unit in MEASURES:
            values = rng.normal(size=8) * (part != "momentum" or step > 0)
            told = measure not in BARE
            table = {
                "step": step,
                "route": [f"qk_separation {head}" for head in HEADS],
                "head": HEADS,
                "measure": measure,
                "part": part,
                "unit": unit,
                "mean": values,
                "low": values - 0.5 if told else np.nan,
                "high": values + 0.5 if told else np.nan,
                "count": 96 if measure == "strength" else 8,
            }
            found.append(pd.DataFrame(table))
    return pd.concat(found, ignore_index=True)


DRAW = {"route_features": lambda p: figures_early.route_features(rows(), p)}
SAYS = {
    "route_features": [
        "n = 8 candidate routes",
        "n = 96 events",
        "8 chunks of programs",
        "4 of 5 cutoffs",
        "step 500",
        "momentum's share",
        "unique growth",
        "4.5",
        "L1H2",
    ]
}
