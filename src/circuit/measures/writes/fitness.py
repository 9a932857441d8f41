"""Which scalar of a write is fit to be attributed: what the criteria look at. No torch here.

A scalar is *fit* if it

1. is *born*: it stays half-way from a checkpoint after the first
   (:mod:`circuit.measures.births.evidence`);
2. *follows* every outcome: its weakest correlation over checkpoints lies above a bound;
3. is *specific*: the share of its growth that it has with another event's values too lies within a
   bound;
4. is *smooth*: no event's rival changes between checkpoints. Elsewhere its gradient has kinks and
   growth has a term that belongs to no parameter;
5. *sees attention*: forcing attention changes it. If not, nothing that makes the head look better
   can be seen to have built it;
6. *sees size*: it does not normalise the write. A logit lens does, so that noise in the right
   direction counts as much as a write that decides, and a growing W_O counts for nothing;
7. grows *at the support value*: the share of growth that it reads elsewhere lies within a bound.

The bounds are settings, and a criterion is met where the number's interval lies on the right side
of them (:mod:`circuit.evidence`). Of the fit ones, the scalar with the smallest ``foreign_share``
of growth (shuffled and elsewhere, both without sign) is told. One half of the events chooses, the
other half confirms.

**Correlations** are Pearson's: over ``checkpoints``, of the two mean curves; over ``intervals``, of
their changes between neighbouring checkpoints, which curves that merely both rise do not share;
over ``events``, at the last checkpoint. Intervals resample events, both curves together. So they
say how sure the two curves are, not how many independent ones there are: all rising curves
correlate, and a control head's correlation is the level to compare with.

**Parts of growth** say whether the head looks better or reads better. With a scalar f(attention,
values) under the four conditions, p the attention on support_value (1 for a scalar that does not
read attention), and at every checkpoint

    read     = f(real, real) − f(real, shuffled)          what this event's values add as it is
    offered  = f(forced, real) − f(forced, shuffled)      what they would add under full attention

f(real, real) = f(real, shuffled) + p · offered + (read − p · offered). Between neighbouring
checkpoints Δ(p · offered) = mean offered · Δp + mean p · Δoffered exactly, with the mean of both
ends. So the growth of every event from the first to the last checkpoint is the sum of

1. ``shuffled``: growth with another event's values, which the scalar should not have;
2. ``attention``: Σ mean offered · Δp, since more attention lies on the support value;
3. ``values``: Σ mean p · Δoffered, since what is read there says more about the answer;
4. ``elsewhere``: growth of what is left, read at other positions (or, of a moving margin, not
   additive).

Where both grow in one interval, half of what they make together goes to each: a convention, and a
finer schedule of checkpoints leaves less to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.estimates import ALL, EXCESS, estimates, keys_of
from circuit.measures.writes.measured import (
    MOVING,
    OTHER_VALUES,
    OUTCOMES,
    SCALARS,
    UNATTENDED,
    UNIT,
    UNSIZED,
    Progress,
    progress_rows,
    write_births,
)
from circuit.statistics import (
    bootstrap_means,
    correlations,
    draws,
    halves_and_all,
    interval,
    resamples,
    told,
)

PARTS = ("shuffled", "attention", "values", "elsewhere")
"""Summands of a scalar's growth."""
_KEYS = ["head", "scalar"]
_UNITS = {
    **dict.fromkeys(("growth", "growth_part", "moved_by_attention"), UNIT),
    **dict.fromkeys(("growth_share", "foreign_share", "switches"), "share"),
    **dict.fromkeys(("correlation", "sees_size"), "1"),
}


