"""The optimizer step by step, as estimates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from circuit.config.terms import COMPONENTS, METRIC_UNITS, TRACE_UNITS
from circuit.estimates import estimates

BINS = 300
"""Points that a curve of steps has room for."""
RANGE = "range of steps"
"""In place of a control: the extremes of the steps that were taken together."""
_NORM = "_norm"


def trace_rows(trace: pd.DataFrame, top: pd.DataFrame, verified: pd.DataFrame) -> pd.DataFrame:
    """Estimates with the keys component and parameter.

    ``norm`` is that of a component, or of the whole ``update``; ``median_norm`` is over all steps,
    ``momentum_over_current`` the ratio of two of them, ``clipped`` the share of steps whose
    gradient was. Means of neighbouring steps have their extremes beside them (``RANGE``) and stand
    at the middle one. ``norm_while_largest`` is a parameter tensor's mean over the steps in which
    it was among the largest; ``replay_difference`` is the largest of any parameter at a recorded
    checkpoint, ``largest_replay_difference`` over all of these.
    """
    last = int(trace["step"].max())
    medians = {c: float(trace[f"{c}{_NORM}"].median()) for c in (*COMPONENTS, "update")}
    norm = {"measure": "median_norm", "unit": TRACE_UNITS["update_norm"]}
    ratio = medians["momentum"] / (medians["current_gradient"] or np.nan)
    difference = {"measure": "replay_difference", "unit": TRACE_UNITS["update_norm"]}
    largest = {**difference, "measure": "largest_replay_difference", "step": last}
    window = [
        *({**norm, "component": name, "mean": value} for name, value in medians.items()),
        {"measure": "momentum_over_current", "unit": "1", "mean": ratio},
        {"measure": "clipped", "unit": "share", "mean": (trace["clip_coefficient"] < 1).mean()},
        {**largest, "mean": verified["max_abs_difference"].max()},
    ]
    moved = top.groupby("parameter", sort=False)["update_norm"].agg(["mean", "count"])
    moved = moved.sort_values("mean", ascending=False).reset_index()
    parts = [
        *_curves(trace),
        pd.DataFrame(window).assign(step=last),
        moved.assign(measure="norm_while_largest", unit=norm["unit"], noun="steps", step=last),
        verified.rename(columns={"max_abs_difference": "mean"}).assign(**difference),
    ]
    keys = {"component": "", "parameter": "", "against": "", "noun": ""}
    rows = pd.concat(parts, ignore_index=True).fillna(keys)
    order = ["component", "parameter"]
    return estimates(rows[[*order, *rows.columns.drop(order)]])


def _curves(trace: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Every column in at most ``BINS`` bins of equally many steps."""
    trace = trace.sort_values("step")
    size = max(1, -(-len(trace) // BINS))
    bins = trace.groupby(np.arange(len(trace)) // size)
    steps = bins["step"].agg(lambda step: step.iloc[(len(step) - 1) // 2])
    for column in trace.columns.drop("step"):
        table = bins[column].agg(["mean", "min", "max", "count"])
        part = column not in METRIC_UNITS
        rows = table[["mean", "count"]].assign(
            step=steps,
            measure="norm" if part else column,
            component=column.removesuffix(_NORM) if part else "",
            unit="share" if column == "token_accuracy" else TRACE_UNITS[column],
            noun="steps",
        )
        yield rows
        ends = {"mean": np.nan, "low": table["min"], "high": table["max"]}
        yield rows.assign(**ends, against=RANGE)
