"""When each candidate rose, fell or rested, and in what order those that rose did.

1. *Phases*. A candidate's change between neighbouring checkpoints is paired by event; intervals
   hold all candidates and all neighbouring checkpoints at once. By the one rule of evidence it
   *rises* where the interval lies above 0, *falls* where it lies below, and else *rests*. Stretches
   of one kind are told together, with the change over all of it.
2. *Order*. A candidate whose change over the window is shown to be a rise (all candidates at once)
   has a *half-way* checkpoint: the first from which on its mean is at least midway between its
   first and its last. Resampling events resamples all curves, and with them the order. Of
   neighbours in it there is the *lead*, half-way to half-way, with intervals that hold for all
   neighbours at once. Candidates that are half-way at one checkpoint lead by 0 steps: between
   checkpoints nothing is ordered.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.estimates import estimates
from circuit.evidence import Estimate, Verdict, verdict
from circuit.landmarks import beyond, half_level, stays_from, step_at
from circuit.measures.candidates.ranking import SIZE_UNIT, sized
from circuit.statistics import draws, interval_of_found, simultaneous_interval, told

PHASES: dict[Verdict, str] = {"shown": "rises", "opposite": "falls", "open": "rests"}
"""What a change between checkpoints is called, by whether it is shown."""
_ENDS = ("mean", "low", "high")


def summarise(
    candidates: pd.DataFrame, values: Mapping[int, Float[np.ndarray, "S E"]]
) -> pd.DataFrame:
    """Estimates about phases and order; see the module.

    ``stretch`` is a change between neighbouring checkpoints as an effect size, ``strip`` the same
    and 0 where it rests, ``phase`` that of stretches of one kind together. ``half_way`` is missing
    where no rise is shown, the first ``lead`` where fewer than two rise.

    Args:
        candidates: candidate and unit, in the order of ``values``.
        values: of every candidate on every event, by checkpoint step.
    """
    steps, names = sorted(values), candidates["candidate"].to_numpy()
    curves = np.stack([values[step] for step in steps], -1)
    events = curves.shape[1]
    drawn = np.tensordot(draws(events) / events, curves, (1, 1))  # [r+1, S, C]
    changes, shown = _at_once(np.diff(drawn, axis=-1), events)
    _, risen = _at_once((drawn[..., -1] - drawn[..., 0])[..., None], events)
    half = step_at(
        np.array(steps, dtype=float), stays_from(beyond(drawn, half_level(drawn)[..., None]))
    )
    half = np.where(risen[:, 0] == "shown", half, np.nan)

    order, count = np.argsort(half[0], kind="stable"), int((risen == "shown").sum())
    place = [str(i + 1) if i < count else "" for i in range(len(order))]
    when = pd.DataFrame({"candidate": names[order], "place": place, "step": steps[-1]})
    when = when.assign(**dict(zip(_ENDS, told(half[:, order], interval_of_found), strict=True)))
    pairs = max(count - 1, 1)
    leads = np.diff(half[:, order[: pairs + 1]], axis=1)
    between: tuple[np.ndarray, ...] = (np.full(pairs, np.nan),) * 2
    if count > 1:
        between = simultaneous_interval(leads[0], leads[np.isfinite(leads).all(1)][1:])
    lead = when.head(pairs).assign(other=names[order[1 : pairs + 1]])
    lead = lead.assign(place=[str(i + 1) for i in range(pairs)])
    lead = lead.assign(**dict(zip(_ENDS, (leads[0], *between), strict=True)))

    width = len(steps) - 1
    sizes = sized(changes.reshape(len(names), -1), curves[..., 0], curves[..., -1])
    stretch = pd.DataFrame(sizes.reshape(-1, 3), columns=_ENDS).assign(
        candidate=np.repeat(names, width),
        step=np.tile(steps[:-1], len(names)),
        stop=np.tile(steps[1:], len(names)).astype(str),
        phase=[PHASES[one] for one in shown.ravel()],
    )
    stretch = stretch.loc[np.concatenate([np.arange(width) + s * width for s in order])]
    number = {name: s for s, name in enumerate(names)}
    place_of = {str(step): c for c, step in enumerate(steps)}
    new = stretch[["candidate", "phase"]].ne(stretch[["candidate", "phase"]].shift()).any(axis=1)
    phases = []
    for _, part in stretch.groupby(new.cumsum()):
        first, s = part.iloc[0], number[part["candidate"].iloc[0]]
        from_to = place_of[str(first["step"])], place_of[part["stop"].iloc[-1]]
        ends = told(drawn[:, s, from_to[1]] - drawn[:, s, from_to[0]])
        about = {**first, "stop": part["stop"].iloc[-1], "unit": candidates["unit"].iloc[s]}
        phases.append({**about, **dict(zip(_ENDS, ends, strict=True))})
    strip = stretch.assign(mean=stretch["mean"].where(stretch["phase"] != PHASES["open"], 0.0))
    strip = strip[["candidate", "step", "stop", "mean"]]
    parts = {
        "stretch": stretch,
        "strip": strip,
        "phase": pd.DataFrame(phases),
        "half_way": when,
        "lead": lead,
    }
    rows = pd.concat([part.assign(measure=name) for name, part in parts.items()])
    units = {"stretch": SIZE_UNIT, "strip": SIZE_UNIT, "half_way": "step", "lead": "steps"}
    rows["unit"] = rows["measure"].map(units).fillna(rows["unit"])
    keys = dict.fromkeys(("other", "stop", "phase", "place"), "")
    return estimates(rows.fillna(keys), noun="events", count=events)


def _at_once(
    drawn: Float[np.ndarray, "r+1 S n"], events: int
) -> tuple[Float[np.ndarray, "S n 3"], np.ndarray]:
    """Value, low and high of numbers, whose intervals hold at once, and their verdicts [S, n]."""
    flat = drawn.reshape(len(drawn), -1)
    ends = np.stack([flat[0], *simultaneous_interval(flat[0], flat[1:])], -1)
    verdicts = np.array([verdict(Estimate(mean, low, high, events)) for mean, low, high in ends])
    return ends.reshape(*drawn.shape[1:], 3), verdicts.reshape(drawn.shape[1:])
