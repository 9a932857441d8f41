"""Figures of transplanted parts from rows made by hand."""

import numpy as np
import pandas as pd

from circuit.reports import figures_compare
from circuit.reports.compare_parts import BRINGS, SUM, TAKES

STAGES = ("embedding", "layer_0_post_attn", "layer_0_post_mlp", "final_norm")
STATES = ("prediction", "support_value", "causal_prefix")
GROUPS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)] + ["embedding", SUM]


def parts(changed: bool = True) -> pd.DataFrame:
    """Rows of a comparison; with nothing changed there are no shares."""
    generator = np.random.default_rng(4)
    keys = [("", "change", "", "", "", "", "")]
    for direction in (BRINGS, TAKES):
        for donor in ("matched", "control"):
            keys += [(direction, "activation", donor, "", "", s, r) for s in STAGES for r in STATES]
        for donor in ("matched", "control", "excess"):
            keys += [(direction, "weight", donor, "head", group, "", "") for group in GROUPS]
    names = ["direction", "kind", "donor", "grouping", "group", "stage", "role"]
    rows = pd.DataFrame(keys, columns=names)
    share = generator.uniform(-0.2, 1.2, len(rows))
    share[0] = 1
    rows = rows.assign(effect=6 * share, effect_low=6 * share - 1, effect_high=6 * share + 1)
    shares = {"fraction": share, "low": share - 0.1, "high": share + 0.1}
    rows = rows.assign(**(shares if changed else dict.fromkeys(shares, np.nan)), count=96)
    measures = ("answer_margin", "correct")
    halves = ("selection", "confirmation", "all")
    frames = [rows.assign(measure=m, half=h) for m in measures for h in halves]
    return pd.concat(frames, ignore_index=True)


DRAW = {
    "activations": lambda p: figures_compare.activations(parts(), p),
    "weights": lambda p: figures_compare.weights(parts(), p),
}
SAYS = {
    "activations": [
        "n = 96 events",
        "(+6.0 logit)",
        "same states of another event",
        "support value",
        "layer 0 post MLP",
        "share of the change (%)",
        "brings: ",
        "takes away: ",
    ],
    "weights": [
        "n = 96 events",
        "95% intervals",
        "random direction (one draw)",
        "grouping: head",
        "L1H2",
        "embedding",
        "share of the change (%)",
    ],
}
