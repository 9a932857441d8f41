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

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuit.measures.writes.measured import Progress
from circuit.measures.writes.names import PARTS, SCALARS, UNATTENDED
from circuit.statistics import bootstrap_means

PART_UNITS = {**dict.fromkeys(("mean", "low", "high"), "logit"), "share": "share", "count": "1"}


def part_values(progress: Progress) -> Float[np.ndarray, "H M P E"]:
    """The parts of every scalar's growth on every event, in the order of ``PARTS``."""
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
    return np.stack([parts[name] for name in PARTS], axis=2)


def _middle(values: Float[np.ndarray, "S ..."]) -> Float[np.ndarray, "S-1 ..."]:
    """Means of neighbouring checkpoints."""
    middle: Float[np.ndarray, "S-1 ..."] = (values[1:] + values[:-1]) / 2
    return middle


def growth_parts(progress: Progress) -> pd.DataFrame:
    """Means of the parts over events.

    Columns: head, scalar, part, mean, low, high, share (of the mean growth; missing where growth's
    interval holds 0), count (events).
    """
    values = part_values(progress)
    events = values.shape[-1]
    mean, low, high = (
        part.reshape(-1, len(PARTS)) for part in bootstrap_means(values.reshape(-1, events).T)
    )
    grew = (low[:, -1:] > 0) | (high[:, -1:] < 0)
    share = np.divide(mean, mean[:, -1:], out=np.full_like(mean, np.nan), where=grew)
    names = [(h, s, p) for h in progress.heads for s in SCALARS for p in PARTS]
    table = pd.DataFrame(names, columns=["head", "scalar", "part"])
    columns = {"mean": mean, "low": low, "high": high, "share": share}
    return table.assign(**{name: of.ravel() for name, of in columns.items()}, count=events)
