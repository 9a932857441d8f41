"""Figures of paths and of a traced program, from small made-up frames."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from circuit.reports import figures_paths, figures_trace

_STEPS = (0, 300, 600, 900)
_TARGETS = ("correct_logit", "value_margin")
_WRITERS = (
    "token_embedding", "position_embedding", "L0H0", "L0H1", "L0.b_O", "L0MLP", "L0.b_out",
    "L1H0", "L1H1", "L1MLP", "final_norm.bias",
)  # fmt: skip
_RNG = np.random.default_rng(0)


def _with_interval(frame: pd.DataFrame, means: np.ndarray, count: int = 40) -> pd.DataFrame:
    means = np.asarray(means, dtype=float)
    return frame.assign(mean=means, low=means - 0.2, high=means + 0.2, count=count, half="all")


def direct() -> pd.DataFrame:
    """Direct paths at four steps; L1H1 comes to carry the margin."""
    labels = pd.DataFrame(
        list(product(_STEPS, _TARGETS, (*_WRITERS, "whole"))), columns=["step", "target", "path"]
    )
    grown = labels["path"].isin(["L1H1", "whole"]) * labels["step"] / 200
    return _with_interval(labels, grown + 0.1 * _RNG.standard_normal(len(labels)))


def second_order() -> pd.DataFrame:
    """Paths through heads and MLPs, and chains, at one step."""
    rows = [("path", f"{s} → L1H1", s, "L1H1", "all") for s in _WRITERS[:5]]
    rows += [("path", "embedding → L0MLP → L1H1", "embedding → L0MLP", "L1H1", "all")]
    rows += [("path", f"{s} → L1MLP", s, "L1MLP", "prediction") for s in _WRITERS[:9]]
    rows += [("chain", c, "", "", "all") for c in ("embedding", "embedding → attention")]
    columns = ["kind", "path", "source", "through", "positions"]
    labels = pd.DataFrame(rows, columns=columns).assign(step=900, target="value_margin")
    return _with_interval(labels, [3.25, *_RNG.standard_normal(len(labels) - 1)])


def readout() -> pd.DataFrame:
    """The value margin at five stages, by both scales."""
    names = ("embedding", *(f"layer_{n}_post_{s}" for n in (0, 1) for s in ("attn", "mlp")))
    labels = pd.DataFrame(
        list(product(_STEPS, enumerate(names), ("own", "frozen"))), columns=["step", "at", "scale"]
    )
    labels["order"], labels["stage"] = labels["at"].str[0], labels["at"].str[1]
    labels = labels.drop(columns="at").assign(target="value_margin")
    return _with_interval(labels, labels["order"] * labels["step"] / 600)


def ablations() -> pd.DataFrame:
    """Direct attribution and ablation effect of four components."""
    roles = {"L1H1": "top", "L1MLP": "top", "L0MLP": "other", "L0H1": "bottom"}
    measures = ("direct", "effect", "sign_agreement", "correlation")
    rows = [(name, chosen, m) for m in measures for name, chosen in roles.items()]
    labels = pd.DataFrame(rows, columns=["component", "chosen", "measure"])
    values = [3.0, 1.0, 0.2, 0.0, 4.0, 0.8, 2.0, -0.4, 0.95, 0.8, 0.6, 0.5, 0.91, 0.7, 0.1, -0.12]
    labels = labels.assign(step=900, target="value_margin")
    found = _with_interval(labels, values, 20).drop(columns="half")
    return found[~((found["component"] == "L0MLP") & (found["measure"] == "correlation"))]


def traced() -> tuple[dict, pd.DataFrame, pd.DataFrame]:
    """Facts, attention and direct paths of one short program."""
    tokens = ["<bos>", "W", "K01", "V003", "W", "K02", "V009", "R", "K01"]
    roles = ["other", "support_op", "support_key", "support_value", "other", "key_distractors",
             "value_distractors", "other", "query_key"]  # fmt: skip
    positions = {"support_value": 3, "prediction": 8}
    facts = {
        "tokens": tokens, "roles": roles, "positions": positions, "key": "K01", "answer": "V003",
        "rival": "V009", "step": 900, "read_index": 0, "sample_id": "made-up",
    }  # fmt: skip
    rows = []
    for role, heads in (("support_value", ["L0H0", "L0H1"]), ("prediction", ["L0H0", "L1H1"])):
        for head in heads:
            weights = _RNG.dirichlet(np.ones(positions[role] + 1))
            names = zip(tokens, roles, strict=True)
            rows += [
                (head, role, i, token, name, weight)
                for (i, (token, name)), weight in zip(enumerate(names), weights, strict=False)
            ]
    columns = ["head", "query_role", "key_position", "token", "role", "attention"]
    values = [0.3, -0.2, 0.01, 0.0, 0.005, 0.6, -0.001, 0.0, 4.2, 2.5, 0.0]
    paths = pd.DataFrame(
        {"order": range(len(_WRITERS)), "source": _WRITERS, "value_margin": values}
    )
    paths = paths.assign(modules=0, path=paths["source"] + " → logit")
    return facts, pd.DataFrame(rows, columns=columns), paths.iloc[::-1]


DRAW: dict[str, Callable[[Path], None]] = {
    "trajectories": lambda p: figures_paths.trajectories(direct(), p),
    "second_order": lambda p: figures_paths.second_order(second_order(), 900, p),
    "stages": lambda p: figures_paths.stages(readout(), p),
    "direct_and_ablated": lambda p: figures_paths.direct_and_ablated(ablations(), 900, p),
    "story": lambda p: figures_trace.story(*traced(), p),
}
SAYS = {
    "trajectories": [
        "contribution (logit)",
        "sum of all paths",
        "the 6 paths that are ever largest",
        "n = 40 events per step",
        "training step",
    ],
    "second_order": [
        "at step 900",
        "+3.25",
        "embedding → L0MLP",
        "Chains",
        "n = 40 events",
        "contribution (logit)",
    ],
    "stages": ["value margin (logit)", "4 of 4 checkpoints", "L0 attn", "Running sum of paths"],
    "direct_and_ablated": [
        "ablation effect",
        "direct attribution",
        "same sign 95%, r = +0.91",
        "r = −0.12",
        "n = 20 events",
        "value margin (logit)",
    ],
    "story": [
        "colour of tokens: role",
        "K01 → V003 at step 900",
        "n = 1 event",
        "From the support value, position 3",
        "attention (probability)",
        "+4.20",
        "6 smaller",
        "value margin (logit)",
    ],
}
