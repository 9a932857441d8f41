"""What the head scan says: which head learned to look."""

from __future__ import annotations

from typing import Any

import pandas as pd

from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account

_UNITS = {
    "qk_separation": "score",
    "qk_separation_rank": "score",
    "support_beats_all": "1",
    "support_attention": "probability",
    "ov_value_margin": "logit",
}


def scan(
    rows: pd.DataFrame, selection: dict[str, Any], correlations: pd.DataFrame, rank: int
) -> Account:
    """The scan over heads and checkpoints."""
    criterion, (first, last) = selection["criterion"], selection["window"]
    winner, runner_up, bottom = (selection[r] for r in ("winner", "runner_up", "bottom"))
    unit = selection["unit"]
    by = {r["head"]: r for r in selection["ranking"]}
    grown = {head: r["confirmation"] for head, r in by.items()}
    at = rows[rows["half"] == "all"].set_index(["step", "head", "measure"])
    beats = at.loc[(last, winner, "support_beats_all")]
    if by[winner]["low"] > 0 and beats["mean"] >= 0.5:
        learned = f"{winner} learned to look at the support value: its {criterion} grew"
    elif by[winner]["low"] > 0:
        learned = (
            f"{winner} began to look at the support value but does not single it out: its "
            f"{criterion} grew"
        )
    else:
        learned = (
            f"No head learned to look at the support value: the {criterion} of {winner}, the best "
            "on the events that choose, changed"
        )
    answer = (
        f"{learned} by {grown[winner]:+.2f} {unit} (95% interval {by[winner]['low']:+.2f} to "
        f"{by[winner]['high']:+.2f}) from step {first:,} to {last:,} on events that "
        f"did not choose it, against {grown[runner_up]:+.2f} for the runner-up {runner_up} and "
        f"{grown[bottom]:+.2f} for the bottom control {bottom}. At step {last:,} the support "
        f"value's score beats every distractor's in {beats['mean']:.0%} of reads."
    )
    numbers = [
        Number(
            f"growth of {criterion} of {role} {head}, step {first:,} to {last:,}",
            grown[head],
            unit,
            by[head]["low"],
            by[head]["high"],
            by[head]["count"],
            note="events that did not choose the head",
            signed=True,
        )
        for role, head in (("winner", winner), ("runner-up", runner_up), ("bottom", bottom))
    ]
    for role, head in (("winner", winner), ("runner-up", runner_up), ("bottom", bottom)):
        for measure, of in _UNITS.items():
            row = at.loc[(last, head, measure)]
            note = f"rank {rank}, own basis" if measure == "qk_separation_rank" else ""
            numbers.append(
                Number(
                    f"{measure} of {role} {head}, at step {last:,}",
                    float(row["mean"]),
                    of,
                    float(row["low"]),
                    float(row["high"]),
                    int(row["count"]),
                    note,
                )
            )
    marks = (
        []
        if selection["confirmed"]
        else [f"The confirmation half of the events would have chosen another head than {winner}."]
    )
    ranking = pd.DataFrame(selection["ranking"])
    singular = rows[rows["measure"].str.startswith("singular_value")]
    spectrum = (
        singular[singular["step"] == last]
        .pivot(index="head", columns="measure", values="mean")
        .reset_index()
    )
    return Account(
        question="Which attention head learned to look up the right value?",
        answer=answer,
        numbers=numbers,
        tables=[
            Table(
                f"Growth of {criterion}, step {first:,} to {last:,} ({selection['rule']})",
                ranking,
                {
                    **dict.fromkeys(("selection", "confirmation", "low", "high"), unit),
                    "count": "1",
                },
            ),
            Table(
                "Spearman correlation over checkpoints with the answer margin",
                correlations,
                {"correlation": "1", "count": "checkpoints"},
            ),
            Table(
                f"Largest singular values of W_QK at step {last:,}",
                spectrum,
                {c: "score·√d_head" for c in spectrum.columns if c != "head"},
            ),
        ],
        figures=[
            Figure(
                "separation.svg",
                "QK separation of every head over training, with 95% "
                "intervals over events; below, how often the support value beats every "
                "distractor.",
            ),
            Figure("head_map.svg", "QK separation of every head at every checkpoint."),
        ],
        marks=marks,
    )