def criteria_rows(progress: Progress, heads: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """What the criteria look at, of some heads' scalars, on either half of the events and on all.

    Estimates by head, scalar, outcome and over: ``weakest_correlation`` over checkpoints and over
    intervals, with the outcome that it is with; ``foreign_share``; ``switches``, the share of
    events and intervals whose rival changes; ``moved_by_attention``, the mean size of what forcing
    attention changes; ``sees_size``, 1 or 0. On the halves also what :func:`growth_parts` and
    births say of all events.
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


def _weakest(found: pd.DataFrame) -> pd.DataFrame:
    """Every scalar's correlation whose interval begins lowest; missing where one of them is."""
    over = found[found["over"].isin(("checkpoints", "intervals"))]
    keys = [*_KEYS, "over"]
    missing = over.assign(none=over["mean"].isna()).groupby(keys)["none"].transform("any")
    over = over.sort_values("low", kind="stable")
    weakest = over[~over.duplicated(keys)].sort_index().assign(measure="weakest_correlation")
    weakest.loc[missing[weakest.index], ["mean", "low", "high"]] = np.nan
    return weakest


def _properties(progress: Progress, parts: pd.DataFrame) -> pd.DataFrame:
    """What is so of a scalar on these events, without chance."""
    shares = parts[parts["measure"] == "growth_share"]
    shares = shares.pivot(index=_KEYS, columns="part", values="mean").abs()
    index = pd.MultiIndex.from_product([progress.heads, SCALARS], names=_KEYS)
    changed = (np.diff(progress.rival, axis=0) != 0).mean((0, 2))
    moving = np.array([name in MOVING for name in SCALARS])
    moved = np.abs(progress.values[:, :, :, 2] - progress.real).mean((0, 3))
    table = pd.DataFrame(
        {
            "foreign_share": (shares["shuffled"] + shares["elsewhere"]).loc[index],
            "switches": (changed[:, None] * moving).ravel(),
            "moved_by_attention": moved.ravel(),
            "sees_size": np.tile([float(name not in UNSIZED) for name in SCALARS], len(moved)),
        },
        index=index,
    )
    long = table.melt(ignore_index=False, var_name="measure", value_name="mean").reset_index()
    return estimates(long, _UNITS, step=progress.steps[-1])


def outcome_correlations(progress: Progress, seed: int = 0) -> pd.DataFrame:
    """Every scalar with every outcome, over checkpoints, intervals and events.

    Estimates by head, scalar, outcome and over; ``count`` is of what it is over. A ``correlation``
    is missing where one of the two does not vary.
    """
    steps, events = len(progress.steps), progress.values.shape[-1]
    # The measured events come first, then their resamples.
    weights = draws(events, seed) / events
    scalars = progress.real.reshape(steps, -1, events)
    curves = np.moveaxis(scalars @ weights.T, 0, -1)
    frames = []
    for number, outcome in enumerate(OUTCOMES):
        achieved = progress.outcomes[:, number]
        curve = (achieved @ weights.T).T
        found = {
            "checkpoints": (_of_curves(curves, curve), steps),
            "intervals": (_of_curves(np.diff(curves), np.diff(curve)), steps - 1),
            "events": (_of_events(scalars[-1], achieved[-1], weights), events),
        }
        for over, (drawn, count) in found.items():
            keys = {"outcome": outcome, "over": over, "count": count, "noun": over}
            frames.append(_of_scalars(progress, np.stack(told(drawn.T))).assign(**keys))
    frame = pd.concat(frames, ignore_index=True)
    return estimates(frame, _UNITS, step=progress.steps[-1], measure="correlation")


def _of_scalars(progress: Progress, numbers: Float[np.ndarray, "3 HM"]) -> pd.DataFrame:
    """Mean, low and high of every scalar of every head."""
    names = pd.MultiIndex.from_product([progress.heads, SCALARS], names=_KEYS)
    return pd.DataFrame(numbers.T, names, ["mean", "low", "high"]).reset_index()


def _of_curves(
    curves: Float[np.ndarray, "K R S"], curve: Float[np.ndarray, "R S"]
) -> Float[np.ndarray, "K R"]:
    """Correlation over the last axis of each of K curves with one, resample by resample."""
    beside = np.broadcast_to(curve, curves.shape)
    flat = (part.reshape(-1, curve.shape[-1]) for part in (curves, beside))
    return correlations(*flat).reshape(curves.shape[:2])


def _of_events(
    x: Float[np.ndarray, "K E"], y: Float[np.ndarray, " E"], weights: Float[np.ndarray, "R E"]
) -> Float[np.ndarray, "K R"]:
    """Correlation over events of each of K scalars with an outcome, in weighted resamples."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean()
    mean_x, mean_y = x @ weights.T, weights @ y
    together = (x * y) @ weights.T - mean_x * mean_y
    spread = ((x * x) @ weights.T - mean_x**2) * (weights @ (y * y) - mean_y**2)
    none = np.full_like(together, np.nan)
    root = np.sqrt(np.maximum(spread, 0))
    found: Float[np.ndarray, "K R"] = np.divide(together, root, out=none, where=root > 0)
    return found


def part_values(progress: Progress) -> Float[np.ndarray, "H M P+1 E"]:
    """The parts of every scalar's growth on every event, in the order of ``PARTS``; growth last."""
    real, shuffled, forced, forced_shuffled = np.moveaxis(progress.values, 3, 0)
    mass = np.repeat(progress.mass[:, :, None], len(SCALARS), axis=2)
    mass[:, :, [name in UNATTENDED for name in SCALARS]] = 1.0
    offered = forced - forced_shuffled
    rest = real - shuffled - mass * offered
    middle_offered, middle_mass = ((part[1:] + part[:-1]) / 2 for part in (offered, mass))
    parts = {
        "shuffled": shuffled[-1] - shuffled[0],
        "attention": (middle_offered * np.diff(mass, axis=0)).sum(0),
        "values": (middle_mass * np.diff(offered, axis=0)).sum(0),
        "elsewhere": rest[-1] - rest[0],
    }
    return np.stack([*(parts[name] for name in PARTS), real[-1] - real[0]], axis=2)


def growth_parts(progress: Progress) -> pd.DataFrame:
    """Growth of every scalar, its parts and their shares of it, as estimates by head, scalar, part.

    ``growth`` has that with another event's values as its control, and its excess; ``growth_part``
    and ``growth_share`` are those of ``PARTS``. A share is a ratio of means, growth drawn with its
    part; it is missing where growth's interval holds 0.
    """
    values = part_values(progress)
    events = values.shape[-1]
    table = values.reshape(-1, events).T
    whole = np.stack(bootstrap_means(table)).reshape(3, -1, len(PARTS) + 1)
    mean, low, high = whole
    again = (resamples(events, 0) @ table / events).reshape(-1, *mean.shape)
    grew = (low[:, -1:] > 0) | (high[:, -1:] < 0)
    share = np.divide(mean, mean[:, -1:], out=np.full_like(mean, np.nan), where=grew)
    with np.errstate(invalid="ignore", divide="ignore"):  # what did not grow is left out
        ends = np.where(grew, interval(again / again[:, :, -1:]), np.nan)
    shares = np.stack([share, *ends])
    beyond = bootstrap_means((values[:, :, -1] - values[:, :, 0]).reshape(-1, events).T)
    found = [
        ("growth", "", "", whole[..., -1]),
        ("growth", "", OTHER_VALUES, whole[..., 0]),
        ("growth", "", EXCESS, np.stack(beyond)),
    ]
    for i, part in enumerate(PARTS):
        found.append(("growth_part", part, "", whole[..., i]))
        found.append(("growth_share", part, "", shares[..., i]))
    frames = [
        _of_scalars(progress, numbers).assign(part=part, against=against, measure=measure)
        for measure, part, against, numbers in found
    ]
    frame = pd.concat(frames, ignore_index=True)
    return estimates(frame, _UNITS, "events", step=progress.steps[-1], count=events)
