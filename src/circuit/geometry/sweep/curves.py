"""Reading a sweep's rows: curves over checkpoints, birth and best steps. No torch here.

- The birth step is the first checkpoint from which accuracy stays at or above a threshold.
- The best checkpoint is the one with the highest accuracy on a split; ties go to the earlier one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool


def overall(rows: pd.DataFrame, split: str, measure: str = "accuracy") -> pd.DataFrame:
    """A split's rows over all reads for one measure, by step."""
    chosen = (rows["split"] == split) & (rows["slice"] == "all") & (rows["measure"] == measure)
    return rows[chosen].sort_values("step").reset_index(drop=True)


def lasting(reached: Bool[np.ndarray, " C"]) -> int | None:
    """Number of the first checkpoint from which a condition holds at all later ones."""
    missed = np.flatnonzero(~reached)
    first = int(missed[-1]) + 1 if missed.size else 0
    return first if first < len(reached) else None


def birth_step(rows: pd.DataFrame, split: str, threshold: float) -> int | None:
    """First checkpoint from which the split's accuracy stays at or above ``threshold``."""
    curve = overall(rows, split)
    first = lasting(curve["mean"].to_numpy() >= threshold)
    return None if first is None else int(curve["step"].iloc[first])


def best_step(rows: pd.DataFrame, split: str) -> int:
    """Checkpoint with the split's highest accuracy, the earliest of equals."""
    curve = overall(rows, split)
    return int(curve["step"].iloc[curve["mean"].argmax()])
