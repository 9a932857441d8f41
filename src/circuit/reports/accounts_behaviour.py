"""What the behaviour analyses say: sweeps, full evaluations, the choice of a reference model."""

from __future__ import annotations

from typing import Any

import pandas as pd

from circuit.geometry.choice import CANDIDATE_UNITS, rank_candidates
from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account

_UNITS = {
    "accuracy": "1",
    "margin": "logit",
    "value_margin": "logit",
    "entropy": "nat",
    "answer_loss": "nat",
    "q": "probability",
    "r": "probability",
    "w": "logit",
}
_ROW_UNITS = {
    "step": "step",
    **dict.fromkeys(("mean", "low", "high"), "unit of the measure"),
    "count": "1",
    "slice_value": "id",
}


def _number(name: str, row: pd.Series, note: str = "") -> Number:
    unit = _UNITS[row["measure"]]
    return Number(
        name,
        float(row["mean"]),
        unit,
        float(row["low"]),
        float(row["high"]),
        int(row["count"]),
        note,
    )


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["slice"] == "all"]


def sweep(
    rows: pd.DataFrame,
    birth: int | None,
    best: int,
    threshold: float,
    first_split: str,
    best_by: str = "heldout_pairs",
) -> Account:
    """Behaviour over training."""
    whole = _whole(rows)
    first, last = int(rows["step"].min()), int(rows["step"].max())
    at = whole.set_index(["step", "split", "measure"])
    end = at.loc[(last, first_split, "accuracy")]
    start = at.loc[(first, first_split, "accuracy")]
    born = (
        f"stays at or above {threshold:g} from step {birth:,}"
        if birth is not None
        else f"never stays at or above {threshold:g}"
    )
    answer = (
        f"Answer accuracy on {first_split} {born}; it is {start['mean']:.3f} untrained and "
        f"{end['mean']:.3f} at step {last:,}. The best checkpoint by accuracy on {best_by} is step "
        f"{best:,}."
    )
    numbers = []
    splits = [s for s in dict.fromkeys(whole["split"]) if s != "probes"]
    for step, when in ((first, "untrained"), (last, f"at step {last:,}")):
        for split in splits:
            row = at.loc[(step, split, "accuracy")].copy()
            row["measure"] = "accuracy"
            numbers.append(_number(f"accuracy on {split}, {when}", row))
    for measure in ("margin", "entropy"):
        row = at.loc[(last, first_split, measure)].copy()
        row["measure"] = measure
        numbers.append(_number(f"{measure} on {first_split}, at step {last:,}", row))
    for measure, name in (
        ("q", "best head's attention to the query key"),
        ("r", "best head's attention to the support value"),
        ("w", "value-only answer margin"),
    ):
        row = at.loc[(last, "probes", measure)].copy()
        row["measure"] = measure
        numbers.append(_number(f"{measure}: {name}, at step {last:,}", row))
    table = whole.drop(columns=["slice", "slice_value"])
    return Account(
        question="What behaviour is there, and when does it appear?",
        answer=answer,
        numbers=numbers,
        tables=[Table("Every measure at every checkpoint, over all reads", table, _ROW_UNITS)],
        figures=[
            Figure(
                "learning_curve.svg",
                "Answer accuracy over training, with 95% intervals over "
                "programs; the vertical line is the birth step.",
            ),
            Figure("slices.svg", "Accuracy by slice of the read events."),
            Figure(
                "coarse.svg",
                "The coarse measures q, r (best head's attention) and w (value-"
                "only margin) on the probe events.",
            ),
        ],
    )


def evaluation(rows: pd.DataFrame, step: int, chosen_by: str | None = None) -> Account:
    """Every split in full, at one checkpoint; ``chosen_by`` is the split that chose it, if any."""
    biased = (
        f" The checkpoint was chosen by its accuracy on programs of {chosen_by}, so the number "
        "there is biased upwards."
        if chosen_by
        else ""
    )
    whole = _whole(rows)
    accuracy = whole[whole["measure"] == "accuracy"]
    listed = ", ".join(f"{r['split']} {r['mean']:.3f}" for _, r in accuracy.iterrows())
    numbers = [
        _number(f"{row['measure']} on {row['split']}", row)
        for _, row in whole[whole["measure"].isin(["accuracy", "margin", "entropy"])].iterrows()
    ]
    sliced = rows[rows["measure"] == "accuracy"]
    return Account(
        question=f"How well does the checkpoint at step {step:,} do on whole splits?",
        answer=f"Answer accuracy at step {step:,}: {listed}." + biased,
        numbers=numbers,
        tables=[Table("Accuracy per split and slice", sliced, _ROW_UNITS)],
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
