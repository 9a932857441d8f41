"""Figures of transplanted parts and of competing routes, from rows made by hand."""

import numpy as np
import pandas as pd

from circuit.reports import figures_compare, figures_routes
from circuit.reports.compare_parts import BRINGS, SUM, TAKES

STAGES = ("embedding", "layer_0_post_attn", "layer_0_post_mlp", "final_norm")
STATES = ("prediction", "support_value", "causal_prefix")
GROUPS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)] + ["embedding", SUM]
ROUTES = [f"qk L{layer}H{head}" for layer in range(3) for head in range(8)]
ROLES = {"winner": ROUTES[3], "runner_up": ROUTES[7], "bottom": ROUTES[-1]}


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


def ranking() -> pd.DataFrame:
    size = np.linspace(3, -1, len(ROUTES))
    roles = {route: role for role, route in ROLES.items()}
    return pd.DataFrame(
        {
            "rank": range(1, len(ROUTES) + 1),
            "route": ROUTES,
            "family": "qk",
            "scalar": "qk_separation",
            "head": [route.split()[1] for route in ROUTES],
            "unit": "score",
            "selection": size,
            "confirmation": size + 0.1,
            "low": size - 0.3,
            "high": size + 0.5,
            "change": 2 * size,
            "change_low": 2 * size - 0.4,
            "change_high": 2 * size + 0.4,
            "count": 48,
            "role": [roles.get(route, "") for route in ROUTES],
        }
    )


def followed() -> pd.DataFrame:
    """Rows of routes over three checkpoints."""
    generator = np.random.default_rng(6)
    frames = []
    for step in (500, 800, 1300):
        base = pd.DataFrame({"route": ROUTES, "step": step, "unit": "score"})
        value = generator.normal(0, 0.3, (8, len(ROUTES)))
        kinds = [("strength", "", "", 96), ("change", "", "", 96)]
        kinds += [
            ("alignment", split, objective, 8)
            for split in ("train", "validation_iid")
            for objective in ("tokens", "answers", "shuffled_answers")
        ]
        for mean, (measure, split, objective, count) in zip(value, kinds, strict=True):
            rows = base.assign(measure=measure, split=split, objective=objective, mean=mean)
            frames.append(rows.assign(low=mean - 0.1, high=mean + 0.1, count=count))
        pushed = frames[-6:]
        frames += [rows.assign(measure="push", unit="score per learning rate") for rows in pushed]
    return pd.concat(frames, ignore_index=True)


DRAW = {
    "activations": lambda p: figures_compare.activations(parts(), p),
    "weights": lambda p: figures_compare.weights(parts(), p),
    "ranked": lambda p: figures_routes.ranked(followed(), ranking(), "train", p),
    "alignment": lambda p: figures_routes.alignment(followed(), ROLES, p),
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
    "ranked": [
        "step 500 to 1,300",
        "n = 48 events",
        "n = 8 chunks of programs",
        "17 of 24 routes",
        "qk L0H3",
        "(winner)",
        "(bottom)",
        "effect size (standard deviations)",
        "(cosine)",
    ],
    "alignment": [
        "n = 8 chunks of programs",
        "95% intervals",
        "validation iid",
        "control: answers exchanged",
        "qk L0H7 (runner up)",
        "training step",
    ],
}
