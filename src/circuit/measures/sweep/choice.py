"""The reference model: one checkpoint out of all completed runs, chosen with held-out data.

``POLICY`` says how; the choice carries it along.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from circuit.measures.sweep.curves import overall

POLICY = (
    "Among checkpoints whose validation accuracy reaches a floor, the one with the highest "
    "held-out accuracy wins; ties go to higher validation accuracy, then to the earlier step, then "
    "to the run's name. If no checkpoint reaches the floor, the highest validation accuracy wins "
    "and the choice says so."
)
CANDIDATE_UNITS = {
    "step": "step",
    "validation": "1",
    "validation_low": "1",
    "validation_high": "1",
    "validation_count": "1",
    "heldout": "1",
    "heldout_low": "1",
    "heldout_high": "1",
    "heldout_count": "1",
}


def candidates(run: str, rows: pd.DataFrame, validation: str, heldout: str) -> pd.DataFrame:
    """Every checkpoint of a run with both accuracies, from its sweep's rows.

    Columns: run and those of ``CANDIDATE_UNITS``.
    """
    kept = ["mean", "low", "high", "count"]
    both = []
    for name, split in (("validation", validation), ("heldout", heldout)):
        columns = [name, *(f"{name}_{part}" for part in kept[1:])]
        both.append(overall(rows, split).set_index("step")[kept].set_axis(columns, axis=1))
    every = both[0].join(both[1], validate="one_to_one").reset_index()
    every.insert(0, "run", run)
    return every


def rank_candidates(rows: pd.DataFrame, floor: float) -> pd.DataFrame:
    """The checkpoints that may be chosen, best first, by ``POLICY``."""
    reached = rows[rows["validation"] >= floor]
    order = ["heldout", "validation"] if len(reached) else ["validation", "heldout"]
    pool = reached if len(reached) else rows
    return pool.sort_values(
        [*order, "step", "run"], ascending=[False, False, True, True], kind="stable"
    )


def choose(rows: pd.DataFrame, floor: float) -> dict[str, Any]:
    """The chosen checkpoint with the numbers that chose it."""
    best = rank_candidates(rows, floor).iloc[0]
    return {
        "run": best["run"],
        "step": int(best["step"]),
        "heldout_accuracy": float(best["heldout"]),
        "heldout_low": float(best["heldout_low"]),
        "heldout_high": float(best["heldout_high"]),
        "heldout_count": int(best["heldout_count"]),
        "validation_accuracy": float(best["validation"]),
        "validation_low": float(best["validation_low"]),
        "validation_high": float(best["validation_high"]),
        "validation_count": int(best["validation_count"]),
        "floor": floor,
        "floor_reached": bool(best["validation"] >= floor),
        "policy": POLICY,
    }
