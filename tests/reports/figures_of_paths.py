"""Figures of a traced program, from small made-up frames."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from circuit.reports import figures_trace

_WRITERS = (
    "token_embedding", "position_embedding", "L0H0", "L0H1", "L0.b_O", "L0MLP", "L0.b_out",
    "L1H0", "L1H1", "L1MLP", "final_norm.bias",
)  # fmt: skip
_RNG = np.random.default_rng(0)


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
    "story": lambda p: figures_trace.story(*traced(), p),
}
SAYS = {
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
