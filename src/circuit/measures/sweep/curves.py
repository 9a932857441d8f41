"""Reading a sweep's rows: curves over checkpoints, birth and best steps. No torch here.

- The birth step is the first checkpoint from which accuracy stays at or above a threshold.
- The best checkpoint is the one with the highest accuracy on a split; ties go to the earlier one.
- The answer is *readable* at a stage where the interval of a probe's or the lens' accuracy lies
  above one half.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from circuit.estimates import ALL, EXCESS, estimates
from circuit.landmarks import from_then_on

HALF = 0.5


def overall(rows: pd.DataFrame, split: str, measure: str = "accuracy") -> pd.DataFrame:
    """A split's rows over all reads for one measure, by step."""
    chosen = (rows["split"] == split) & (rows["slice"] == "all") & (rows["measure"] == measure)
    chosen &= (rows["against"] == "") & (rows["half"] == ALL)
    return rows[chosen].sort_values("step").reset_index(drop=True)


def birth_step(rows: pd.DataFrame, split: str, threshold: float) -> int | None:
    """First checkpoint from which the split's accuracy stays at or above ``threshold``."""
    curve = overall(rows, split)
    return from_then_on(curve["step"].to_numpy(), curve["mean"].to_numpy() >= threshold)


def best_step(rows: pd.DataFrame, split: str) -> int:
    """Checkpoint with the split's highest accuracy, the earliest of equals."""
    curve = overall(rows, split)
    return int(curve["step"].iloc[curve["mean"].argmax()])


def flag(threshold: float) -> str:
    """``0.5`` → ``"reaches_0.5"``."""
    return f"reaches_{threshold:g}"


def landmark_rows(
    rows: pd.DataFrame, split: str, threshold: float, levels: Sequence[float], best_by: str
) -> pd.DataFrame:
    """Estimates of unit step: ``birth``, ``best_checkpoint`` and ``first_reaches_…`` of each level.

    Args:
        split: whose birth, at the threshold, and levels are told.
        best_by: the split that decides which checkpoint is best.
    """
    found = [(split, "birth", birth_step(rows, split, threshold))]
    found += [(best_by, "best_checkpoint", best_step(rows, best_by))]
    for level in levels:
        reached = overall(rows, split, flag(level))
        step = reached.loc[reached["mean"] == 1, "step"].min()
        found.append((split, f"first_{flag(level)}", step))
    frame = pd.DataFrame(found, columns=["split", "measure", "mean"])
    return estimates(frame, "step", step=int(rows["step"].max()), slice="all", slice_value="")


def readable_rows(stages: pd.DataFrame) -> pd.DataFrame:
    """Where the answer can be read at the prediction position of the last checkpoint.

    Rows of ``probe_first_readable`` and ``lens_first_readable``: the first readable stage, or where
    there is none the one with the highest accuracy, beside its control.
    """
    last = stages[(stages["step"] == stages["step"].max()) & (stages["role"] == "prediction")]
    parts = []
    for name, target in (("probe", "answer"), ("lens", "")):
        at = last[(last["measure"] == f"{name}_accuracy") & (last["target"] == target)]
        own = at[at["against"] == ""]
        above = own[own["low"] > HALF]
        best = above.iloc[0] if len(above) else own.loc[own["mean"].idxmax()]
        kept = (at["stage"] == best["stage"]) & ~at["against"].str.startswith(EXCESS)
        parts.append(at[kept].assign(measure=f"{name}_first_readable"))
    return pd.concat(parts, ignore_index=True)
