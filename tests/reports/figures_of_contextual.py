"""Figures of contextual geometry, drawn from small made-up tables."""

from itertools import combinations, product

import numpy as np
import pandas as pd

from circuit.reports import figures_contextual as figures

STEPS = (0, 500, 1300)
CELLS = tuple(product(("prediction", "support_value"), ("query_key", "answer")))
SITES = ("embedding", "layer_0_post_attn", "layer_0_post_mlp", "final_norm")
HEADS = {"winner": "L1H2", "runner_up": "L0H3", "bottom": "L1H1"}
SIDES = {
    "qk_query": "prediction",
    "qk_key": "support_value",
    "ov_input": "support_value",
    "ov_output": "prediction",
}


def _measured(mean: np.ndarray) -> dict[str, np.ndarray | int]:
    return {
        "mean": mean,
        "low": mean - 0.02,
        "high": mean + 0.02,
        "count": 580,
        **{f"{c}{end}": 0.06 + by for c in ("shuffled", "random") for end, by in _ENDS.items()},
    }


_ENDS = {"": 0.0, "_low": -0.02, "_high": 0.03}


def separability_rows() -> pd.DataFrame:
    """Probe accuracy that grows over steps and stages."""
    keys = [
        (step, site, role, group, "full", "probe_accuracy")
        for step, site, (role, group) in product(STEPS, SITES, CELLS)
    ]
    names = ["step", "site", "role", "group", "space", "measure"]
    frame = pd.DataFrame(keys, columns=names)
    late = frame["step"] / max(STEPS) * frame["site"].map(SITES.index) / len(SITES)
    return frame.assign(**_measured(0.05 + late.to_numpy()))


def alignment_rows() -> pd.DataFrame:
    """Shares of variance, the winner's largest."""
    keys = [
        (step, head, chosen, side, role, f"group_means:{figures.MATCHED[side]}", "variance_share")
        for step, (chosen, head), (side, role) in product(STEPS, HEADS.items(), SIDES.items())
    ]
    names = ["step", "head", "chosen", "side", "role", "compared", "measure"]
    frame = pd.DataFrame(keys, columns=names)
    size = frame["chosen"].map({"winner": 0.6, "runner_up": 0.3, "bottom": 0.1})
    return frame.assign(**_measured((0.05 + size * frame["step"] / max(STEPS)).to_numpy()))


def pairs() -> pd.DataFrame:
    """Distances of four keys and twelve values at two steps."""
    members = {
        "query_key": [f"K{i:02d}" for i in range(4)],
        "answer": [f"V{i:03d}" for i in range(12)],
    }
    rows = [
        (
            step,
            "layer_1_post_attn",
            role,
            group,
            a,
            b,
            0.2 + step / 1000 + (ord(b[-1]) % 3) / 5,
            0.3,
        )
        for step, (role, group) in product((0, 1300), CELLS)
        for a, b in combinations(members[group], 2)
    ]
    names = ["step", "site", "role", "group", "a", "b", "distance", "shuffled"]
    return pd.DataFrame(rows, columns=names)


def points() -> pd.DataFrame:
    """Twenty states of each of four groups at two steps."""
    rng = np.random.default_rng(0)
    rows = [
        (step, "layer_1_attn_input", role, group, 1, f"V{i:03d}", step / 600 * i, rng.normal())
        for step, (role, group) in product((0, 1300), CELLS)
        for i in range(4)
        for _ in range(20)
    ]
    names = ["step", "site", "role", "group", "program", "member", "x", "y"]
    return pd.DataFrame(rows, columns=names)


DRAW = {
    "separability": lambda p: figures.separability(separability_rows(), p),
    "alignment_curves": lambda p: figures.alignment_curves(alignment_rows(), p),
    "group_distances": lambda p: figures.group_distances(pairs(), p),
    "axes": lambda p: figures.axes(points(), p),
}
SAYS = {
    "separability": [
        "probe accuracy (%)",
        "training step",
        "answer at prediction",
        "query key at prediction, token",
        "n = 580 states",
        "95% intervals over",
        "of shuffled labels",
    ],
    "alignment_curves": [
        "share of variance (%)",
        "QK query: query key at prediction",
        "OV input: answer at support value",
        "L1H2 winner",
        "L1H1 bottom",
        "random",
        "n = 580 states",
    ],
    "group_distances": [
        "distance (within spread)",
        "answer at prediction, step 1,300",
        "V011",
        "K03",
        "0.30]",
    ],
    "axes": [
        "axis 1 (state unit)",
        "query key at support value, step 0",
        "layer_1_attn_input",
        "n = 80 states",
    ],
}
