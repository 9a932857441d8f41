"""Every head at every checkpoint, and the choice of the heads that later analyses follow.

1. One forward pass per checkpoint gives the LayerNorm'd states that all heads read.
2. Per head and event: full-score and rank-limited (own basis) QK separation, whether the support
   value's score beats every distractor's, attention on support_value, OV value margin. Per head:
   the singular values of W_QK.
3. Heads are ranked by the growth of a criterion on the *selection* half of the events (even
   numbers). The first is the winner, the second the runner-up, the last the bottom control. The
   *confirmation* half (odd numbers) says whether the winner would have won there too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look, pick
from circuit.scalars.behaviour import answer_margin
from circuit.scalars.routing import (
    Head,
    RankSeparation,
    prediction_pattern,
    prediction_scores,
    require_rank,
    separation,
    w_qk,
)
from circuit.scalars.value import ov_value_margin
from circuit.statistics import bootstrap_means
from circuit.task.events import ReadEvents

MEASURES = {
    "qk_separation": "score",
    "qk_separation_rank": "score",
    "support_beats_all": "1",
    "support_attention": "probability",
    "ov_value_margin": "logit",
}
UNITS = {
    "step": "step",
    "mean": "unit of the measure",
    "low": "unit of the measure",
    "high": "unit of the measure",
    "count": "1",
}
HALVES = ("selection", "confirmation", "all")


def head_name(head: Head) -> str:
    """``(1, 3)`` → ``"L1H3"``."""
    return f"L{head[0]}H{head[1]}"


def head_scan(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Iterable[int],
    events: ReadEvents,
    value_ids: range,
    rank: int,
) -> pd.DataFrame:
    """Rows of step, head, measure, half, mean, low, high, count.

    Besides ``MEASURES`` there are ``singular_value_1`` … ``singular_value_{rank}`` of W_QK (one
    number, no interval) and, under the head ``model``, the ``answer_margin``.
    """
    require_rank(decoder, rank)
    parts = []
    for step in steps:
        parts.append(_scan_checkpoint(decoder, theta(step), events, value_ids, rank, step))
    return pd.concat(parts, ignore_index=True)


def _scan_checkpoint(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    value_ids: range,
    rank: int,
    step: int,
) -> pd.DataFrame:
    s = decoder.settings
    sites = frozenset({f"layer_{n}_attn_input" for n in range(s.n_layers)} | {"final_norm"})
    names, columns, singular = [], [], []
    with torch.no_grad():
        seen = look(decoder, theta, events, value_ids, sites)
        for head in ((n, h) for n in range(s.n_layers) for h in range(s.n_heads)):
            for measure, values in _head_measures(seen, head, rank).items():
                names.append((head_name(head), measure))
                columns.append(values.double())
            spectrum = torch.linalg.svdvals(w_qk(seen.params, head).double())[:rank]
            singular += [
                (head_name(head), f"singular_value_{i + 1}", float(v))
                for i, v in enumerate(spectrum)
            ]
        names.append(("model", "answer_margin"))
        columns.append(answer_margin(None)(seen).double())
    per_event = torch.stack(columns, 1).numpy()
    number = np.arange(len(per_event))
    frames = []
    for half, chosen in zip(HALVES, (number % 2 == 0, number % 2 == 1, number >= 0), strict=True):
        mean, low, high = bootstrap_means(per_event[chosen])
        frame = pd.DataFrame(names, columns=["head", "measure"])
        frames.append(
            frame.assign(half=half, mean=mean, low=low, high=high, count=int(chosen.sum()))
        )
    spectrum_rows = pd.DataFrame(singular, columns=["head", "measure", "mean"])
    frames.append(
        spectrum_rows.assign(
            half="all", low=spectrum_rows["mean"], high=spectrum_rows["mean"], count=1
        )
    )
    return pd.concat(frames, ignore_index=True).assign(step=step)[
        ["step", "head", "measure", "half", "mean", "low", "high", "count"]
    ]


def _head_measures(seen: Seen, head: Head, rank: int) -> dict[str, Tensor]:
    """Every measure of ``MEASURES`` for one head, one value per event."""
    events = seen.events
    scores = prediction_scores(seen, head)
    support = pick(scores, events.support_value)
    best = scores.masked_fill(~events.value_distractors, -torch.inf).amax(-1)
    return {
        "qk_separation": separation(scores, seen),
        "qk_separation_rank": RankSeparation(seen.decoder, head, rank, None)(seen),
        "support_beats_all": (support > best).double(),
        "support_attention": pick(prediction_pattern(seen, head), events.support_value),
        "ov_value_margin": ov_value_margin(head, None)(seen),
    }


def growth(rows: pd.DataFrame, criterion: str, window: tuple[int, int], half: str) -> pd.Series:
    """Change of a measure's mean from the window's first to its last step, by head."""
    chosen = rows[(rows["measure"] == criterion) & (rows["half"] == half)]
    table = chosen.pivot(index="head", columns="step", values="mean")
    return table[window[1]] - table[window[0]]


def select_heads(rows: pd.DataFrame, criterion: str, window: tuple[int, int]) -> dict[str, Any]:
    """Winner, runner-up and bottom control, with the ranking they come from (see the module)."""
    selected = growth(rows, criterion, window, "selection")
    confirmed = growth(rows, criterion, window, "confirmation")
    ranking = sorted(selected.index, key=lambda head: (-selected[head], head))
    return {
        "rule": f"largest growth of {criterion} over the window on the selection half of the events"
        "; runner-up second, bottom last",
        "criterion": criterion,
        "unit": MEASURES[criterion],
        "window": list(window),
        "winner": ranking[0],
        "runner_up": ranking[1],
        "bottom": ranking[-1],
        "confirmed": bool(confirmed.idxmax() == ranking[0]),
        "ranking": [
            {"head": h, "selection": float(selected[h]), "confirmation": float(confirmed[h])}
            for h in ranking
        ],
    }


def correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation over checkpoints of every head's measures with the answer margin.

    Columns: head, measure, correlation, count (checkpoints). A measure that never changes has no
    correlation and is left out.
    """
    every = rows[rows["half"] == "all"]
    table = every.pivot(index="step", columns=["head", "measure"], values="mean")
    target = table["model", "answer_margin"].rank()
    found = []
    for head, measure in table.columns:
        series = table[head, measure].rank()
        if head != "model" and series.nunique() > 1 and target.nunique() > 1:
            found.append((head, measure, float(series.corr(target)), len(series)))
    return pd.DataFrame(found, columns=["head", "measure", "correlation", "count"])
