"""Numbers of the account of example gradients, and how its rows are looked up and worded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from circuit.reports.document import Number
from circuit.reports.quantities import format_interval, format_value

SHARED = {
    "query_key": "the same query key",
    "answer_value": "the same answer value",
    "lag": "the same lag",
    "split": "the same split",
    "correct": "the same correctness",
    "route": "the same supported route",
    "position": "the same position",
}
"""What two reads of a relation have in common, in words; in the order of the report."""


def look(rows: pd.DataFrame, step: int, measure: str = "cosine") -> pd.DataFrame:
    """One measure at one step, by relation and which."""
    part = rows[(rows["step"] == step) & (rows["measure"] == measure)]
    return part.set_index(["relation", "which"])


def signed(row: pd.Series) -> str:
    """A mean with its sign."""
    return format_value(row["mean"], "1", row["low"], row["high"], signed=True)


def span(row: pd.Series) -> str:
    """Its interval, or the range of its control."""
    return format_interval(row["mean"], "1", row["low"], row["high"], signed=True)


def between_supporters(
    conflicts: pd.DataFrame, routes: Sequence[str], step: int
) -> pd.Series | None:
    """The edge between supporters of the two routes, where both have enough."""
    at = conflicts[(conflicts["step"] == step) & (conflicts["relation"] == "route")]
    found = at[(at["group"] != at["other"]) & at["group"].isin(routes) & at["other"].isin(routes)]
    return None if found.empty else found.iloc[0]


def _number(name: str, row: pd.Series, unit: str, count: str = "reads", note: str = "") -> Number:
    mean, low, high = (float(row[c]) for c in ("mean", "low", "high"))
    with_sign = unit not in ("share", "nat²/parameter unit²")
    return Number(name, mean, unit, low, high, int(row[count]), note, with_sign)


def difference_numbers(rows: pd.DataFrame, steps: Iterable[int]) -> list[Number]:
    """What sharing each label makes of the mean cosine."""
    numbers = []
    for step in steps:
        at = look(rows, step)
        for name, words in SHARED.items():
            if (name, "difference") not in at.index:
                continue
            pairs = int(at.loc[(name, "same"), "pairs"])
            control = at.loc[(name, "shuffled")]
            note = f"{pairs:,} pairs share it; shuffled labels: {span(control)}"
            if (name, "net") in at.index:
                net = at.loc[(name, "net")]
                note += f"; net of what else they share {signed(net)} ({span(net)})"
            row = at.loc[(name, "difference")]
            numbers.append(
                _number(f"mean cosine with {words} − without, step {step:,}", row, "1", note=note)
            )
    return numbers


def overall_numbers(rows: pd.DataFrame, steps: Iterable[int]) -> list[Number]:
    """All pairs together: likeness, opposition and coherence."""
    about = {
        "cosine": ("mean cosine of all pairs", ""),
        "opposed": ("pairs whose gradients are opposed", ""),
        "product": ("mean product of two reads' gradients", ""),
        "coherence": (
            "gradient coherence",
            "mean product of two reads over mean square of one; (1 − c) / c is the noise scale",
        ),
        "off_diagonal_share": ("share of pairs in the sum of all products", "depends on n"),
    }
    numbers = []
    for step in steps:
        for measure, (name, note) in about.items():
            row = look(rows, step, measure).loc[("all", "all")]
            numbers.append(_number(f"{name}, step {step:,}", row, str(row["unit"]), note=note))
    return numbers


def route_numbers(
    rows: pd.DataFrame,
    conflicts: pd.DataFrame,
    routes: Sequence[str],
    steps: Iterable[int],
) -> list[Number]:
    """How the reads lie to the routes, and their supporters to each other."""
    numbers = []
    for step in steps:
        for route in routes:
            for measure, name in (
                ("alignment", f"alignment of reads' descent with {route}"),
                ("supporters", f"reads that support {route}"),
            ):
                row = look(rows, step, measure).loc[("route", route)]
                numbers.append(_number(f"{name}, step {step:,}", row, str(row["unit"])))
        found = between_supporters(conflicts, routes, step)
        if found is not None:
            name = f"mean cosine of a supporter of {routes[0]} with one of {routes[1]}"
            note = "supporters are told apart by these gradients"
            numbers.append(_number(f"{name}, step {step:,}", found, "1", note=note))
    return numbers


def opposed_numbers(conflicts: pd.DataFrame, steps: Iterable[int]) -> list[Number]:
    """How many edges of the conflict graphs are conflicts."""
    numbers = []
    for step in steps:
        edges = conflicts[(conflicts["step"] == step) & (conflicts["group"] != conflicts["other"])]
        name = f"pairs of groups that oppose each other, step {step:,}"
        note = f"of {len(edges)} pairs of groups of one relation; interval below 0"
        numbers.append(Number(name, int((edges["high"] < 0).sum()), "1", note=note))
    return numbers
