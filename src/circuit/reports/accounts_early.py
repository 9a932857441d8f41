"""What could be known of candidate routes before birth: how strong they are, what moves them."""

from __future__ import annotations

import pandas as pd

from circuit.model.passes import Passes
from circuit.reports.document import Figure, Number, Table
from circuit.reports.passes import passes_number
from circuit.reports.publish import Account
from circuit.reports.quantities import format_interval, format_value
from circuit.reports.style import words

_SHOWN = {
    "strength": "",
    "gradient_norm": "",
    "alignment": "tokens",
    "growth": "",
    "component_share": "momentum",
    "own_update_norm": "",
    "own_growth_share": "",
    "shared_cosine": "",
    "unique_growth": "",
}
_FOLLOWED = ("strength", "alignment", "growth", "unique_growth")
_NORMS = ("gradient_norm", "own_update_norm")
_SIGNED = ("alignment", "component_share", "own_growth_share", "shared_cosine")


def features(rows: pd.DataFrame, passes: Passes, backward: int, n_layers: int) -> Account:
    """What the last cutoff shows of every candidate, and who led at every cutoff.

    Args:
        rows: of :class:`circuit.measures.routes.early.Features`.
        passes, backward: forward and backward passes run; ``n_layers``: of the model.
    """
    last = rows["step"].max()
    at = rows[rows["step"] == last].set_index(["measure", "part", "route"]).sort_index()
    grown, strong = _largest(at, "growth"), _largest(at, "strength")
    events = int(at.loc[("strength", "", strong), "count"])
    return Account(
        question="What could be known of the candidate routes before any later step was taken?",
        answer=_answer(at, int(last), grown, strong),
        numbers=[
            *_numbers(at, int(last), dict.fromkeys((grown, strong))),
            passes_number(passes, events, n_layers),
            Number("backward passes", backward, "1", note="one per route and per chunk of a loss"),
        ],
        tables=[_features(rows[rows["step"] == last], int(last)), _leaders(rows)],
        figures=[
            Figure(
                "route_features.svg",
                "How every feature ranks the candidate routes at each cutoff; routes that all "
                "features rank alike have rows of one shade.",
            )
        ],
    )


def _answer(at: pd.DataFrame, step: int, grown: str, strong: str) -> str:
    row, strength = at.loc[("growth", "", grown)], at.loc[("strength", "", strong)]
    every = at.loc[("growth", "")]
    n, clear = len(every), int((every["low"] > 0).sum())
    if row["low"] > 0:
        first = (
            f"At step {step:,}, the last cutoff, the optimizer's next update would make {grown} "
            f"grow most of {n} candidate routes: by {_of(row)} at first order{_next(every, grown)}"
        )
    elif clear:
        first = (
            f"At step {step:,}, the last cutoff, which of {n} candidate routes the optimizer's "
            f"next update would make grow most is open: {grown}, the first by its growth at first "
            f"order, would change by {_of(row)}; {clear} of less growth would surely grow"
        )
    else:
        first = (
            f"At step {step:,}, the last cutoff, the optimizer's next update is not shown to make "
            f"any of {n} candidate routes grow: {grown}, the first by its growth at first order, "
            f"would change by {_of(row)}"
        )
    memory, own = (
        at.loc[(measure, part, grown)]
        for measure, part in (("component_share", "momentum"), ("own_growth_share", ""))
    )
    alone = at.loc[("unique_growth", "", grown)]
    strongest = "It is also the strongest already" if strong == grown else f"Strongest is {strong}"
    return (
        f"{first}. Of that change, the optimizer's memory makes up {_plain(memory)} (signed share "
        f"of all components' absolute values), the head's own parameters {_plain(own)}, and "
        f"{_of(alone)} is left where no other route is moved. {strongest}, at {_of(strength)}. "
        f"Nothing later than step {step:,} was read."
    )


def _next(every: pd.DataFrame, grown: str) -> str:
    """The candidate that comes second, without which a first place says little."""
    others = every.drop(index=grown)
    if others.empty:
        return ""
    second = others.loc[others["mean"].idxmax()]
    return f", before {second.name} with {_of(second)}"


def _largest(at: pd.DataFrame, measure: str) -> str:
    return str(at.loc[(measure, ""), "mean"].idxmax())


def _of(row: pd.Series) -> str:
    """Value with its unit and interval."""
    value = format_value(row["mean"], row["unit"], row["low"], row["high"])
    span = format_interval(row["mean"], row["unit"], row["low"], row["high"])
    return f"{value} (95% interval {span})"


def _plain(row: pd.Series) -> str:
    return format_value(row["mean"], "1", row["low"], row["high"], signed=True)


def _numbers(at: pd.DataFrame, step: int, routes: dict[str, None]) -> list[Number]:
    """Every shown feature of the routes that lead, and the control of their alignment."""
    measures = [*_SHOWN.items(), ("alignment", "shuffled_answers")]
    return [
        _number(f"{_name(measure, part)} of {route} at step {step:,}", measure, row)
        for route in routes
        for measure, part in measures
        for row in [at.loc[(measure, part, route)]]
    ]


def _number(name: str, measure: str, row: pd.Series) -> Number:
    signed = measure in _SIGNED or (None if measure not in _NORMS else False)
    unit, count = str(row["unit"]), int(row["count"])
    if pd.isna(row["low"]):
        return Number(name, float(row["mean"]), unit, count=count, signed=signed)
    ends = float(row["low"]), float(row["high"])
    return Number(name, float(row["mean"]), unit, *ends, count, signed=signed)


def _name(measure: str, part: str) -> str:
    return f"{words(measure)} ({words(part)})" if part else words(measure)


def _features(rows: pd.DataFrame, step: int) -> Table:
    """One row per route, one column per feature; intervals are in the rows."""
    shown = pd.concat(
        [rows[(rows["measure"] == m) & (rows["part"] == part)] for m, part in _SHOWN.items()]
    )
    named = shown.assign(
        name=[_name(m, p) for m, p in zip(shown["measure"], shown["part"], strict=True)]
    )
    names = list(dict.fromkeys(named["name"]))
    units = dict(zip(named["name"], named["unit"], strict=True))
    table = named.pivot(index="route", columns="name", values="mean")[names]
    return Table(f"Features of every route at step {step:,}", table.reset_index(), units)


def _leaders(rows: pd.DataFrame) -> Table:
    """The first route by each followed feature at every cutoff."""
    kept = rows[rows["measure"].isin(_FOLLOWED)]
    kept = kept[kept["part"] == kept["measure"].map(_SHOWN)]
    first = kept.loc[kept.groupby(["measure", "step"])["mean"].idxmax()]
    first = first.sort_values(["measure", "step"])
    columns = ["measure", "step", "route", "unit", "mean", "low", "high", "count"]
    units = {"step": "step", **dict.fromkeys(("mean", "low", "high"), "see unit"), "count": "1"}
    return Table(
        "First route by strength, alignment and growth at every cutoff", first[columns], units
    )
