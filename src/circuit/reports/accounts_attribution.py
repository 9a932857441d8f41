"""What the attribution of updates says: what built a scalar, what opposed it, what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from circuit.attribution.window import WindowSum
from circuit.config.terms import COMPARATORS
from circuit.reports.document import Figure, Number, Table
from circuit.reports.growth_words import SUMMANDS, named, residual_marks
from circuit.reports.publish import Account
from circuit.statistics import Mean

_UNIT = "unit of the scalar"
_UNITS_OF_SUMS = {
    **dict.fromkeys((*SUMMANDS, *COMPARATORS), _UNIT),
    **dict.fromkeys(("growth", "movement", "residual", "absolute_residual"), _UNIT),
    "residual_of_movement": "1",
}
FIGURES = (
    Figure(
        "growth.svg",
        "Actual growth (black) and the cumulative contributions of the update's components, "
        "stacked; they, the terms of bases and rivals that changed, and the residual sum to the "
        "growth.",
    ),
    Figure(
        "parameter_groups.svg",
        "The same growth split over parameter groups; bars and rest sum to the whole.",
    ),
    Figure(
        "residual.svg",
        "Closure residual of every scalar's window under each path rule, as a share of its total "
        "absolute movement (log scale).",
    ),
)


def attribution(
    sums: Sequence[WindowSum],
    growths: Mapping[str, Mean],
    units: Mapping[str, str],
    heads: Mapping[str, str],
    window: tuple[int, int],
    main_rule: str,
    bound: float,
    top: pd.DataFrame,
) -> Account:
    """What built the scalars' growth.

    Args:
        sums: the window's sums of every scalar under every path rule.
        growths: growth with its interval over events.
        heads: head of every scalar that has one.
        top: the largest parameter groups and their rest, by scalar and component.
    """
    main = [s for s in sums if s.path_rule == main_rule]
    names = {s.scalar: named(s.scalar, heads) for s in main}
    numbers = [
        number for s in main for number in _numbers(s, names[s.scalar], units, growths, main_rule)
    ]
    if len(main) > 1:
        worst = max(main, key=lambda s: s.relative_residual)
        numbers.append(
            Number(
                f"largest closure residual of {len(main)} scalars",
                worst.relative_residual,
                "share",
                note=f"{main_rule}; of the total absolute movement of {names[worst.scalar]}",
            )
        )
    return Account(
        question="Which part of which update built the route?",
        answer=_answer(main[0], sums, names[main[0].scalar], units, window),
        numbers=numbers,
        tables=[
            Table(
                "Window sums by path rule; raw_sgd and clipped_sgd are comparators, never summands",
                _sums_table(sums),
                _UNITS_OF_SUMS,
            ),
            Table(
                "Largest parameter groups, and the exact rest",
                _group_table(top),
                {"attribution": _UNIT, "groups": "1"},
            ),
        ],
        figures=FIGURES,
        marks=residual_marks(main, bound),
    )


def _answer(
    lead: WindowSum,
    sums: Sequence[WindowSum],
    name: str,
    units: Mapping[str, str],
    window: tuple[int, int],
) -> str:
    """What built the first scalar, what opposed it, and how exact that is."""
    unit, parts = units[lead.scalar], {**lead.components, **lead.terms}
    built, opposed = (
        [k for k, v in sorted(parts.items(), key=lambda p: -abs(p[1])) if v * sign > 0]
        for sign in (1, -1)
    )

    def told(names: Sequence[str]) -> str:
        return ", ".join(f"{SUMMANDS[n]} {parts[n]:+.3g}" for n in names) or "nothing"

    others = "; ".join(
        f"{s.path_rule} leaves {s.relative_residual:.3%}"
        for s in sums
        if s.scalar == lead.scalar and s.path_rule != lead.path_rule
    )
    return (
        f"{name} changed by {lead.growth:+.3g} {unit} from step {window[0]:,} to {window[1]:,}: "
        f"{told(built)} raised it; {told(opposed)} lowered it. It moved by {lead.movement:.3g} "
        f"{unit} up and down in all, of which {lead.path_rule} leaves {lead.relative_residual:.3%} "
        f"unexplained (closure residual){'; ' + others if others else ''}."
    )


def _numbers(
    found: WindowSum,
    name: str,
    units: Mapping[str, str],
    growths: Mapping[str, Mean],
    rule: str,
) -> list[Number]:
    unit, interval = units[found.scalar], growths[found.scalar]
    return [
        Number(
            f"growth of {name}",
            found.growth,
            unit,
            interval.low,
            interval.high,
            interval.count,
            "interval over events",
            signed=True,
        ),
        *(
            Number(f"{name}: {part}", value, unit, note=f"{rule}; summand", signed=True)
            for part, value in {**found.components, **found.terms}.items()
        ),
        Number(
            f"{name}: closure residual",
            found.residual,
            unit,
            note=f"{rule}; {found.relative_residual:.4%} of the total absolute movement of "
            f"{found.movement:.3g}",
            signed=True,
        ),
    ]


def _sums_table(sums: Sequence[WindowSum]) -> pd.DataFrame:
    """One row per scalar and path rule: everything that sums to its growth."""
    table = pd.DataFrame(
        [
            {
                "scalar": s.scalar,
                "path_rule": s.path_rule,
                "growth": s.growth,
                **s.components,
                **s.terms,
                "residual": s.residual,
                "absolute_residual": s.absolute_residual,
                "movement": s.movement,
                "residual_of_movement": s.relative_residual,
                **s.comparators,
            }
            for s in sums
        ]
    )
    # A term that a scalar does not have is 0 for it; its column may stem from another scalar.
    return table.fillna(0.0)


def _group_table(top: pd.DataFrame) -> pd.DataFrame:
    """Totals of the largest groups over all components."""
    keys = ["scalar", "grouping", "group", "groups"]
    return top.groupby(keys, sort=False, as_index=False)["attribution"].sum()
