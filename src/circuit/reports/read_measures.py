"""The measures of reads, as the numbers of a report: what sweeps and evaluations share."""

from __future__ import annotations

import pandas as pd

from circuit.reports.document import Number

UNITS = {
    "accuracy": "1",
    "margin": "logit",
    "value_margin": "logit",
    "entropy": "nat",
    "answer_loss": "nat",
    "confidence": "probability",
    "q": "probability",
    "r": "probability",
    "w": "logit",
}
ROW_UNITS = {
    "step": "step",
    **dict.fromkeys(("mean", "low", "high"), "unit of the measure"),
    "count": "1",
    "slice_value": "id",
}


def measured(name: str, row: pd.Series, unit: str, note: str = "") -> Number:
    """A row's mean with its interval and count."""
    mean, low, high = (float(row[column]) for column in ("mean", "low", "high"))
    return Number(name, mean, unit, low, high, int(row["count"]), note)


def over_all_reads(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that are not of a slice."""
    return rows[rows["slice"] == "all"]
