"""Every head at every checkpoint, and the choice of the heads that later analyses follow.

1. One forward pass per checkpoint gives the LayerNorm'd states that all heads read.
2. Per head and event: full-score and rank-limited (own basis) QK separation, whether the support
   value's score beats every distractor's, attention on support_value, OV value margin. Per head:
   the singular values of W_QK.
3. Heads are ranked by the growth of a criterion on the *selection* half of the events (even
   numbers). The first is the winner, the second the runner-up; the bottom control is, of the
   others, the one that changed least. The *confirmation* half (odd numbers) says by how much they
   grew, with paired bootstrap intervals, and whether the winner would have won there too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import EXCESS, Estimates, estimates
from circuit.model.sites import every_head, head_name
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look, pick
from circuit.scalars.behaviour import answer_margin
from circuit.scalars.routing import (
    Head,
    RankSeparation,
    best_margin,
    prediction_pattern,
    prediction_scores,
    require_rank,
    separation,
    w_qk,
)
from circuit.scalars.value import ov_value_margin
from circuit.statistics import bootstrap_means, halves, halves_and_all
from circuit.task.events import ReadEvents

MEASURES = {
    "qk_separation": "score",
    "qk_separation_rank": "score",
    "support_beats_all": "share",
    "support_attention": "probability",
    "ov_value_margin": "logit",
}
_UNITS = {**MEASURES, "answer_margin": "logit"}
EVENT_UNITS = {"step": "step", "event": "id", "value": "score"}
CRITERIA = ("qk_separation", "qk_separation_rank")
MODEL = "model"
"""In place of a head: the whole model."""


class Scan(NamedTuple):
    """What the scan saw.

    ``rows``: estimates by head. Besides ``MEASURES`` there are ``singular_value_1`` … of W_QK
    (exact) and, under the head ``model``, the ``answer_margin``.
    ``events``: step, head, measure, event, value for the ``CRITERIA``.
    """

    rows: pd.DataFrame
    events: pd.DataFrame


def head_scan(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Iterable[int],
    events: ReadEvents,
    value_ids: range,
    rank: int,
) -> Scan:
    """Measure every head at every step; see :class:`Scan`."""
    require_rank(decoder, rank)
    heads, layers = every_head(decoder.settings), range(decoder.settings.n_layers)
    sites = frozenset({*(f"layer_{n}_attn_input" for n in layers), "final_norm"})
    rows, values = [], []
    for step in steps:
        columns: dict[tuple[str, str], Float[Tensor, " E"]] = {}
        singular: list[tuple[str, str, float]] = []
        with torch.no_grad():
            seen = look(decoder, theta(step), events, value_ids, sites)
            for head in heads:
                name, measures = head_name(head), _head_measures(seen, head, rank)
                columns |= {(name, measure): column for measure, column in measures.items()}
                spectrum = torch.linalg.svdvals(w_qk(seen.params, head).double())[:rank].tolist()
                singular += [(name, f"singular_value_{i}", v) for i, v in enumerate(spectrum, 1)]
            columns[MODEL, "answer_margin"] = answer_margin(None)(seen)
        per_event = torch.stack([column.double() for column in columns.values()], 1).numpy()
        labels = pd.DataFrame(list(columns), columns=["head", "measure"])
        for half, of in halves_and_all(len(per_event)).items():
            yes_or_no = [measure == "support_beats_all" for _, measure in columns]
            mean, low, high = bootstrap_means(per_event[of], shares=yes_or_no)
            found = labels.assign(half=half, mean=mean, low=low, high=high, count=len(of))
            rows.append(estimates(found, _UNITS, "events", step=step))
        exact = pd.DataFrame(singular, columns=["head", "measure", "mean"])
        rows.append(estimates(exact, "score·√d_head", step=step))
        chosen = [i for i, (_, measure) in enumerate(columns) if measure in CRITERIA]
        each = labels.loc[np.repeat(chosen, len(events))].assign(
            event=np.tile(np.arange(len(events)), len(chosen)), value=per_event.T[chosen].ravel()
        )
        values.append(each.assign(step=step))
    return Scan(pd.concat(rows, ignore_index=True), pd.concat(values, ignore_index=True))


def _head_measures(seen: Seen, head: Head, rank: int) -> dict[str, Tensor]:
    """Every measure of ``MEASURES`` for one head, one value per event."""
    scores = prediction_scores(seen, head)
    return {
        "qk_separation": separation(scores, seen),
        "qk_separation_rank": RankSeparation(seen.decoder, head, rank=rank)(seen),
        "support_beats_all": (best_margin(scores, seen) > 0).double(),
        "support_attention": pick(prediction_pattern(seen, head), seen.events.support_value),
        "ov_value_margin": ov_value_margin(head, None)(seen),
    }


def growths(
    events: pd.DataFrame, criterion: str, window: tuple[int, int]
) -> Mapping[str, Float[np.ndarray, " E"]]:
    """Change of a criterion from the window's first to its last step, by head and event."""
    chosen = events[(events["measure"] == criterion) & events["step"].isin(window)]
    table = chosen.pivot(index=["head", "event"], columns="step", values="value")
    change = (table[window[1]] - table[window[0]]).unstack("event")
    return {str(head): change.loc[head].to_numpy(dtype=np.float64) for head in change.index}


