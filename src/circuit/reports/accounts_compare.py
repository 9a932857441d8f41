"""What a comparison of a window's two ends says: which parts carry the change between them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from circuit.model.passes import Passes
from circuit.reports.compare_parts import (
    BRINGS,
    MARGIN,
    MOST,
    SUM,
    TABLE_UNITS,
    TAKES,
    activation_table,
    best,
    groups,
    of_kind,
    part_name,
    told_grouping,
    weight_table,
)
from circuit.reports.document import Figure, Number, Table
from circuit.reports.passes import passes_number
from circuit.reports.publish import Account
from circuit.reports.quantities import format_interval, format_value
from circuit.statistics import bootstrap_mean

_PARTS = ["grouping", "group", "stage", "role"]
_HALF = 0.5
_EXACT = 1e-4  # of float32 sums


def compare(
    rows: pd.DataFrame, events: pd.DataFrame, window: tuple[int, int], passes: Passes, n_layers: int
) -> Account:
    """Which parts bring the window's change, and without which it is gone.

    Args:
        rows, events: of :class:`circuit.experiments.window_compare.Comparison`.
        passes: what was run; ``n_layers``: of the model.
    """
    grouping = told_grouping(rows)
    moved = bool(of_kind(rows, "change", "", "")["fraction"].notna().all())
    told = _Told(rows, grouping) if moved else None
    numbers = _ends(rows, events, window)
    if told:
        numbers += told.numbers()
    n = events["event"].nunique()
    numbers.append(passes_number(passes, n, n_layers))
    return Account(
        question="Which activations and weights carry the change of behaviour in this window?",
        answer=_answer(rows, window, told),
        numbers=numbers,
        tables=[
            Table(
                f"Weights: share of the margin's change that they carry, {n} events ({MOST} groups "
                "per grouping; excess: taken away beyond a random change of the same size)",
                weight_table(rows),
                TABLE_UNITS,
            ),
            Table(
                f"Activations: share of the margin's change that they carry, {n} events (control: "
                "the same states of another event)",
                activation_table(rows),
                TABLE_UNITS,
            ),
        ],
        figures=[
            Figure(
                "activations.svg",
                "Share of the margin's change that the states at a stage and role carry, in both "
                "directions. In brackets the same states of another event: they carry another "
                "answer, so they take away more than the change and bring less than nothing.",
            ),
            Figure(
                "weights.svg",
                "Share of the margin's change that a group's weights carry, in both directions, "
                "with 95% intervals; hollow: a change of the same size in a random direction.",
            ),
        ],
        marks=_marks(rows, told),
    )


class _Told:
    """The parts that the answer names: chosen on one half of the events, told on the other."""

    def __init__(self, rows: pd.DataFrame, grouping: str) -> None:
        self.rows = rows
        self.taking = best(groups(rows, TAKES, "excess", grouping, "selection"))
        self.again = best(groups(rows, TAKES, "excess", grouping, "confirmation"))
        single = of_kind(rows, ["activation", "weight"], BRINGS, "matched", "selection")
        single = single[(single["group"] != SUM) & (single["grouping"] != "whole")]
        self.bringing = best(single)
        self.grouping = grouping

    def share(
        self, part: pd.Series, direction: str, donor: str, measure: str = MARGIN
    ) -> pd.Series:
        """A part's row on the half that did not choose it."""
        kinds = ["activation", "weight"]
        found = of_kind(self.rows, kinds, direction, donor, "confirmation", measure)
        return found[(found[_PARTS] == part[_PARTS]).all(axis=1)].iloc[0]

    def numbers(self) -> list[Number]:
        """Shares of the parts that are named, and of all groups together."""
        who, note = part_name(self.taking), "events that did not choose it"
        found = [
            _share(f"share of the change that {who} takes away{said}", row, note)
            for said, row in (
                ("", self.share(self.taking, TAKES, "matched")),
                (", random change of the same size", self.share(self.taking, TAKES, "control")),
                (", beyond the random change", self.share(self.taking, TAKES, "excess")),
                (
                    ", against the source's best wrong token",
                    self.share(self.taking, TAKES, "matched", "answer_margin_fixed_source"),
                ),
                (", of accuracy", self.share(self.taking, TAKES, "matched", "correct")),
            )
        ]
        found.append(
            _share(
                f"share of the change that {who} brings alone",
                self.share(self.taking, BRINGS, "matched"),
                note,
            )
        )
        if part_name(self.bringing) != who:
            found.append(
                _share(
                    f"share of the change that {part_name(self.bringing)} brings alone",
                    self.share(self.bringing, BRINGS, "matched"),
                    f"the part that brings most; {note}",
                )
            )
        for direction, does in ((BRINGS, "bring"), (TAKES, "take away")):
            total = groups(self.rows, direction, "matched", self.grouping, "all", SUM)
            found.append(
                _share(
                    f"sum over groups ({self.grouping}) of the shares that they {does}",
                    total.iloc[0],
                    "single parts need not sum to 100%",
                )
            )
        return found


