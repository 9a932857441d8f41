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

_HEAD = r"L\d+H\d+"


@dataclass(frozen=True)
class Curve:
    """One measure over checkpoints.

    Attributes:
        rule: ``level`` for a birth by threshold and change point, ``stays`` for a stabilisation.
        direction: 1 where larger is better, −1 where smaller is.
        level: of the threshold; None for half-way between the first and the last value.
        count, noun: observations behind each mean, the fewest of any checkpoint.
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
    def better(self) -> Float[np.ndarray, " C"]:
        """The edge of the band on the good side."""
        return self.high if self.direction > 0 else self.low

    @property
    def worse(self) -> Float[np.ndarray, " C"]:
        """The edge of the band on the bad side."""
        return self.low if self.direction > 0 else self.high

    @property
    def moves(self) -> bool:
        """Whether the last checkpoint is better than the first beyond both bands."""
        return bool(self.direction * (self.worse[-1] - self.better[0]) > 0)

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
    """Every curve of the module docstring.

    Args:
        rows, stages, components: a sweep's tables.
        split, heldout_split: whose accuracies are followed.
        threshold: accuracy from which an answer counts as learned.
        stable: rank correlation from which the order of heads counts as stable.

    Raises:
        AnalysisError: a table has no rows of a measure, or they are of fewer than two checkpoints.
    """
    found = [
        _curve("accuracy", "share", overall(rows, split), level=threshold),
        _curve("heldout_accuracy", "share", overall(rows, heldout_split), level=threshold),
    ]
    units = {"q": "probability", "r": "probability", "w": "logit"}
    found += [_curve(name, units[name], overall(rows, "probes", name)) for name in units]

    stages, components = (
        part[(part["against"] == "") & (part["half"] == ALL)] for part in (stages, components)
    )
    effects = components[components["measure"] == "ablation_effect"]
    effects = effects[effects["component"].str.fullmatch(_HEAD)]
    largest = effects.loc[effects.groupby("step")["mean"].idxmax()]
    found.append(_curve("importance", "logit", largest))

    chosen = (stages["stage"] == "final_norm") & (stages["role"] == "prediction")
    drift = stages[chosen & (stages["measure"] == "drift_reference")]
    own = (drift[["mean", "low", "high"]] == 0).all(axis=1)
    found.append(_curve("drift", "1", drift[~own], direction=-1))

    chosen = components["component"] == "heads"
    ranks = components[chosen & (components["measure"] == "rank_correlation_ablation")]
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
    return Curve(
        name,
        unit,
        rows["step"].to_numpy(dtype=np.int64),
        rows["mean"].to_numpy(dtype=np.float64),
        rows["low"].to_numpy(dtype=np.float64),
        rows["high"].to_numpy(dtype=np.float64),
        int(rows["count"].min()),
        noun=str(rows["noun"].iloc[0]),
        **how,
    )
