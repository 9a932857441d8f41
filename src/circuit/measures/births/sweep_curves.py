"""The curves of a sweep that can show a birth, each with its band and its good direction. No torch.

1. ``accuracy`` and ``heldout_accuracy`` of two splits; ``q``, ``r``, ``w`` of the probe events.
2. ``importance``: at each checkpoint, the largest ablation effect of any head. Which head that is
   may change, so the curve says when heads came to matter, not which; and the largest of several
   noisy effects lies above zero even where none matters.
3. ``drift``: relative distance of the last state at the prediction position to the reference
   checkpoint's; smaller is better. The reference has none by definition and is left out.
4. ``ranks``: rank correlation of the heads' ablation effects with the previous checkpoint's. Where
   heads have no order (a model with a single one) there is no such curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from circuit.errors import AnalysisError
from circuit.estimates import ALL
from circuit.landmarks import half_level
from circuit.measures.sweep.curves import overall


@dataclass(frozen=True)
class Curve:
    """One measure over checkpoints.

    ``rule``: ``level`` for a birth by threshold and change point, ``stays`` for a stabilisation;
    ``direction``: −1 where smaller is better; ``level``: the threshold, None for half-way between
    first and last value; ``count`` is the fewest of any checkpoint.
    """

    name: str
    unit: str
    steps: Int[np.ndarray, " C"]
    mean: Float[np.ndarray, " C"]
    low: Float[np.ndarray, " C"]
    high: Float[np.ndarray, " C"]
    count: int
    rule: Literal["level", "stays"] = "level"
    direction: Literal[1, -1] = 1
    level: float | None = None
    noun: str = "events"

    @property
    def edges(self) -> tuple[Float[np.ndarray, " C"], Float[np.ndarray, " C"]]:
        """The edges of the band on the good and on the bad side."""
        return (self.high, self.low) if self.direction > 0 else (self.low, self.high)

    @property
    def moves(self) -> bool:
        """Whether the last checkpoint is better than the first beyond both bands."""
        better, worse = self.edges
        return bool(self.direction * (worse[-1] - better[0]) > 0)

    @property
    def change(self) -> float:
        """Last value minus first."""
        return float(self.mean[-1] - self.mean[0])

    @property
    def threshold(self) -> float:
        """The level that counts as born."""
        return float(half_level(self.mean)) if self.level is None else self.level


def read_curves(
    rows: pd.DataFrame,
    stages: pd.DataFrame,
    components: pd.DataFrame,
    split: str,
    heldout_split: str,
    threshold: float,
    stable: float,
) -> list[Curve]:
    """Every curve of the module, from a sweep's tables.

    Args:
        split, heldout_split: whose accuracies are followed.
        threshold: accuracy from which an answer counts as learned.
        stable: rank correlation from which the order of heads counts as stable.

    Raises:
        AnalysisError: a table has no rows of a measure, or they are of fewer than two checkpoints.
    """
    stages, components = (
        part[(part["against"] == "") & (part["half"] == ALL)] for part in (stages, components)
    )
    effects = components[components["measure"] == "ablation_effect"]
    effects = effects[effects["component"].str.fullmatch(r"L\d+H\d+")]
    largest = effects.loc[effects.groupby("step")["mean"].idxmax()]
    last = (stages["stage"] == "final_norm") & (stages["role"] == "prediction")
    drift = stages[last & (stages["measure"] == "drift_reference")]
    own = (drift[["mean", "low", "high"]] == 0).all(axis=1)
    units = {"q": "probability", "r": "probability", "w": "logit"}
    found = [
        _curve("accuracy", "share", overall(rows, split), level=threshold),
        _curve("heldout_accuracy", "share", overall(rows, heldout_split), level=threshold),
        *(_curve(name, unit, overall(rows, "probes", name)) for name, unit in units.items()),
        _curve("importance", "logit", largest),
        _curve("drift", "1", drift[~own], direction=-1),
    ]
    ranks = components[components["measure"] == "rank_correlation_ablation"]
    ranks = ranks[ranks["component"] == "heads"]
    if ranks["mean"].notna().sum() > 1:
        found.append(_curve("ranks", "1", ranks, rule="stays", level=stable))
    return found


def _curve(name: str, unit: str, rows: pd.DataFrame, **how: Any) -> Curve:
    rows = rows.dropna(subset=["mean", "low", "high"]).sort_values("step")
    if len(rows) < 2 or rows["step"].duplicated().any():
        raise AnalysisError(
            what=f"no curve of {name}: {len(rows)} rows at {rows['step'].nunique()} checkpoints",
            where="the sweep's tables",
            expected="one row at each of at least two checkpoints",
            do="name a sweep of the splits that this analysis asks for, over several checkpoints",
        )
    steps = rows["step"].to_numpy(dtype=np.int64)
    mean, low, high = (rows[end].to_numpy(dtype=np.float64) for end in ("mean", "low", "high"))
    count, noun = int(rows["count"].min()), str(rows["noun"].iloc[0])
    return Curve(name, unit, steps, mean, low, high, count, noun=noun, **how)
