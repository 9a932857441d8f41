"""Which scalar of a write is fit to be attributed: what the criteria look at. No torch here.

A scalar is *fit* if it

1. is *born*: it stays half-way from a checkpoint after the first
   (:mod:`circuit.measures.births.evidence`);
2. *follows* every outcome: the interval of its weakest correlation over checkpoints lies above a
   bound;
3. is *specific*: the share of its growth that it has with another event's values too lies within a
   bound;
4. is *smooth*: no event's rival changes between checkpoints. Elsewhere its gradient has kinks and
   growth has a term that belongs to no parameter;
5. *sees attention*: forcing attention changes it. If not, nothing that makes the head look better
   can be seen to have built it;
6. *sees size*: it does not normalise the write. A logit lens does, so that noise in the right
   direction counts as much as a write that decides, and a growing W_O counts for nothing;
7. grows *at the support value*: the share of growth that it reads at other positions lies within a
   bound (:mod:`circuit.measures.writes.parts`).

The bounds are settings, and a criterion is met where the number's interval lies on the right side
of them (:mod:`circuit.evidence`). Of the fit ones, the scalar with the smallest ``foreign_share``
of growth (shuffled and elsewhere, both without sign) is told. One half of the events chooses, the
other half confirms (:func:`circuit.statistics.halves`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from circuit.estimates import ALL, estimates, keys_of
from circuit.measures.writes.agreement import outcome_correlations
from circuit.measures.writes.measured import Progress, progress_rows, write_births
from circuit.measures.writes.names import MOVING, SCALARS, UNIT, UNSIZED
from circuit.measures.writes.parts import growth_parts
from circuit.statistics import halves_and_all

_KEYS = ["head", "scalar"]
_UNITS = {
    "foreign_share": "share",
    "switches": "share",
    "moved_by_attention": UNIT,
    "sees_size": "1",
}


def criteria_rows(progress: Progress, heads: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """What the criteria look at, of some heads' scalars, on either half of the events and on all.

    Estimates by head, scalar, outcome and over: ``weakest_correlation`` over checkpoints and over
    intervals, with the outcome that it is with; ``foreign_share``; ``switches``, the share of
    events and intervals whose rival changes; ``moved_by_attention``, the mean size of what forcing
    attention changes; ``sees_size``, 1 or 0. On the halves also what
    :func:`circuit.measures.writes.parts.growth_parts` and births say of all events.
    """
    measured = progress.of_heads(list(dict.fromkeys(heads)))
    frames = []
    for half, events in halves_and_all(measured.values.shape[-1]).items():
        part = measured.on_events(events)
        parts = growth_parts(part)
        found = [_weakest(outcome_correlations(part, seed)), _properties(part, parts)]
        if half != ALL:
            births = write_births(progress_rows(part), seed)
            found += [parts, births[births["measure"] == "half_way"]]
        frames += [each.assign(half=half) for each in found]
    rows = pd.concat(frames, ignore_index=True)
    return rows.fillna(dict.fromkeys(keys_of(rows), ""))


def _weakest(correlations: pd.DataFrame) -> pd.DataFrame:
    """Every scalar's correlation whose interval begins lowest; missing where one of them is."""
    over = correlations[correlations["over"].isin(("checkpoints", "intervals"))]
    keys = [*_KEYS, "over"]
    missing = over.assign(none=over["mean"].isna()).groupby(keys)["none"].transform("any")
    over = over.sort_values("low", kind="stable")
    weakest = over[~over.duplicated(keys)].sort_index().assign(measure="weakest_correlation")
    weakest.loc[missing[weakest.index], ["mean", "low", "high"]] = np.nan
    return weakest


def _properties(progress: Progress, parts: pd.DataFrame) -> pd.DataFrame:
    """What is so of a scalar on these events, without chance."""
    shares = parts[parts["measure"] == "growth_share"].pivot(
        index=_KEYS, columns="part", values="mean"
    )
    index = pd.MultiIndex.from_product([progress.heads, SCALARS], names=_KEYS)
    changed = (np.diff(progress.rival, axis=0) != 0).mean((0, 2))
    moving = np.array([name in MOVING for name in SCALARS])
    moved = np.abs(progress.values[:, :, :, 2] - progress.real).mean((0, 3))
    table = pd.DataFrame(
        {
            "foreign_share": (shares["shuffled"].abs() + shares["elsewhere"].abs()).loc[index],
            "switches": (changed[:, None] * moving).ravel(),
            "moved_by_attention": moved.ravel(),
            "sees_size": np.tile([float(name not in UNSIZED) for name in SCALARS], len(moved)),
        },
        index=index,
    )
    long = table.melt(ignore_index=False, var_name="measure", value_name="mean").reset_index()
    return estimates(long, _UNITS, step=progress.steps[-1])
