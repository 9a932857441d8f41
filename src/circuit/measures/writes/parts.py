"""Whether a scalar grew because the head looks better or because it reads better. No torch here.

With a scalar f(attention, values) under the four conditions, p the attention on support_value (1
for a scalar that does not read attention), and at every checkpoint

    read     = f(real, real) − f(real, shuffled)          what this event's values add as it is
    offered  = f(forced, real) − f(forced, shuffled)      what they would add under full attention

f(real, real) = f(real, shuffled) + p · offered + (read − p · offered), term by term. Between two
neighbouring checkpoints Δ(p · offered) = mean offered · Δp + mean p · Δoffered exactly, with the
mean of both ends. So the growth from the first to the last checkpoint is the sum of

1. ``shuffled``: growth with another event's values, which the scalar should not have;
2. ``attention``: Σ mean offered · Δp, since more attention lies on the support value;
3. ``values``: Σ mean p · Δoffered, since what is read there says more about the answer;
4. ``elsewhere``: the growth of what is left, read at other positions (or, of a moving margin, not
   additive).

This is done event by event. Where both grow in the same interval, half of what they make together
goes to each: a convention, and a finer schedule of checkpoints leaves less to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.estimates import EXCESS, estimates
from circuit.measures.writes.measured import Progress
from circuit.measures.writes.names import OTHER_VALUES, PARTS, SCALARS, UNATTENDED, UNIT
from circuit.statistics import bootstrap_means, interval, resamples


def part_values(progress: Progress) -> Float[np.ndarray, "H M P+1 E"]:
    """The parts of every scalar's growth on every event, in the order of ``PARTS``; growth last."""
    real, shuffled, forced, forced_shuffled = np.moveaxis(progress.values, 3, 0)
    mass = np.repeat(progress.mass[:, :, None], len(SCALARS), axis=2)
    mass[:, :, [name in UNATTENDED for name in SCALARS]] = 1.0
    offered = forced - forced_shuffled
    rest = real - shuffled - mass * offered
    parts = {
        "shuffled": shuffled[-1] - shuffled[0],
        "attention": (_middle(offered) * np.diff(mass, axis=0)).sum(0),
        "values": (_middle(mass) * np.diff(offered, axis=0)).sum(0),
        "elsewhere": rest[-1] - rest[0],
        "growth": real[-1] - real[0],
    }
    return np.stack([parts[name] for name in (*PARTS, "growth")], axis=2)


def _middle(values: Float[np.ndarray, "S ..."]) -> Float[np.ndarray, "S-1 ..."]:
    """Means of neighbouring checkpoints."""
    middle: Float[np.ndarray, "S-1 ..."] = (values[1:] + values[:-1]) / 2
    return middle


def growth_parts(progress: Progress) -> pd.DataFrame:
    """Growth of every scalar, its parts and their shares of it, as estimates by head, scalar, part.

    ``growth`` has that with another event's values as its control, and its excess; ``growth_part``
    and ``growth_share`` are those of ``PARTS``. A share is a ratio of means, growth drawn with its
    part; it is missing where growth's interval holds 0.
    """
    values = part_values(progress)
    events = values.shape[-1]
    table = values.reshape(-1, events).T
    mean, low, high = (part.reshape(-1, len(PARTS) + 1) for part in bootstrap_means(table))
    again = (resamples(events, 0) @ table / events).reshape(-1, *mean.shape)
    grew = (low[:, -1:] > 0) | (high[:, -1:] < 0)
    share = np.divide(mean, mean[:, -1:], out=np.full_like(mean, np.nan), where=grew)
    with np.errstate(invalid="ignore", divide="ignore"):  # what did not grow is left out
        ends = np.where(grew, interval(again / again[:, :, -1:]), np.nan)
    beyond = bootstrap_means((values[:, :, -1] - values[:, :, 0]).reshape(-1, events).T)
    names = [(head, scalar) for head in progress.heads for scalar in SCALARS]

    def rows(measure: str, numbers: Sequence[Float[np.ndarray, " n"]], **keys: str) -> pd.DataFrame:
        ends = dict(zip(("mean", "low", "high"), numbers, strict=True))
        frame = pd.DataFrame(names, columns=["head", "scalar"])
        return frame.assign(**{"part": "", "against": "", **keys}, measure=measure, **ends)

    frames = [
        rows("growth", (mean[:, -1], low[:, -1], high[:, -1])),
        rows("growth", (mean[:, 0], low[:, 0], high[:, 0]), against=OTHER_VALUES),
        rows("growth", beyond, against=EXCESS),
    ]
    for i, part in enumerate(PARTS):
        frames.append(rows("growth_part", (mean[:, i], low[:, i], high[:, i]), part=part))
        frames.append(rows("growth_share", (share[:, i], *ends[:, :, i]), part=part))
    unit = {"growth": UNIT, "growth_part": UNIT, "growth_share": "share"}
    frame = pd.concat(frames, ignore_index=True)
    return estimates(frame, unit, "events", step=progress.steps[-1], count=events)
