"""What a cross-seed analysis says."""

from __future__ import annotations

import pandas as pd

from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account


def seeds(rows: pd.DataFrame) -> Account:
    """Whether the finding repeats."""
    means = rows[rows["run"] == "mean"].set_index(["role", "measure"])
    runs = rows[rows["run"] != "mean"]
    n = runs["run"].nunique()
    winner, bottom = means.loc[("winner", "growth")], means.loc[("bottom", "growth")]
    growth = runs[runs["measure"] == "growth"]
    by_role = growth.pivot(index="run", columns="role", values="value")
    heads = growth[growth["role"] == "winner"]["head"]
    gradient = means.loc[("winner", "share_current_gradient")]
    momentum = means.loc[("winner", "share_momentum")]
    answer = (
        f"In {(by_role['winner'] > 0).sum()} of {n} runs a head's separation grows: winners "
        f"{', '.join(heads)}, mean growth over the scan's window {winner['value']:+.2f} "
        f"{winner['unit']} against {bottom['value']:+.2f} for the bottom controls. Of the winners' "
        f"growth over the attribution's window, momentum carries {momentum['value']:+.0%} and the "
        f"current gradient {gradient['value']:+.0%} on average."
    )
    numbers = [
        Number(
            f"{measure} of the {role}",
            float(r["value"]),
            "share" if measure.startswith("share_") else str(r["unit"]),
            float(r["low"]),
            float(r["high"]),
            int(r["count"]),
            "mean and interval over seeds",
            signed=measure != "birth_step",
        )
        for (role, measure), r in means.iterrows()
    ]
    marks = [
        f"In run {run} the runner-up grows no less than the winner on the events that did not "
        "choose them."
        for run in by_role.index[by_role["runner_up"] >= by_role["winner"]]
    ]
    born = set(runs[runs["measure"] == "birth_step"]["run"])
    unborn = [run for run in dict.fromkeys(runs["run"]) if run not in born]
    if unborn:
        marks.append(
            f"The behaviour never forms in {', '.join(unborn)}; the mean birth step leaves "
            + ("it" if len(unborn) == 1 else "them")
            + " out."
        )
    if n < 5:
        marks.append(f"{n} seeds: the interval over seeds is rough; read it with the single runs.")
    return Account(
        question="Does it repeat over seeds?",
        answer=answer,
        numbers=numbers,
        tables=[
            Table(
                "Every run; growths with intervals over events",
                runs,
                {
                    "seed": "id",
                    **dict.fromkeys(("value", "low", "high"), "see unit"),
                    "count": "1",
                },
            )
        ],
        figures=[
            Figure(
                "seeds.svg",
                "Growth of winner, runner-up and bottom head per seed with "
                "the mean and its interval over seeds; component shares of the winner.",
            )
        ],
        marks=marks,
    )
