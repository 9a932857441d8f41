"""Tables of the account of functional writes."""

from __future__ import annotations

import pandas as pd

from circuit.reports.document import Table
from circuit.reports.style import thinned

_MEAN = {**dict.fromkeys(("mean", "low", "high"), "unit of the write"), "count": "1"}
_OVERLAP = {
    "step": "step",
    **dict.fromkeys(("overlap", "low", "high", "chance", "chance_low", "chance_high"), "1"),
    "explained": "share",
    "count": "1",
}
_SPREAD = {
    "step": "step",
    "mean": "unit of the write",
    **dict.fromkeys(("between", "within"), "unit of the measure"),  # never negative
    **dict.fromkeys(("share", "chance_high"), "share"),
    **dict.fromkeys(("chance", "values", "count"), "1"),
}
_STEPS = 6  # checkpoints in the table of overlaps
_ENDS = 3  # answer values told from either end


def functional_tables(
    rows: pd.DataFrame,
    now: pd.DataFrame,
    subspaces: pd.DataFrame,
    values: pd.DataFrame,
    spread: pd.DataFrame,
    last: int,
) -> list[Table]:
    """Effects with parts and controls, by position, by direction and by answer value.

    Args:
        now: the positions' rows of the last checkpoint; the others as the account takes them.
    """
    end = rows[(rows["step"] == last) & ((rows["of"] == "write") | (rows["part"] == "whole"))]
    end = end[(end["part"] == "whole") | (end["mean"] != 0)]
    acting = now[(now["mean"] != 0) | (now["low"] != 0) | (now["high"] != 0)]
    shown = subspaces[subspaces["step"].isin(thinned(subspaces["step"].tolist(), _STEPS))]
    roles = rows.drop_duplicates("write").set_index("write")["target"].str.rpartition(" ")[2]
    shown = shown[shown["role"] == shown["write"].map(roles)]
    ordered = values[values["step"] == last].sort_values(["write", "mean"], kind="stable")
    groups = ordered.groupby("write", sort=False)
    ends = pd.concat([groups.head(_ENDS), groups.tail(_ENDS)]).drop_duplicates()
    return [
        Table(
            f"Effects of writes at step {last:,}, their parts and controls (count: events)",
            end.drop(columns="step"),
            _MEAN,
        ),
        Table(
            f"Effects at step {last:,} by position; what cannot act there is left out (count: "
            "events)",
            acting.drop(columns="step"),
            _MEAN,
        ),
        Table(
            "Overlap of write subspaces with the mature ones, at the write's own role (explained: "
            "share of the variance of the writes in the subspace; count: events)",
            shown,
            _OVERLAP,
        ),
        Table(
            "Effects over answer values: standard deviations between values and within them, share "
            "of the variance between, and by chance (count: written values of single programs)",
            spread,
            _SPREAD,
        ),
        Table(
            f"Answer values with the smallest and largest effects at step {last:,} (count: "
            "programs)",
            ends.sort_values(["write", "mean"], kind="stable").drop(columns="step"),
            _MEAN,
        ),
    ]
