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

    ``scores``: outcome, model, within, r2, low, high.
    """
    events, intervals = rows["event"].nunique(), rows["start"].nunique()
    at = scores.set_index(["outcome", "model", "within"])
    parts = []
    for outcome in dict.fromkeys(scores["outcome"]):
        r, c = at.loc[(outcome, "routes", True)], at.loc[(outcome, "control", True)]
        pooled = at.loc[(outcome, "routes", False)]
        parts.append(
            f"{r['r2']:.0%} of {outcome}'s change within an interval ({pooled['r2']:.0%} pooled; "
            f"bottom-head control {c['r2']:.0%})"
        )
    answer = (
        f"From step {window[0]:,} to {window[1]:,}, changes of {head}'s route scalars explain "
        + " and ".join(parts)
        + ", scored on events the fit never saw."
    )
    numbers = [
        Number(
            f"R² of {r['outcome']}, {r['model']}, {'within' if r['within'] else 'pooled'}",
            float(r["r2"]),
            "1",
            float(r["low"]),
            float(r["high"]),
            events,
        )
        for _, r in scores.iterrows()
    ]
    units = {
        "coefficient": "outcome per route unit",
        "low": "outcome per route unit",
        "high": "outcome per route unit",
        "r2": "1",
    }
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
    logit = dict.fromkeys(("actual", "predicted", "residual"), "unit of the outcome")
    return Account(
        question="How much of behaviour's change does the route explain?",
        answer=answer,
        numbers=numbers,
        tables=[
            Table("Coefficients with bootstrap intervals over events", coefficients, units),
            Table(
                "Mean change per interval: actual, cross-validated prediction, residual",
                residual,
                {"start": "step", "stop": "step", "count": "1", **logit},
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
    )


def seeds(rows: pd.DataFrame) -> Account:
    """Whether the finding repeats."""
    means = rows[rows["run"] == "mean"].set_index(["role", "measure"])
    runs = rows[rows["run"] != "mean"]
    n = runs["run"].nunique()
    winner, bottom = means.loc[("winner", "growth")], means.loc[("bottom", "growth")]
    heads = runs[(runs["role"] == "winner") & (runs["measure"] == "growth")]["head"]
    gradient = means.loc[("winner", "share_current_gradient")]
    momentum = means.loc[("winner", "share_momentum")]
    answer = (
        f"In {n} of {n} runs a head's separation grows: winners {', '.join(heads)}, mean growth "
        f"{winner['value']:+.2f} {winner['unit']} against {bottom['value']:+.2f} for the bottom "
        f"controls. Momentum carries {momentum['value']:+.0%} and the current gradient "
        f"{gradient['value']:+.0%} of the winners' growth on average."
    )
    grown = (runs[(runs["role"] == "winner") & (runs["measure"] == "growth")]["value"] > 0).sum()
    answer = answer.replace(f"In {n} of {n} runs", f"In {grown} of {n} runs", 1)
    numbers = [
        Number(
            f"{measure} of the {role}",
            float(r["value"]),
            str(r["unit"]),
            float(r["low"]),
            float(r["high"]),
            int(r["count"]),
            "mean and interval over seeds",
        )
        for (role, measure), r in means.iterrows()
    ]
    marks = (
        []
        if n >= 5
        else [f"{n} seeds: the interval over seeds is rough; read it with the single runs."]
    )
    return Account(
        question="Does it repeat over seeds?",
        answer=answer,
        numbers=numbers,
        tables=[
            Table(
                "Every run",
                runs.drop(columns=["low", "high", "count"]),
                {"seed": "id", "value": "see unit"},
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
