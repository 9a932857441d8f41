"""What the optimizer's trace says."""

from __future__ import annotations

import pandas as pd

from circuit.config.terms import COMPONENTS, VERIFICATION_UNITS
from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account


def trace(rows: pd.DataFrame, top: pd.DataFrame, verified: pd.DataFrame) -> Account:
    """The optimizer step by step."""
    first, last = int(rows["step"].min()), int(rows["step"].max())
    clipped = float((rows["clip_coefficient"] < 1).mean())
    exact = int((verified["max_abs_difference"] == 0).sum())
    median = {c: float(rows[f"{c}_norm"].median()) for c in COMPONENTS}
    answer = (
        f"Steps {first:,} to {last:,} were replayed and arrive bit for bit at {exact} of "
        f"{len(verified)} checkpoints on the way; the four components sum to every update exactly. "
        f"The gradient was clipped in {clipped:.0%} of steps. The median norm of the momentum "
        f"component is {median['momentum'] / median['current_gradient']:.2f} times that of the "
        "current gradient."
    )
    numbers = [
        Number(f"median norm of {c}", median[c], "parameter unit", count=len(rows))
        for c in COMPONENTS
    ]
    numbers += [
        Number(
            "median update norm",
            float(rows["update_norm"].median()),
            "parameter unit",
            count=len(rows),
        ),
        Number("share of steps with clipping", clipped, "share", count=len(rows)),
        Number(
            "largest replay difference",
            float(verified["max_abs_difference"].max()),
            "parameter unit",
            count=len(verified),
            note="0 means bit for bit",
        ),
    ]
    moved = top.groupby("parameter", sort=False)["update_norm"].agg(["mean", "count"])
    moved = moved.sort_values("mean", ascending=False).reset_index()
    marks = (
        []
        if exact == len(verified)
        else ["The replay was accepted within the recipe's tolerance, not bit for bit."]
    )
    return Account(
        question="What did the optimizer do at every step?",
        answer=answer,
        numbers=numbers,
        tables=[
            Table(
                "Parameters by mean update norm while among the largest",
                moved,
                {"mean": "parameter unit", "count": "steps"},
            ),
            Table(
                "Replay against recorded checkpoints",
                verified,
                VERIFICATION_UNITS,
            ),
        ],
        figures=[
            Figure(
                "trace.svg",
                "Loss, gradient norm before clipping, clip coefficient and learning"
                " rate of every replayed step.",
            ),
            Figure(
                "components.svg",
                "Norms of the update and of its components (log scale). "
                "Splitting current gradient from momentum is a convention: the preconditioner "
                "holds both.",
            ),
        ],
        marks=marks,
    )
