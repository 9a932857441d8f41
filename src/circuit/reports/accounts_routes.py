"""What a competition of routes says: which grew, and whether the loss pushed it from the start."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from circuit.model.passes import Passes
from circuit.reports.document import Figure, Number, Table
from circuit.reports.passes import passes_number
from circuit.reports.publish import Account
from circuit.reports.quantities import format_interval, format_value
from circuit.reports.style import words

_MOST = 24  # routes in the report; all are in the ranking's own table
_NAMES = {"winner": "winner", "runner_up": "runner-up", "bottom": "bottom control"}
_SIZE = "standard deviations"
_RANKING_UNITS = {
    "rank": "1",
    **dict.fromkeys(("selection", "confirmation", "low", "high"), _SIZE),
    **dict.fromkeys(("change", "change_low", "change_high"), "unit of the route"),
    "count": "1",
}
_CORRELATION_UNITS = {**dict.fromkeys(("correlation", "low", "high"), "1"), "count": "1"}
_ALIGNMENT_UNITS = {"step": "step", **dict.fromkeys(("mean", "low", "high"), "1"), "count": "1"}


def competition(
    rows: pd.DataFrame,
    ranking: pd.DataFrame,
    signs: pd.DataFrame,
    confirmed: bool,
    train_split: str,
    passes: Passes,
    backward: int,
    n_layers: int,
) -> Account:
    """Which route won the window, by how much, and whether its start told.

    Args:
        rows: of :class:`circuit.measures.routes.competition.RouteFrame`.
        ranking: of :class:`circuit.measures.routes.ranking.Ranking`; ``confirmed``: its own.
        signs: of :func:`circuit.measures.routes.ranking.early_signs`.
        train_split: the split whose loss was trained on.
        passes, backward: forward and backward passes run; ``n_layers``: of the model.
    """
    chosen = ranking[ranking["role"] != ""].set_index("role")
    routes = {role: str(chosen.loc[role, "route"]) for role in _NAMES}
    events = int(rows.loc[rows["measure"] == "strength", "count"].iloc[0])
    shown = ranking.head(_MOST)
    if len(ranking) > _MOST:
        shown = pd.concat([shown, ranking.iloc[_MOST:][ranking["role"].iloc[_MOST:] != ""]])
    aligned = rows[(rows["measure"] == "alignment") & rows["route"].isin(routes.values())]
    return Account(
        question="Which of the candidate routes grew over this window, and did training push it?",
        answer=_answer(rows, ranking, signs, routes, train_split),
        numbers=[
            *_sizes(chosen),
            *_strengths(rows, routes),
            *_signs(signs, train_split),
            *_alignments(rows, routes, train_split),
            passes_number(passes, events, n_layers),
            Number("backward passes", backward, "1", note="one per route and per chunk of a loss"),
        ],
        tables=[
            Table(
                "Routes by effect size: mean change over the pooled standard deviation over events "
                f"(chosen on one half, told on the other; {len(shown)} of {len(ranking)} routes)",
                shown.drop(columns=["family", "head"]),
                _RANKING_UNITS,
            ),
            Table(
                "Does alignment at the first checkpoint tell who grows? Spearman correlation over "
                "routes (count: routes)",
                signs[signs["measure"] == "alignment"].drop(columns="measure"),
                _CORRELATION_UNITS,
            ),
            Table(
                "Alignment of the chosen routes with the descent direction of the training loss "
                "(cosine; count: chunks of programs)",
                aligned[(aligned["split"] == train_split) & (aligned["objective"] == "tokens")][
                    ["route", "step", "mean", "low", "high", "count"]
                ],
                _ALIGNMENT_UNITS,
            ),
        ],
        figures=[
            Figure(
                "ranked.svg",
                "How much each route grew over the window, on events that did not choose, and "
                "whether descending the training loss at its start would make it grow.",
            ),
            Figure(
                "alignment.svg",
                "Whether three losses push winner, runner-up and bottom control up (above 0) or "
                "down, on two splits; the loss with exchanged answers is the control.",
            ),
        ],
        marks=_marks(ranking, routes, confirmed),
    )


def _answer(
    rows: pd.DataFrame,
    ranking: pd.DataFrame,
    signs: pd.DataFrame,
    routes: Mapping[str, str],
    train_split: str,
) -> str:
    at = ranking.set_index("route")
    won, first, last = at.loc[routes["winner"]], rows["step"].min(), rows["step"].max()
    rivals = " and ".join(
        f"{_size(at.loc[routes[role]])} for the {_NAMES[role]} {routes[role]}"
        for role in ("runner_up", "bottom")
    )
    when = f"from step {first:,} to {last:,}"
    change = format_value(won["change"], won["unit"], won["change_low"], won["change_high"])
    span = format_interval(won["confirmation"], "1", won["low"], won["high"], signed=True)
    if won["low"] > 0:
        grew = f"Of {len(ranking)} candidate routes, {routes['winner']} grew most {when}: by"
    else:
        grew = (
            f"No route of {len(ranking)} candidates is shown to grow {when}: {routes['winner']}, "
            "the best on the events that choose, changed by"
        )
    return (
        f"{grew} {_size(won)} standard deviations over events (95% interval {span}; {change}), "
        f"against {rivals}. {_early(rows, signs, routes, train_split)}"
    )


def _early(
    rows: pd.DataFrame, signs: pd.DataFrame, routes: Mapping[str, str], train_split: str
) -> str:
    """Whether the training loss pushed the winner at the start, and whether that tells who wins."""
    first = rows["step"].min()
    start = rows[(rows["measure"] == "alignment") & (rows["step"] == first)]
    start = start[(start["split"] == train_split) & (start["objective"] == "tokens")]
    won = start.set_index("route").loc[routes["winner"]]
    value = format_value(won["mean"], "1", won["low"], won["high"], signed=True)
    span = format_interval(won["mean"], "1", won["low"], won["high"], signed=True)
    way = "up" if won["low"] > 0 else "down" if won["high"] < 0 else "neither clearly up nor down"
    pushed = (
        f"At step {first:,} plain descent of the training loss moves {routes['winner']} {way} "
        f"(cosine {value}, 95% interval {span})"
    )
    told = signs[(signs["measure"] == "alignment") & (signs["split"] == train_split)]
    told = told[(told["objective"] == "tokens") & (told["among"] == "all routes")]
    if told.empty:
        return f"{pushed}."
    row = told.iloc[0]
    rho = format_value(row["correlation"], "1", row["low"], row["high"], signed=True)
    span = format_interval(row["correlation"], "1", row["low"], row["high"], signed=True)
    if row["low"] > 0:
        says = "over all routes, those pushed more at the start grew more"
    elif row["high"] < 0:
        says = "over all routes, those pushed more at the start grew less"
    else:
        says = "over all routes, the push at the start does not tell which grew"
    return f"{pushed}; {says} (rank correlation {rho}, 95% interval {span})."


def _size(row: pd.Series) -> str:
    return format_value(row["confirmation"], "1", row["low"], row["high"], signed=True)


def _strengths(rows: pd.DataFrame, routes: Mapping[str, str]) -> list[Number]:
    """Strength of the chosen routes at both ends of the window."""
    at = rows[rows["measure"] == "strength"].set_index(["route", "step"])
    steps = dict.fromkeys((rows["step"].min(), rows["step"].max()))
    return [
        _number(f"{route} ({_NAMES[role]}) at step {step:,}", at.loc[(route, step)])
        for role, route in routes.items()
        for step in steps
    ]


def _sizes(chosen: pd.DataFrame) -> list[Number]:
    return [
        Number(
            f"effect size of {chosen.loc[role, 'route']} ({name})",
            float(chosen.loc[role, "confirmation"]),
            _SIZE,
            float(chosen.loc[role, "low"]),
            float(chosen.loc[role, "high"]),
            int(chosen.loc[role, "count"]),
            note=f"of {chosen.loc[role, 'scalar']}; events that did not choose it",
        )
        for role, name in _NAMES.items()
    ]


def _alignments(rows: pd.DataFrame, routes: Mapping[str, str], train_split: str) -> list[Number]:
    """Alignment of the chosen routes at the window's start, and the push of the winner."""
    start = rows[(rows["step"] == rows["step"].min()) & (rows["split"] != "")]
    at = start.set_index(["measure", "split", "objective", "route"]).sort_index()
    losses = list(dict.fromkeys(zip(start["split"], start["objective"], strict=True)))
    note = f"at step {start['step'].iloc[0]:,}; n: chunks of programs"
    numbers = [
        _number(
            f"alignment of {route} ({_NAMES[role]}) with descent on {words(objective)} of {split}",
            at.loc[("alignment", split, objective, route)],
            note,
            signed=True,
        )
        for role, route in routes.items()
        for split, objective in losses
        if split == train_split or objective == "tokens"
    ]
    won = routes["winner"]
    name = f"push of {won} by the training loss"
    return [*numbers, _number(name, at.loc[("push", train_split, "tokens", won)], note)]


