"""Figures of retrieval: synthetic rows of three heads over a run that learns."""

import numpy as np
import pandas as pd
from report_frames import HEADS, ROLES, STEPS, rise

from circuit.measures.heads.chain import LINKS
from circuit.reports import figures_chain

QUERIES = ("prediction", "support_value", "prior_answers")
KEYS = ("support_key", "support_value", "one_back")


def levels() -> pd.DataFrame:
    tops = {"L1H2": 6.0, "L1H0": 2.0, "L0H3": -0.5}
    rows = []
    for head, top in tops.items():
        for i, (role, measure) in enumerate(LINKS.values()):
            scale = 0.15 if measure == "attention_mass" else 1.0
            curve = rise(STEPS, top * scale, 600 + 60 * i, 90)
            for step, mean, delta in zip(STEPS, curve, np.diff(curve, prepend=np.nan), strict=True):
                band = [mean, mean - 0.1, mean + 0.1, delta, delta - 0.1, delta + 0.1]
                rows.append((step, head, role, measure, *band, 96))
    numbers = ["mean", "low", "high", "delta", "delta_low", "delta_high", "count"]
    return pd.DataFrame(rows, columns=["step", "head", "role", "measure", *numbers])


def maps() -> pd.DataFrame:
    rng = np.random.default_rng(6)
    rows = [
        (step, head, query, key, mean, 96 if query != "prior_answers" else 70)
        for step in (0, 1500)
        for head in (*HEADS, "even")
        for query in QUERIES
        for key in KEYS
        for mean in [0.9 if (head, query) == ("L1H2", "prediction") else 0.3 * rng.random()]
    ]
    return pd.DataFrame(rows, columns=["step", "head", "query_role", "key_role", "mean", "count"])


def directions() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    items = {"place": ["key", "value", "R", "W", "<bos>"], "token": ["K01", "V005", "V011"]}
    rows = [
        (1500, "L1H2", matrix, n, 3.0 / n, side, level, offset, share, rank + 1, item, value)
        for matrix, sides in (("QK", ("query", "key")), ("OV", ("reads", "writes")))
        for n in (1, 2)
        for side in sides
        for level, names in items.items()
        for offset in [1 if (side, level) == ("key", "token") else 0]
        for share in [float("nan") if side == "writes" else 0.62]
        for rank, item in enumerate(names)
        for value in [float(rng.standard_normal() / (rank + 1))]
    ]
    columns = ["step", "head", "matrix", "direction", "singular_value", "side", "level", "offset"]
    return pd.DataFrame(rows, columns=[*columns, "explained", "rank", "item", "projection"])


DRAW = {
    "chain": lambda p: figures_chain.chain(levels(), ROLES, p),
    "maps_by_role": lambda p: figures_chain.maps_by_role(maps(), p),
    "directions": lambda p: figures_chain.directions(directions(), "L1H2", p),
}
SAYS = {
    "chain": [
        "n = 96 events per step",
        "95% intervals over events",
        "Attention mass on the support value",
        "Direct logit of the write",
        "L1H2 winner",
        "L0H3 bottom",
        "probability",
        "logit",
        "Change",
    ],
    "maps_by_role": [
        "at step 1,500",
        "n = 70–96 events",
        "attention mass (probability)",
        "support value",
        "one back",
        "even",
        ">90<",
    ],
    "directions": [
        "of L1H2 at step 1,500",
        "QK 1 query",
        "OV 2 writes",
        "K01",
        "62%",
        "1 back",
        "itself",
        "&lt;bos&gt;",
    ],
}
