"""Reading a sweep's rows: curves over checkpoints, birth and best steps. No torch here.

- The birth step is the first checkpoint from which accuracy stays at or above a threshold.
- The best checkpoint is the one with the highest accuracy on a split; ties go to the earlier one.
"""

from __future__ import annotations

import pandas as pd

from circuit.landmarks import from_then_on


def overall(rows: pd.DataFrame, split: str, measure: str = "accuracy") -> pd.DataFrame:
    """A split's rows over all reads for one measure, by step."""
    chosen = (rows["split"] == split) & (rows["slice"] == "all") & (rows["measure"] == measure)
    return rows[chosen].sort_values("step").reset_index(drop=True)


def birth_step(rows: pd.DataFrame, split: str, threshold: float) -> int | None:
    """First checkpoint from which the split's accuracy stays at or above ``threshold``."""
    curve = overall(rows, split)
    return from_then_on(curve["step"].to_numpy(), curve["mean"].to_numpy() >= threshold)


def best_step(rows: pd.DataFrame, split: str) -> int:
    """Checkpoint with the split's highest accuracy, the earliest of equals."""
    curve = overall(rows, split)
    return int(curve["step"].iloc[curve["mean"].argmax()])