def _answer(rows: pd.DataFrame, window: tuple[int, int], told: _Told | None) -> str:
    change = of_kind(rows, "change", "", "").iloc[0]
    grew = format_value(change["effect"], "logit", change["effect_low"], change["effect_high"])
    span = format_interval(change["effect"], "logit", change["effect_low"], change["effect_high"])
    first, last = (f"{step:,}" for step in window)
    if told is None:
        return (
            f"From step {first} to {last} the answer margin did not change beyond its interval "
            f"({grew}, 95% interval {span}), so there is no change that a part could carry."
        )
    taken, control, excess = (
        told.share(told.taking, TAKES, donor) for donor in ("matched", "control", "excess")
    )
    who = part_name(told.taking)
    change_said = f"the answer margin's change from step {first} to {last} ({grew})"
    if excess["low"] > 0:
        carries = (
            f"Putting the weights of {who} back to those of step {first} takes away "
            f"{_percent(taken)} of {change_said}, against {_percent(control)} for a random change "
            "of the same size."
        )
    else:
        carries = (
            f"No group's weights, put back to those of step {first}, are shown to take away more "
            f"of {change_said} than a random change of the same size ({who}: {_percent(taken)} "
            f"against {_percent(control)})."
        )
    brought = told.share(told.bringing, BRINGS, "matched")
    name = part_name(told.bringing)
    into = f"Put into the model of step {first}, "
    alone = f"{into}{name} alone brings {_percent(brought)} of it"
    if brought["low"] <= _HALF:
        alone = f"{into}no part is shown to bring half of it: {name} brings most, "
        alone += _percent(brought)
    return f"{carries} {alone}. {_rests(rows, first)}"


def _rests(rows: pd.DataFrame, first: str) -> str:
    """On which states it rests: those without which at least half of the change is gone."""
    found = of_kind(rows, "activation", TAKES, "matched")
    order = list(dict.fromkeys(found["stage"]))
    places = []
    for role, part in found[found["role"] != "causal_prefix"].groupby("role", sort=False):
        needed = [order.index(s) for s in part.loc[part["low"] > _HALF, "stage"]]
        if needed:
            places.append(f"{role} ({_stages(order, needed)})")
    if not places:
        return "No role's states at one stage, put back, are shown to take away half of it."
    return (
        f"Put back to those of step {first}, the states at these roles and stages each take away "
        f"more than half: {'; '.join(places)}."
    )


def _stages(order: Sequence[str], needed: Sequence[int]) -> str:
    """Stages in words, as a range where none is left out."""
    if len(needed) > 1 and needed[-1] - needed[0] == len(needed) - 1:
        return f"{order[needed[0]]} to {order[needed[-1]]}"
    return ", ".join(order[i] for i in needed)


def _ends(rows: pd.DataFrame, events: pd.DataFrame, window: tuple[int, int]) -> list[Number]:
    """The change, and the accuracy at both ends."""
    change = of_kind(rows, "change", "", "").iloc[0]
    first, last = window
    numbers = [
        Number(
            f"change of answer margin, step {first:,} to {last:,}",
            float(change["effect"]),
            "logit",
            float(change["effect_low"]),
            float(change["effect_high"]),
            int(change["count"]),
        )
    ]
    for step in dict.fromkeys(window):
        at = events[(events["step"] == step) & (events["measure"] == "correct")]
        mean = bootstrap_mean(at.drop_duplicates("event")["value"].to_numpy())
        name = f"reads answered right at step {step:,}"
        numbers.append(Number(name, mean.mean, "share", mean.low, mean.high, mean.count))
    return numbers


def _marks(rows: pd.DataFrame, told: _Told | None) -> list[str]:
    if told is None:
        return ["The change's interval holds 0: shares of it are left out, effects are given."]
    marks = []
    if part_name(told.taking) != part_name(told.again):
        marks.append(
            "The confirmation half of the events would have chosen "
            f"{part_name(told.again)} instead of {part_name(told.taking)}."
        )
    whole = of_kind(rows, "weight", [BRINGS, TAKES], "matched")
    whole = whole[whole["grouping"] == "whole"]["fraction"]
    if (whole - 1).abs().max() > _EXACT:
        marks.append("All weights of one end put into the other do not give the other end.")
    return marks


def _share(name: str, row: pd.Series, note: str) -> Number:
    value, low, high = _rounded(row)
    return Number(name, value, "share", low, high, int(row["count"]), note)


def _percent(row: pd.Series) -> str:
    """A share with its interval."""
    value, low, high = _rounded(row)
    span = format_interval(value, "share", low, high)
    return f"{format_value(value, 'share', low, high)} (95% interval {span})"


def _rounded(row: pd.Series) -> tuple[float, float, float]:
    """A share without float32's rounding, which would make an interval of its own."""
    value, low, high = (round(float(row[name]), 6) for name in ("fraction", "low", "high"))
    return value, low, high
