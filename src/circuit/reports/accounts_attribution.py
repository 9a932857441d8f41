"""What the replayed analyses say: the optimizer's trace, and what built the route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import pandas as pd

from circuit.config.terms import COMPONENTS, VERIFICATION_UNITS
from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account


class _Sum(Protocol):
    """What is needed of ``circuit.attribution.window.WindowSum``.

    Importing it would make the trace, whose account is here too, stale with every change there.
    """

    scalar: str
    path_rule: str
    growth: float
    components: dict[str, float]
    residual: float
    absolute_residual: float
    comparators: dict[str, float]
    relative_residual: float


class _Interval(Protocol):
    mean: float
    low: float
    high: float
    count: int


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


def attribution(
    sums: Sequence[_Sum],
    growths: Mapping[str, _Interval | None],
    units: Mapping[str, str],
    heads: Mapping[str, str],
    window: tuple[int, int],
    main_rule: str,
    bound: float,
    groups: pd.DataFrame,
) -> Account:
    """What built the scalars' growth."""
    main = [s for s in sums if s.path_rule == main_rule]
    lead = main[0]
    unit = units[lead.scalar]
    shares = {c: v / lead.growth if lead.growth else 0.0 for c, v in lead.components.items()}
    ordered = sorted(shares, key=lambda c: -abs(shares[c]))
    told = ", ".join(f"{c} {lead.components[c]:+.3g} ({shares[c]:+.0%})" for c in ordered)
    other = "; ".join(
        f"{s.path_rule} leaves {s.relative_residual:.2%}"
        for s in sums
        if s.scalar == lead.scalar and s.path_rule != main_rule
    )
    answer = (
        f"{lead.scalar}{_head(heads, lead.scalar)} changed by {lead.growth:+.3g} {unit} from step "
        f"{window[0]:,} to {window[1]:,}: {told}. With {main_rule}, {lead.relative_residual:.3%} "
        "of the growth is left over (closure residual)" + (f"; {other}." if other else ".")
    )
    numbers = []
    for s in main:
        unit, interval = units[s.scalar], growths[s.scalar]
        name = f"{s.scalar}{_head(heads, s.scalar)}"
        numbers.append(
            Number(
                f"growth of {name}",
                s.growth,
                unit,
                interval.low if interval else None,
                interval.high if interval else None,
                interval.count if interval else None,
                "interval over events"
                if interval
                else "sum of steps, each in the basis of its own first state; no interval",
                signed=True,
            )
        )
        numbers += [
            Number(f"{name}: {c}", v, unit, note=f"{main_rule}; summand", signed=True)
            for c, v in s.components.items()
        ]
        numbers.append(
            Number(
                f"{name}: closure residual",
                s.residual,
                unit,
                note=f"{main_rule}; {s.relative_residual:.3%} of the growth",
                signed=True,
            )
        )
    marks = [
        f"{s.scalar}: the closure residual is {s.relative_residual:.2%} of the growth, above the "
        f"bound of {bound:.2%}."
        for s in main
        if s.relative_residual > bound
    ]
    table = pd.DataFrame(
        [
            {
                "scalar": s.scalar,
                "path_rule": s.path_rule,
                "growth": s.growth,
                **s.components,
                "residual": s.residual,
                "absolute_residual": s.absolute_residual,
                "residual_share": s.relative_residual,
                **s.comparators,
            }
            for s in sums
        ]
    )
    numeric = [c for c in table.columns if c not in ("scalar", "path_rule", "residual_share")]
    top = groups.groupby(["scalar", "grouping", "group"], sort=False)["attribution"].sum()
    top = top.reset_index()
    top = top.loc[top["attribution"].abs().sort_values(ascending=False).index]
    top = top.groupby(["scalar", "grouping"], sort=False).head(12)
    return Account(
        question="Which part of which update built the route?",
        answer=answer,
        numbers=numbers,
        tables=[
            Table(
                "Window sums by path rule; raw_sgd and clipped_sgd are comparators, never summands",
                table,
                {**dict.fromkeys(numeric, "unit of the scalar"), "residual_share": "1"},
            ),
            Table("Largest parameter groups", top, {"attribution": "unit of the scalar"}),
        ],
        figures=[
            Figure(
                "growth.svg",
                "Actual growth (black) and the cumulative contributions of the "
                "update's components, stacked; they and the residual sum to the growth.",
            ),
            Figure(
                "parameter_groups.svg",
                "The same growth split over parameter groups; bars and rest sum to the whole.",
            ),
            Figure(
                "residual.svg",
                "Cumulative closure residual of each path rule as a share of "
                "the window's growth (log scale).",
            ),
        ],
        marks=marks,
    )


def _head(heads: Mapping[str, str], scalar: str) -> str:
    return f" ({heads[scalar]})" if scalar in heads else ""
