"""What closure and cross-seed analyses say."""

from __future__ import annotations

import pandas as pd

from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account


def closure(
    scores: pd.DataFrame,
    coefficients: pd.DataFrame,
    rows: pd.DataFrame,
    window: tuple[int, int],
    head: str,
    control: str,
) -> Account:
    """How much of behaviour's change the routes explain.

    Args:
        scores: outcome, model, within, r2, low, high.
        head, control: the winner, and the bottom head.
    """
    events, intervals = rows["event"].nunique(), rows["start"].nunique()
    at = scores.set_index(["outcome", "model", "within"])
    parts, marks = [], []
    for outcome in dict.fromkeys(scores["outcome"]):
        r, c = at.loc[(outcome, "routes", True)], at.loc[(outcome, "control", True)]
        pooled = at.loc[(outcome, "routes", False)]
        parts.append(
            f"{r['r2']:+.2f} for {outcome} ({pooled['r2']:+.2f} when events of all intervals are "
            f"compared; {c['r2']:+.2f} for the bottom head {control})"
        )
        rivals = (("control", f"the bottom head {control}"), ("shuffled", "shuffled events"))
        reached = [n for model, n in rivals if r["low"] <= at.loc[(outcome, model, True)]["high"]]
        if reached:
            marks.append(
                f"{outcome}: within intervals, the interval of the routes' R² reaches that of "
                f"{' and of '.join(reached)}; that they explain more is not shown."
            )
    answer = (
        f"From step {window[0]:,} to {window[1]:,}, changes of {head}'s route scalars predict how "
        "events of one checkpoint interval differ, on events the fit never saw, with R² "
        + " and ".join(parts)
        + "."
    )
    numbers = [
        Number(
            f"R² of {r['outcome']}, {r['model']}, {'within' if r['within'] else 'pooled'}",
            float(r["r2"]),
            "1",
            float(r["low"]),
            float(r["high"]),
            events,
            signed=True,
        )
        for _, r in scores.iterrows()
    ]
    per_route = dict.fromkeys(("coefficient", "low", "high"), "outcome per route unit")
    residual = rows[rows["model"] == "routes"].assign(
        residual=lambda f: f["actual"] - f["predicted"]
    )
    residual = (
        residual.groupby(["outcome", "start", "stop"], sort=False)
        .agg(
            actual=("actual", "mean"),
            predicted=("predicted", "mean"),
            residual=("residual", "mean"),
            count=("event", "size"),
        )
        .reset_index()
    )
    units = dict.fromkeys(("actual", "predicted", "residual"), "unit of the outcome")
    return Account(
        question="How much of behaviour's change does the route explain?",
        answer=answer,
        numbers=numbers,
        tables=[
            Table("Coefficients with bootstrap intervals over events", coefficients, per_route),
            Table(
                "Mean change per interval: actual, cross-validated prediction, residual",
                residual,
                {"start": "step", "stop": "step", "count": "1", **units},
            ),
        ],
        figures=[
            Figure(
                "closure.svg",
                f"Left: predicted (cross-validated) against actual change per "
                f"event and interval ({events} events, {intervals} intervals). Right: R² of the "
                f"winner {head}, of the bottom head {control} and of shuffled events.",
            ),
        ],
        marks=marks,
    )


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