def select_heads(
    events: pd.DataFrame, criterion: str, window: tuple[int, int], seed: int = 0
) -> dict[str, Any]:
    """Winner, runner-up and bottom control, with the ranking they come from (see the module).

    Raises:
        AnalysisError: the model has fewer than three heads.
    """
    change = growths(events, criterion, window)
    if len(change) < 3:
        raise AnalysisError(
            what=f"{len(change)} heads are too few for a winner, a runner-up and a control",
            where="head scan",
            expected="at least three heads",
            do="scan a model with more heads",
        )
    heads = sorted(change)
    choosing, confirming = halves(len(change[heads[0]]))
    selection = {head: float(change[head][choosing].mean()) for head in heads}
    ranking = sorted(heads, key=lambda head: -selection[head])
    stacked = np.stack([change[head][confirming] for head in ranking], axis=1)
    grown = np.stack(bootstrap_means(stacked, seed), axis=1).tolist()
    entries = [
        {"head": head, "selection": selection[head], "confirmation": mean, "low": low, "high": high}
        for head, (mean, low, high) in zip(ranking, grown, strict=True)
    ]
    return {
        "rule": f"largest growth of {criterion} over the window on the selection half of the events"
        "; runner-up second; bottom control: of the others, the one that changed least",
        "criterion": criterion,
        "unit": MEASURES[criterion],
        "window": list(window),
        "winner": ranking[0],
        "runner_up": ranking[1],
        "bottom": min(ranking[2:], key=lambda head: abs(selection[head])),
        "confirmed": max(entries, key=lambda entry: entry["confirmation"]) is entries[0],
        "ranking": [{**entry, "count": len(confirming)} for entry in entries],
    }


def growth_rows(events: pd.DataFrame, heads: Mapping[str, Any], seed: int = 0) -> pd.DataFrame:
    """Growth of the criterion by head on both halves, and its excess over the bottom control's."""
    window = tuple(heads["window"])
    change = growths(events, heads["criterion"], window)
    found = Estimates(window[1], {"growth": heads["unit"]}, halves=True, seed=seed)
    ranking = [entry["head"] for entry in heads["ranking"]]
    for head in ranking:
        found.add(change[head], "growth", head=head)
    for head in ranking:
        if head != heads["bottom"]:
            found.add(change[head] - change[heads["bottom"]], "growth", EXCESS, head=head)
    return found.frame()


def correlations(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman correlation over checkpoints of every head's measures with the answer margin.

    Rows of measure ``margin_correlation`` with the key ``of``, the measure correlated; checkpoints
    are counted. They are no draws, so there is no interval. A measure that never changes has no
    correlation and is left out.
    """
    every = rows[rows["half"] == "all"]
    table = every.pivot(index="step", columns=["head", "measure"], values="mean")
    target = table[MODEL, "answer_margin"].rank()
    found = []
    for head, measure in table.columns:
        series = table[head, measure].rank()
        if head != MODEL and series.nunique() > 1 and target.nunique() > 1:
            found.append((head, measure, float(series.corr(target)), len(series)))
    frame = pd.DataFrame(found, columns=["head", "of", "mean", "count"])
    named = {"measure": "margin_correlation", "step": int(rows["step"].max())}
    return estimates(frame, "1", "checkpoints", **named)
