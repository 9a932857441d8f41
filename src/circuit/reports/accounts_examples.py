"""What single reads' gradients say: which reads push alike, and which against each other."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from circuit.model.passes import Passes
from circuit.reports.document import Figure, Number, Table
from circuit.reports.example_numbers import (
    SHARED,
    between_supporters,
    difference_numbers,
    look,
    opposed_numbers,
    overall_numbers,
    route_numbers,
    signed,
    span,
)
from circuit.reports.passes import passes_number
from circuit.reports.publish import Account
from circuit.reports.quantities import format_interval, format_value
from circuit.reports.style import thinned

_MADE_ALIKE = "route"
"""The relation that gradients themselves define, so it is no finding by itself."""
_STEPS = 4  # checkpoints in the tables
_EDGES = 12
_BETWEEN = ("split", "correct", "route")
_EDGE_UNITS = {**dict.fromkeys(("mean", "low", "high"), "cosine"), "pairs": "1", "reads": "1"}
_TABLE_UNITS = {
    "step": "step",
    **dict.fromkeys(("same", "different", "difference", "low", "high"), "cosine"),
    **dict.fromkeys(("shuffled_low", "shuffled_high"), "cosine"),
    **dict.fromkeys(("net", "net_low", "net_high", "outside_routes"), "cosine"),
    **dict.fromkeys(("pairs", "reads"), "1"),
}
_FIGURES = (
    Figure(
        "relations.svg",
        "How alike two reads push, by what they share, and the difference that sharing it "
        "makes; grey is what shuffled labels give.",
    ),
    Figure(
        "gradient_matrix.svg",
        "Cosine of every two reads' gradients, ordered by query key, then lag: blocks on "
        "the diagonal are reads of one key.",
    ),
    Figure(
        "conflict_graph.svg",
        "Which groups of reads push alike (blue) and which against each other (red).",
    ),
)


def examples(
    rows: pd.DataFrame,
    conflicts: pd.DataFrame,
    routes: Sequence[str],
    groups: Sequence[str],
    passes: Passes,
    backward: int,
    n_layers: int,
) -> Account:
    """Which relations between reads tell how alike they push, and what opposes what.

    Args:
        rows, conflicts: of :class:`circuit.attribution.example_reads.Examples`.
        routes: names of the two routes; ``groups``: parameter groups that count, none: all.
        passes, backward: forward and backward passes run; ``n_layers``: of the model.
    """
    steps = sorted(rows["step"].unique())
    first, last = steps[0], steps[-1]
    reads = int(rows["reads"].max())
    shown = _table(rows, thinned(steps, _STEPS))
    edges = conflicts[(conflicts["step"] == last) & (conflicts["group"] != conflicts["other"])]
    between = conflicts[(conflicts["step"] == last) & conflicts["relation"].isin(_BETWEEN)]
    which = f", gradients in {', '.join(groups)} alone" if groups else ""
    return Account(
        question="Which reads push the parameters alike, and which against each other?",
        answer=f"{_strongest(rows, last, which)} {_before(rows, first, last)}"
        f"{_overall(rows, last)} {_routes(rows, conflicts, routes, last)}",
        numbers=[
            *difference_numbers(rows, dict.fromkeys((first, last))),
            *overall_numbers(rows, dict.fromkeys((first, last))),
            *route_numbers(rows, conflicts, routes, dict.fromkeys((first, last))),
            *opposed_numbers(conflicts, dict.fromkeys((first, last))),
            passes_number(passes, reads, n_layers),
            Number("backward passes", backward, "1", note="one per batch of reads and per route"),
        ],
        tables=[
            Table(
                "Mean cosine of two reads' gradients by what they share (difference with its "
                "interval; range with shuffled labels; difference net of what else they share; "
                "difference outside the two routes' gradients)",
                shown,
                _TABLE_UNITS,
            ),
            Table(
                f"Mean cosine within and between splits, right and wrong reads, and supporters of "
                f"the routes, step {last:,}",
                between.drop(columns="step"),
                _EDGE_UNITS,
            ),
            Table(
                f"Most opposed pairs of groups at step {last:,} ({min(_EDGES, len(edges))} of "
                f"{len(edges)}; intervals hold for all edges of a relation at once)",
                edges.nsmallest(_EDGES, "mean").drop(columns="step"),
                _EDGE_UNITS,
            ),
        ],
        figures=_FIGURES,
        marks=_marks(rows, steps),
    )


def _clear(rows: pd.DataFrame, step: int) -> pd.DataFrame:
    """Differences whose interval leaves out both 0 and what shuffled labels give, largest first."""
    at = look(rows, step)
    if "difference" not in at.index.get_level_values("which"):
        return at.iloc[:0]
    found = at.xs("difference", level="which")
    control = at.xs("shuffled", level="which").loc[found.index]
    beyond = (found["low"] > control["high"].clip(lower=0)) | (
        found["high"] < control["low"].clip(upper=0)
    )
    found = found[beyond & (found.index != _MADE_ALIKE)]
    return found.reindex(found["mean"].abs().sort_values(ascending=False).index)


def _strongest(rows: pd.DataFrame, step: int, which: str) -> str:
    at, clear = look(rows, step), _clear(rows, step)
    if clear.empty:
        every = at.loc[("all", "all")]
        return (
            f"At step {step:,} nothing that two reads share tells how alike they push{which}: no "
            "difference of mean cosines has an interval beyond 0 and what shuffled labels give; "
            f"over all pairs the mean cosine is {signed(every)} (95% interval "
            f"{span(every)})."
        )
    name = clear.index[0]
    row, control = clear.iloc[0], at.loc[(name, "shuffled")]
    same, other = (signed(at.loc[(name, key)]) for key in ("same", "different"))
    way = "more" if row["mean"] > 0 else "less"
    return (
        f"At step {step:,} two reads with {SHARED[name]} push the parameters {way} alike than two "
        f"without{which}: mean cosine of gradients {same} against {other} (difference "
        f"{signed(row)}, 95% interval {span(row)}; with shuffled labels "
        f"{span(control)})."
    )


def _before(rows: pd.DataFrame, first: int, last: int) -> str:
    """What mattered most at the first checkpoint, where there are two."""
    if first == last:
        return ""
    clear = _clear(rows, first)
    if clear.empty:
        return f"At step {first:,} nothing that they share told. "
    row = clear.iloc[0]
    return (
        f"At step {first:,} what told most was {SHARED[clear.index[0]]} (difference "
        f"{signed(row)}, 95% interval {span(row)}). "
    )


def _overall(rows: pd.DataFrame, step: int) -> str:
    opposed = look(rows, step, "opposed").loc[("all", "all")]
    common = look(rows, step, "coherence").loc[("all", "all")]
    told = [
        format_value(row["mean"], "share", row["low"], row["high"]) for row in (opposed, common)
    ]
    told_span = format_interval(common["mean"], "share", common["low"], common["high"])
    return (
        f"Of all pairs {told[0]} are opposed; of the mean square of a read's gradient {told[1]} is "
        f"what all reads have in common (coherence, 95% interval {told_span})."
    )


def _routes(rows: pd.DataFrame, conflicts: pd.DataFrame, routes: Sequence[str], step: int) -> str:
    found, (p, q) = between_supporters(conflicts, routes, step), routes
    if found is None:
        return f"Too few reads support one of the routes {p} and {q} to set them against the other."
    if found["high"] < 0:
        verdict = "push against each other"
    elif found["low"] > 0:
        verdict = "push alike"
    else:
        verdict = "neither clearly push alike nor against each other"
    text = (
        f"Reads that support {p} and reads that support {q} {verdict} (mean cosine "
        f"{signed(found)}, 95% interval {span(found)})"
    )
    outside = look(rows, step, "cosine_outside_routes")
    if ("route", "difference") not in outside.index:
        return f"{text}."
    left = outside.loc[("route", "difference")]
    still = "still more alike" if left["low"] > 0 else "not clearly more alike"
    return (
        f"{text}; outside the two routes' own gradients two supporters of one route are {still} "
        f"than others (difference {signed(left)}, 95% interval {span(left)})."
    )


def _table(rows: pd.DataFrame, steps: Sequence[int]) -> pd.DataFrame:
    lines = []
    for step in steps:
        at, outside = look(rows, step), look(rows, step, "cosine_outside_routes")
        for name, words in SHARED.items():
            if (name, "difference") not in at.index:
                continue
            difference, control = (at.loc[(name, key)] for key in ("difference", "shuffled"))
            net = at.loc[(name, "net")] if (name, "net") in at.index else pd.Series(dtype=float)
            lines.append(
                {
                    "step": step,
                    "shared": words.removeprefix("the same "),
                    "same": at.loc[(name, "same"), "mean"],
                    "different": at.loc[(name, "different"), "mean"],
                    "difference": difference["mean"],
                    "low": difference["low"],
                    "high": difference["high"],
                    "shuffled_low": control["low"],
                    "shuffled_high": control["high"],
                    "net": net.get("mean"),
                    "net_low": net.get("low"),
                    "net_high": net.get("high"),
                    "outside_routes": outside.loc[(name, "difference"), "mean"],
                    "pairs": at.loc[(name, "same"), "pairs"],
                    "reads": difference["reads"],
                }
            )
    return pd.DataFrame(lines, columns=["step", "shared", *list(_TABLE_UNITS)[1:]])


def _marks(rows: pd.DataFrame, steps: Sequence[int]) -> list[str]:
    marks = []
    for step in steps:
        there = look(rows, step).index
        missing = [words for name, words in SHARED.items() if (name, "same") not in there]
        if missing:
            marks.append(
                f"At step {step:,} too few reads have, or lack, {', or '.join(missing)} to compare."
            )
    return marks
