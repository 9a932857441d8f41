"""States of several checkpoints as sparse sums of directions, some of which are born on the way.

1. A state is the same input seen at C checkpoints. Which of F features an input has is drawn once,
   each with probability ``rate``, and how much of each, between 1 and 2.
2. At checkpoint t feature i adds  amount · gain[i, t] · direction[i, t], a unit direction; normal
   noise of standard deviation ``noise`` comes to every coordinate.
3. Features take turns being of one of four sorts. ``constant``: there from the first checkpoint
   on. ``born``: gain 0 before a checkpoint, 1 from then on; births are spread evenly. ``shrinks``:
   gain 1 at first, a quarter in the last third. ``turns``: there all the time, its direction turns
   by a right angle from the first checkpoint to the last.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

SORTS = ("born", "constant", "born", "turns", "born", "shrinks")
_SHRUNK, _LATE = 0.25, 2 / 3


class PlantedBirths(NamedTuple):
    """States [n, C, d] in float32, and what they were made of."""

    states: Float[np.ndarray, "n C d"]
    direction: Float[np.ndarray, "F C d"]
    gain: Float[np.ndarray, "F C"]
    amount: Float[np.ndarray, "n F"]
    sort: tuple[str, ...]
    born: Int[np.ndarray, " F"]

    @property
    def decoder(self) -> Float[np.ndarray, "F C d"]:
        """What one unit of every feature adds at every checkpoint."""
        return np.asarray(self.direction * self.gain[..., None])


def planted_births(
    n: int = 4000,
    checkpoints: int = 8,
    width: int = 24,
    features: int = 36,
    rate: float = 0.06,
    noise: float = 0.02,
    seed: int = 0,
) -> PlantedBirths:
    """Draw a world; the same seed, the same bits."""
    rng = np.random.default_rng(seed)
    sort = tuple(SORTS[i % len(SORTS)] for i in range(features))
    direction = np.empty((features, checkpoints, width))
    gain, born = np.ones((features, checkpoints)), np.zeros(features, dtype=np.int64)
    angles = np.linspace(0, np.pi / 2, checkpoints)[:, None]
    late = np.arange(checkpoints) >= _LATE * checkpoints
    births = 0
    for i, kind in enumerate(sort):
        plane, _ = np.linalg.qr(rng.standard_normal((width, 2)))
        turned = angles if kind == "turns" else 0 * angles
        direction[i] = np.cos(turned) * plane[:, 0] + np.sin(turned) * plane[:, 1]
        if kind == "born":
            born[i] = 1 + births % (checkpoints - 1)
            births += 1
            gain[i, : born[i]] = 0
        elif kind == "shrinks":
            gain[i, late] = _SHRUNK
    amount = (rng.random((n, features)) < rate) * rng.uniform(1, 2, (n, features))
    states = np.einsum("nf,fcd->ncd", amount, direction * gain[..., None], optimize=True)
    states += noise * rng.standard_normal(states.shape) + rng.standard_normal((checkpoints, width))
    return PlantedBirths(states.astype(np.float32), direction, gain, amount, sort, born)