def _signs(signs: pd.DataFrame, train_split: str) -> list[Number]:
    found = signs[(signs["measure"] == "alignment") & (signs["split"] == train_split)]
    return [
        Number(
            f"rank correlation of early alignment ({words(row['objective'])} of {train_split}) "
            f"with effect size over {row['among']}",
            float(row["correlation"]),
            "1",
            float(row["low"]),
            float(row["high"]),
            int(row["count"]),
            note="descriptive: routes of one model are no independent draws",
            signed=True,
        )
        for _, row in found[found["objective"] == "tokens"].iterrows()
    ]


def _marks(ranking: pd.DataFrame, routes: Mapping[str, str], confirmed: bool) -> list[str]:
    marks = []
    if not confirmed:
        marks.append(
            "The confirmation half of the events would have chosen another route than "
            f"{routes['winner']}."
        )
    still = ranking.loc[ranking["selection"].isna(), "route"].tolist()
    if still:
        marks.append(
            "Routes with one value on all events have no effect size and rank last: "
            f"{', '.join(still)}."
        )
    return marks


def _number(name: str, row: pd.Series, note: str = "", signed: bool | None = None) -> Number:
    mean, low, high = (float(row[c]) for c in ("mean", "low", "high"))
    return Number(name, mean, str(row["unit"]), low, high, int(row["count"]), note, signed)
