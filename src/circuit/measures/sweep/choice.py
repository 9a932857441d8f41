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
SPLITS = ("heldout", "validation")


def candidates(run: str, rows: pd.DataFrame, validation: str, heldout: str) -> pd.DataFrame:
    """Every checkpoint of a run with both accuracies, from its sweep's rows.

    Columns: run, step, and for ``heldout`` and ``validation`` the ``_accuracy``, and its ``_low``,
    ``_high`` and ``_count`` (reads).
    """
    both = []
    for name, split in zip(SPLITS, (heldout, validation), strict=True):
        curve = overall(rows, split).set_index("step")[["mean", "low", "high", "count"]]
        both.append(curve.rename(columns={"mean": "accuracy"}).add_prefix(f"{name}_"))
    every = both[0].join(both[1], validate="one_to_one").reset_index()
    every.insert(0, "run", run)
    return every


def rank_candidates(rows: pd.DataFrame, floor: float) -> pd.DataFrame:
    """The checkpoints that may be chosen, best first, by ``POLICY``."""
    reached = rows[rows["validation_accuracy"] >= floor]
    first, second = SPLITS if len(reached) else SPLITS[::-1]
    return (reached if len(reached) else rows).sort_values(
        [f"{first}_accuracy", f"{second}_accuracy", "step", "run"],
        ascending=[False, False, True, True],
        kind="stable",
    )


def choose(rows: pd.DataFrame, floor: float) -> dict[str, Any]:
    """The chosen checkpoint with the numbers that chose it, those of :func:`candidates`."""
    [best] = rank_candidates(rows, floor).head(1).to_dict("records")
    reached = best["validation_accuracy"] >= floor
    return {**best, "floor": floor, "floor_reached": reached, "policy": POLICY}


def candidate_rows(rows: pd.DataFrame, floor: float) -> pd.DataFrame:
    """Estimates of every candidate's two accuracies.

    Keys: run, split (``validation`` or ``heldout``), place (1 is the choice; empty where the
    checkpoint could not be chosen); those with a place come first. The measure ``reaches_floor``
    of the choice is 1 or 0.
    """
    ranked = rank_candidates(rows, floor)
    places = [str(i + 1) for i in range(len(ranked))]
    others = rows.drop(ranked.index).assign(place="")
    ordered = pd.concat([ranked.assign(place=places), others])
    told = ordered[["run", "step", "place"]]
    parts = []
    for name in SPLITS:
        numbers = ordered.filter(regex=f"^{name}_").set_axis(
            ["mean", "low", "high", "count"], axis=1
        )
        accuracy = {"split": name, "measure": "accuracy", "unit": "share", "noun": "reads"}
        parts.append(told.join(numbers).assign(**accuracy))
    reached = 1.0 * (ordered["validation_accuracy"].head(1) >= floor)
    choice = told.head(1).assign(split="validation", measure="reaches_floor", unit="1")
    return estimates(pd.concat([*parts, choice.assign(mean=reached)], ignore_index=True))
