"""The reference model: one checkpoint out of all completed runs, chosen with held-out data.

Among checkpoints whose validation accuracy reaches a floor, the one with the highest held-out
accuracy wins; ties go to higher validation accuracy, then to the earlier step, then to the run's
name. If no checkpoint reaches the floor, the highest validation accuracy wins and the choice says
so.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from circuit.geometry.curves import overall

CANDIDATE_UNITS = {
    "step": "step",
    "validation": "1",
    "heldout": "1",
    "heldout_low": "1",
    "heldout_high": "1",
    "heldout_count": "1",
}


def candidates(run: str, rows: pd.DataFrame, validation: str, heldout: str) -> pd.DataFrame:
    """Every checkpoint of a run with both accuracies, from its sweep's rows.

    Columns: run, step, validation, heldout, heldout_low, heldout_high, heldout_count.
    """
    v, h = overall(rows, validation), overall(rows, heldout)
    return pd.DataFrame(
        {
            "run": run,
            "step": v["step"],
            "validation": v["mean"],
            "heldout": h["mean"],
            "heldout_low": h["low"],
            "heldout_high": h["high"],
            "heldout_count": h["count"],
        }
    )


def choose(rows: pd.DataFrame, floor: float) -> dict[str, Any]:
    """The chosen checkpoint with the numbers that chose it."""
    reached = rows[rows["validation"] >= floor]
    order = ["heldout", "validation"] if len(reached) else ["validation", "heldout"]
    pool = reached if len(reached) else rows
    ranked = pool.sort_values(
        [*order, "step", "run"], ascending=[False, False, True, True], kind="stable"
    )
    best = ranked.iloc[0]
    return {
        "run": best["run"],
        "step": int(best["step"]),
        "heldout_accuracy": float(best["heldout"]),
        "heldout_low": float(best["heldout_low"]),
        "heldout_high": float(best["heldout_high"]),
        "heldout_count": int(best["heldout_count"]),
        "validation_accuracy": float(best["validation"]),
        "floor": floor,
        "floor_reached": bool(len(reached)),
        "policy": " ".join(__doc__.split("\n\n")[1].split()) if __doc__ else "",
    }
