"""What full evaluations and the choice of a reference model say."""

from __future__ import annotations

from typing import Any

import pandas as pd

from circuit.measures.sweep.choice import CANDIDATE_UNITS, rank_candidates
from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account
from circuit.reports.read_measures import ROW_UNITS, UNITS, measured, over_all_reads


def evaluation(rows: pd.DataFrame, step: int, chosen_by: str | None = None) -> Account:
    """Every split in full, at one checkpoint; ``chosen_by`` is the split that chose it, if any."""
    biased = (
        f" The checkpoint was chosen by its accuracy on programs of {chosen_by}, so the number "
        "there is biased upwards."
        if chosen_by
        else ""
    )
    whole = over_all_reads(rows)
    accuracy = whole[whole["measure"] == "accuracy"]
    listed = ", ".join(f"{r['split']} {r['mean']:.3f}" for _, r in accuracy.iterrows())
    numbers = [
        measured(f"{row['measure']} on {row['split']}", row, UNITS[row["measure"]])
        for _, row in whole[whole["measure"].isin(["accuracy", "margin", "entropy"])].iterrows()
    ]
    sliced = rows[rows["measure"] == "accuracy"]
    return Account(
        question=f"How well does the checkpoint at step {step:,} do on whole splits?",
        answer=f"Answer accuracy at step {step:,}: {listed}." + biased,
        numbers=numbers,
        tables=[Table("Accuracy per split and slice", sliced, ROW_UNITS)],
        figures=[
            Figure(
                "splits.svg",
                f"Accuracy and margin per split at step {step:,}, every program of the split.",
            )
        ],
    )


def reference_choice(rows: pd.DataFrame, choice: dict[str, Any]) -> Account:
    """The reference model and why it is that one."""
    answer = (
        f"The reference model is run {choice['run']} at step {choice['step']:,}: held-out accuracy "
        f"{choice['heldout_accuracy']:.3f}, validation accuracy {choice['validation_accuracy']:.3f}"
        "."
    )
    marks = (
        []
        if choice["floor_reached"]
        else [
            f"No checkpoint reaches validation accuracy {choice['floor']:g}; the one with the "
            "highest validation accuracy was taken."
        ]
    )
    ranked = rank_candidates(rows, choice["floor"])
    return Account(
        question="Which checkpoint is the reference model?",
        answer=answer,
        numbers=[
            Number(
                "held-out accuracy",
                choice["heldout_accuracy"],
                "1",
                choice["heldout_low"],
                choice["heldout_high"],
                choice["heldout_count"],
                f"the best of {len(ranked):,} checkpoints by the policy, so biased upwards",
            ),
            Number(
                "validation accuracy",
                choice["validation_accuracy"],
                "1",
                choice["validation_low"],
                choice["validation_high"],
                choice["validation_count"],
            ),
        ],
        tables=[
            Table("The ten best candidates, the chosen one first", ranked.head(10), CANDIDATE_UNITS)
        ],
        marks=marks,
    )
