"""The reference model: one checkpoint out of all completed runs, chosen with held-out data.

``POLICY`` says how; the choice carries it along.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from circuit.estimates import estimates
from circuit.measures.sweep.curves import overall

POLICY = (
    "Among checkpoints whose validation accuracy reaches a floor, the one with the highest "
    "held-out accuracy wins; ties go to higher validation accuracy, then to the earlier step, then "
    "to the run's name. If no checkpoint reaches the floor, the highest validation accuracy wins "
    "and the choice says so."
)
_ENDS = ("low", "high", "count")


def candidates(run: str, rows: pd.DataFrame, validation: str, heldout: str) -> pd.DataFrame:
    """Every checkpoint of a run with both accuracies, from its sweep's rows.

    Columns: run, step, and for ``validation`` and ``heldout`` the mean under that name, and its
    ``_low``, ``_high`` and ``_count`` (reads).
    """
    both = []
    for name, split in (("validation", validation), ("heldout", heldout)):
        columns = [name, *(f"{name}_{end}" for end in _ENDS)]
        kept = overall(rows, split).set_index("step")[["mean", *_ENDS]]
        both.append(kept.set_axis(columns, axis=1))
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


def candidate_rows(rows: pd.DataFrame, floor: float) -> pd.DataFrame:
    """Estimates of every candidate's two accuracies.

    Keys: run, split (``validation`` or ``heldout``), place (1 is the choice; empty where the
    checkpoint could not be chosen); those with a place come first. The measure ``reaches_floor``
    of the choice is 1 or 0.
    """
    ranked = rank_candidates(rows, floor)
    places = pd.Series([str(i + 1) for i in range(len(ranked))], index=ranked.index)
    ordered = rows.loc[[*ranked.index, *rows.index.difference(ranked.index)]]
    ordered = ordered.assign(place=places).fillna({"place": ""})
    parts = [
        pd.DataFrame(
            {
                **{key: ordered[key] for key in ("run", "step", "place")},
                "split": name,
                "measure": "accuracy",
                "mean": ordered[name],
                **{end: ordered[f"{name}_{end}"] for end in _ENDS},
                "noun": "reads",
                "unit": "share",
            }
        )
        for name in ("heldout", "validation")
    ]
    best = ordered.iloc[:1]
    reached = best[["run", "step", "place"]].assign(
        split="validation", measure="reaches_floor", mean=1.0 * (best["validation"] >= floor),
        unit="1", count=0, noun="",
    )  # fmt: skip
    return estimates(pd.concat([*parts, reached], ignore_index=True))
