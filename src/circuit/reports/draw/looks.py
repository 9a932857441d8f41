"""How series look: one value, one look, in all panels and, where its name means something, figures.

Values that a palette of :mod:`circuit.reports.style` knows (components, splits, roles) have its
colours, numbers and stages a shade that is darker the larger or later they are, heads that were
chosen the colours of their role. All others take the spare colours in turn, with dashes that differ
from those of their neighbours. Beyond :data:`MOST` series the largest have looks (of numbers: some,
evenly spread), the others are grey.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from circuit.reports import style

MOST = 10
"""So many series can be told apart."""
TOLD = 6
"""So many, the largest, have looks of their own where there are more."""
GREY = {"color": style.FAINT, "linewidth": 0.9}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (4, 1.2, 1, 1.2)))
MARKS = ("o", "D", "s", "^", "v", "P")
_ROLE_LINES = {"winner": "-", "runner_up": (0, (5, 1.5)), "bottom": (0, (1.5, 1.5))}
_PALETTES = (
    style.COMPONENT_COLOURS,
    style.SPLIT_COLOURS,
    style.ATTENTION_ROLE_COLOURS,
    style.ROLE_COLOURS,
)
_REST = {
    **dict.fromkeys(("other", "rest"), style.SOFT),
    **dict.fromkeys(("whole", "sum", "total"), style.INK),
}
_STAGE = re.compile(r"embedding|final_norm|layer_\d+_\w+")


@dataclass(frozen=True)
class Look:
    """Colour, dashes and name of a series."""

    colour: Any
    label: str
    linestyle: Any = "-"
    marker: str = "o"


def looks(rows: pd.DataFrame, series: str) -> dict[Any, Look]:
    """The look of every value of a column that is told apart, in the order of the legend.

    Values that are missing here are drawn grey and behind.
    """
    if not series:
        return {"": Look(style.SPARE_COLOURS[0], "")}
    values = list(dict.fromkeys(rows[series]))
    chosen = roles_of(rows, series)
    if chosen:
        rank = {role: i for i, role in enumerate(style.ROLE_COLOURS)}
        return {
            value: Look(
                role_colour(role),
                f"{style.words(str(value))} {style.words(role)}",
                _ROLE_LINES.get(role, "-"),
                MARKS[rank.get(role, -1)],
            )
            for value, role in chosen.items()
        }
    numbers = all(map(is_number, values))
    found = {}
    if len(values) > 1 and (numbers or all(_STAGE.fullmatch(str(value)) for value in values)):
        ordered = sorted(values, key=float) if numbers else values
        if len(ordered) > MOST:
            ordered = [ordered[i] for i in style.thinned(range(len(ordered)), TOLD)]
        for i, value in enumerate(ordered):
            shade = style.SEQUENTIAL(0.35 + 0.65 * i / (len(ordered) - 1))
            found[value] = Look(shade, spelled(value), marker=MARKS[i % len(MARKS)])
        return found
    told = values if len(values) <= MOST else largest(rows, series, TOLD)
    for i, (value, colour) in enumerate(colours_of(told).items()):
        name = style.words(str(value)) or _none(series)
        found[value] = Look(colour, name, DASHES[i % len(DASHES)], MARKS[i % len(MARKS)])
    return found


def colours_of(values: Sequence[Any]) -> dict[Any, Any]:
    """A colour for every value: of the palette that knows most of them, or a spare one."""
    palette = {**_REST, **palette_of(values)}
    used = {palette[value] for value in values if value in palette}
    spare = [colour for colour in style.SPARE_COLOURS if colour not in used] or [style.SOFT]
    others = [value for value in values if value not in palette]
    turns = {value: spare[i % len(spare)] for i, value in enumerate(others)}
    return {value: palette.get(value, turns.get(value)) for value in values}


def palette_of(values: Iterable[Any]) -> Mapping[Any, Any]:
    """The palette that knows most of the values."""
    known = list(values)
    return max(_PALETTES, key=lambda palette: sum(value in palette for value in known))


def roles_of(rows: pd.DataFrame, column: str) -> dict[Any, str]:
    """The values of a column that the key ``chosen`` gives a role, the winner first.

    Where all rows are of one chosen thing, or one value has several, it tells nothing apart.
    """
    if "chosen" not in rows or column == "chosen":
        return {}
    one_thing = rows["chosen"].nunique() == 1 and rows[column].nunique() > 1
    if one_thing or rows.groupby(column)["chosen"].nunique().max() > 1:
        return {}
    found = rows[rows["chosen"].fillna("") != ""]
    roles = dict(zip(found[column], found["chosen"], strict=True))
    rank = {role: i for i, role in enumerate(style.ROLE_COLOURS)}
    return dict(sorted(roles.items(), key=lambda item: rank.get(item[1], len(rank))))


def largest(rows: pd.DataFrame, column: str, most: int) -> list[Any]:
    """The values whose means are ever largest, without their sign, in the order of the rows."""
    size = rows["mean"].abs().groupby(rows[column], sort=False).max()
    kept = set(size.sort_values(ascending=False, kind="stable").index[:most])
    return [value for value in dict.fromkeys(rows[column]) if value in kept]


def role_colour(role: str) -> str:
    """The colour of a chosen thing."""
    return style.ROLE_COLOURS.get(role, style.INK)


def is_number(value: Any) -> bool:
    """Whether a key stands for a number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def spelled(value: Any, column: str = "") -> str:
    """A key's value in words; a number with its column's name where that is given."""
    if is_number(value):
        return f"{style.words(column)} {float(value):,.6g}".strip()
    return style.words(str(value))


def joined(values: Iterable[Any], columns: Sequence[str]) -> str:
    """The words of several keys."""
    told = [spelled(value, name) for value, name in zip(values, columns, strict=True)]
    return ", ".join(one for one in told if one) or _none(columns[0])


def _none(column: str) -> str:
    """What an empty key is called."""
    return "estimate" if column == "against" else f"no {style.words(column)}"
