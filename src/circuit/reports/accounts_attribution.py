"""What the attribution of updates says: what built a scalar, what opposed it, what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from circuit.attribution.window import WindowSum
from circuit.config.terms import CHECKPOINT_DIFFERENCE, COMPARATORS
from circuit.reports.document import Figure, Number, Table
from circuit.reports.growth_words import SUMMANDS, named, residual_marks
from circuit.reports.publish import Account
from circuit.reports.quantities import format_interval, format_value
from circuit.reports.style import words
from circuit.statistics import Mean

_UNIT = "unit of the scalar"
_TOLD = 3  # parameter groups that the answer names on either side
_SMALL = 0.001  # of the largest part; what is less is told in the numbers alone
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
        question=_question(main),
        answer=_answer(
            main[0], sums, names[main[0].scalar], units, window, growths[main[0].scalar], top
        ),
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


def _question(main: Sequence[WindowSum]) -> str:
    """What was asked, told apart by the scalars and by what their updates were split into."""
    names = [s.scalar for s in main]
    named = " and ".join(names) if len(names) < 3 else f"{names[0]} and {len(names) - 1} others"
    if CHECKPOINT_DIFFERENCE in main[0].components:
        return f"Between checkpoints, which parameters built {named}?"
    return f"Which part of which update built {named}?"


def _answer(
    lead: WindowSum,
    sums: Sequence[WindowSum],
    name: str,
    units: Mapping[str, str],
    window: tuple[int, int],
    grown: Mean,
    top: pd.DataFrame,
) -> str:
    """What built the first scalar, what opposed it, where, and how exact that is."""
    unit, parts = units[lead.scalar], {**lead.components, **lead.terms}
    components = {SUMMANDS[name]: size for name, size in parts.items()}
    places, grouping = _places(top, lead.scalar)
    by_place = f"of parameters by {grouping}, {_sides(places)}"
    # The difference of two checkpoints has one component, which tells nothing by itself.
    whole = len(components) == 1 and bool(places)
    first = by_place if whole else _sides(components)
    then = "" if whole or not places else f" {by_place[0].upper()}{by_place[1:]}."
    if "momentum" in parts:
        then += " The split of current gradient and momentum is a convention."
    others = "; ".join(
        f"{s.path_rule} leaves {s.relative_residual:.3%}"
        for s in sums
        if s.scalar == lead.scalar and s.path_rule != lead.path_rule
    )
    change = lead.growth, unit, grown.low, grown.high
    return (
        f"{name} changed by {format_value(*change, signed=True)} (95% interval "
        f"{format_interval(*change, signed=True)} over {grown.count} events) from step "
        f"{window[0]:,} to {window[1]:,}: {first}.{then} It moved by {lead.movement:.3g} {unit} up "
        f"and down in all, of which {lead.path_rule} leaves {lead.relative_residual:.3%} "
        f"unexplained (closure residual){'; ' + others if others else ''}."
    )


def _places(top: pd.DataFrame, scalar: str) -> tuple[dict[str, float], str]:
    """What the groups of the first grouping gave over all components, and how they are grouped."""
    own = top[top["scalar"] == scalar]
    if own.empty:
        return {}, ""
    grouping = str(own["grouping"].iloc[0])
    sums = own[own["grouping"] == grouping].groupby("group", sort=False)["attribution"].sum()
    return {str(group): float(size) for group, size in sums.items()}, words(grouping)


def _sides(parts: Mapping[str, float]) -> str:
    """What raised a scalar and what lowered it, largest first."""
    least = _SMALL * max((abs(size) for size in parts.values()), default=0.0)
    ordered = sorted(parts.items(), key=lambda part: -abs(part[1]))
    raised, lowered = (
        _list([(name, size) for name, size in ordered if size * sign > 0 and abs(size) >= least])
        for sign in (1, -1)
    )
    return f"{raised} raised it; {lowered} lowered it"


def _list(parts: Sequence[tuple[str, float]]) -> str:
    """The largest of some parts, and what the others gave together."""
    most = len(parts) if len(parts) == _TOLD + 1 else _TOLD  # "1 more" could as well be named
    told = [*parts[:most]]
    if parts[most:]:
        told.append((f"{len(parts) - most} more", sum(size for _, size in parts[most:])))
    return ", ".join(f"{name} {_short(size)}" for name, size in told) or "nothing"


def _short(size: float) -> str:
    return f"{size:+.3g}".replace("-", "−")


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
