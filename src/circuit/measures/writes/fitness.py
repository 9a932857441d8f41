"""Which scalar of a write is fit to be attributed, by a stated predicate. No torch here.

A scalar is *fit* if it

1. is ``born``: half-way at a checkpoint after the first, its first and its last band apart
   (:mod:`circuit.measures.births.evidence`);
2. ``follows`` every outcome: the interval of each correlation over checkpoints lies above
   ``follows``;
3. is ``specific``: with another event's values its growth's interval holds 0, or its growth is at
   most ``shuffled`` of its real growth;
4. is ``smooth``: no event's rival changes between checkpoints. Elsewhere its gradient has kinks and
   growth has a term that belongs to no parameter;
5. ``sees_attention``: forcing attention changes it. If not, nothing that makes the head look better
   can be seen to have built it;
6. ``sees_size``: it does not normalise the write. A logit lens does, so that noise in the right
   direction counts as much as a write that decides, and a growing W_O counts for nothing;
7. grows ``at_support``: what it reads at other positions grows by at most ``elsewhere`` of its
   growth (:mod:`circuit.measures.writes.parts`).

Of the fit ones, the scalar with the smallest ``foreign`` share of growth (shuffled and elsewhere,
both without sign) is chosen. One half of the events chooses, the other half confirms
(:func:`circuit.statistics.halves`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from circuit.measures.writes.agreement import outcome_correlations
from circuit.measures.writes.measured import Progress, progress_rows, write_births
from circuit.measures.writes.names import CRITERIA, MOVING, SCALARS, UNSIZED
from circuit.measures.writes.parts import growth_parts
from circuit.statistics import halves_and_all

VERDICT_UNITS = {
    "birth": "step",
    **dict.fromkeys(("growth", "growth_low", "growth_high"), "logit"),
    **dict.fromkeys(("shuffled", "shuffled_low", "shuffled_high"), "logit"),
    **dict.fromkeys(("attention_share", "values_share", "shuffled_share"), "share"),
    **dict.fromkeys(("elsewhere_share", "foreign_share", "switches"), "share"),
    **dict.fromkeys(("weakest", "weakest_low", "weakest_high"), "1"),
    "count": "1",
}


class Bounds(NamedTuple):
    """Thresholds of the predicate; see the module docstring."""

    follows: float
    shuffled: float
    elsewhere: float


def verdicts(
    progress: Progress, heads: Sequence[str], bounds: Bounds, seed: int = 0
) -> pd.DataFrame:
    """Every scalar of some heads by every criterion, on either half of the events and on all.

    Columns: head, scalar, half, chosen, fit, the ``CRITERIA``, birth, growth and its interval,
    shuffled (growth with another event's values) and its interval, the shares of growth, switches
    (share of events whose rival changes between neighbouring checkpoints), weakest (the smallest
    correlation over checkpoints with an outcome) and its interval, outcome (which that is), count.
    ``chosen`` is the choice of the half ``selection``, which the others repeat.
    """
    measured = progress.of_heads(list(dict.fromkeys(heads)))
    frames = []
    for half, events in halves_and_all(measured.values.shape[-1]).items():
        part = measured.on_events(events)
        frames.append(_judged(part, bounds, seed).assign(half=half, count=len(events)))
    table = pd.concat(frames, ignore_index=True)
    choosing = table[(table["half"] == "selection") & table["fit"]]
    best = choosing.loc[choosing.groupby("head")["foreign_share"].idxmin(), ["head", "scalar"]]
    names = table[["head", "scalar"]].apply(tuple, axis=1)
    table["chosen"] = names.isin(set(best.itertuples(index=False, name=None)))
    first = ["head", "scalar", "half", "chosen", "fit", *CRITERIA, "outcome"]
    return table[[*first, *VERDICT_UNITS]]


def _judged(progress: Progress, bounds: Bounds, seed: int) -> pd.DataFrame:
    """Every criterion of every scalar on these events, and the numbers that it rests on."""
    keys = ["head", "scalar"]
    births = write_births(progress_rows(progress), seed)
    births = births[births["method"] == "threshold"].set_index(keys)
    parts = growth_parts(progress).set_index([*keys, "part"])
    growth, shuffled = (parts.xs(name, level="part") for name in ("growth", "shuffled"))
    share = parts["share"].unstack("part")
    over = outcome_correlations(progress, seed)
    over = over[over["over"] == "checkpoints"].set_index(keys).sort_values("low", kind="stable")
    weakest = over[~over.index.duplicated()].reindex(growth.index)
    holds_0 = (shuffled["low"] <= 0) & (shuffled["high"] >= 0)
    switches = _switches(progress)
    table = pd.DataFrame(
        {
            "birth": births["step"],
            "growth": growth["mean"],
            "growth_low": growth["low"],
            "growth_high": growth["high"],
            "shuffled": shuffled["mean"],
            "shuffled_low": shuffled["low"],
            "shuffled_high": shuffled["high"],
            **{f"{name}_share": share[name] for name in share.columns if name != "growth"},
            "foreign_share": share["shuffled"].abs() + share["elsewhere"].abs(),
            "switches": switches,
            "weakest": weakest["correlation"],
            "weakest_low": weakest["low"],
            "weakest_high": weakest["high"],
            "outcome": weakest["outcome"],
            "born": births["found"].astype(bool),
            # A missing correlation is below no bound and above none.
            "follows": ~over["correlation"].isna().groupby(keys).any()
            & (over["low"].groupby(keys).min() > bounds.follows),
            "specific": holds_0 | (share["shuffled"].abs() <= bounds.shuffled),
            "smooth": switches == 0,
            "sees_attention": _sees_attention(progress),
            "sees_size": ~growth.index.get_level_values("scalar").isin(UNSIZED),
            "at_support": share["elsewhere"].abs() <= bounds.elsewhere,
        },
        index=growth.index,
    )
    return table.assign(fit=table[list(CRITERIA)].all(axis=1)).reset_index()


def _index(progress: Progress) -> pd.MultiIndex:
    return pd.MultiIndex.from_product([progress.heads, SCALARS], names=["head", "scalar"])


def _switches(progress: Progress) -> pd.Series:
    """Share of events and intervals in which a scalar's rival changes; 0 where it cannot."""
    changed = (np.diff(progress.rival, axis=0) != 0).mean((0, 2))
    moving = np.array([name in MOVING for name in SCALARS])
    return pd.Series((changed[:, None] * moving).ravel(), _index(progress))


def _sees_attention(progress: Progress) -> pd.Series:
    """Whether forcing attention changes a scalar anywhere."""
    forced = progress.values[:, :, :, 2]
    return pd.Series((forced != progress.real).any((0, 3)).ravel(), _index(progress))
