"""What the progress of write scalars says: which of them is fit to be attributed, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd

from circuit.measures.writes.fitness import Bounds
from circuit.measures.writes.names import CRITERIA, MODEL, SCALARS
from circuit.reports import progress_tables
from circuit.reports.document import Figure, Number
from circuit.reports.publish import Account
from circuit.reports.quantities import format_interval, format_value

_CALLED = {"winner": "winner", "runner_up": "runner-up", "bottom": "bottom control"}
_HALVES = ("selection", "confirmation")
_KEYS = ["head", "scalar"]


def progress(
    rows: pd.DataFrame,
    births: pd.DataFrame,
    correlations: pd.DataFrame,
    parts: pd.DataFrame,
    verdicts: pd.DataFrame,
    roles: Mapping[str, str],
    bounds: Bounds,
    competitor: str,
    passes: Number,
) -> Account:
    """Which scalar of the winner's write is fit to be attributed, beside the other heads.

    Args:
        rows, births: of :mod:`circuit.measures.writes.measured`.
        correlations: of :mod:`circuit.measures.writes.agreement`; ``parts``: of
            :mod:`circuit.measures.writes.parts`; ``verdicts``: of
            :mod:`circuit.measures.writes.fitness`, of the heads of ``roles``.
        roles: ``winner``, ``runner_up`` and ``bottom`` → the head's name.
        competitor: where the fixed rivals come from.
        passes: how many forward passes it took.
    """
    head, heads = roles["winner"], list(dict.fromkeys(roles.values()))
    steps = int(rows["step"].min()), int(rows["step"].max())
    judged = verdicts.set_index(_KEYS)
    standing = {name: standings(judged.loc[name]) for name in heads}
    told = judged[judged["half"] == "confirmation"]
    chosen = next(iter(told.loc[head].index[told.loc[head, "chosen"]]), None)
    of_head = correlations[correlations["head"] == head]
    return Account(
        question=f"Which scalar of what {head} writes is fit to be attributed?",
        answer=" ".join(
            [
                _verdict(head, chosen, standing[head], told.loc[head], steps),
                *_rest(chosen, standing[head]),
                *_together(chosen, correlations, roles),
                *_beside(roles, standing),
            ]
        ),
        numbers=[*_numbers(roles, chosen, told, births, of_head, steps), passes],
        tables=[
            progress_tables.criteria_table(told.loc[heads].reset_index(), bounds, competitor),
            progress_tables.growths_table(parts, heads, steps),
            progress_tables.correlations_table(of_head, head),
            progress_tables.births_table(births[births["head"].isin([*heads, MODEL])]),
        ],
        figures=_figures(head),
        marks=_marks(head, chosen, standing, roles["bottom"]),
    )


def standings(judged: pd.DataFrame) -> dict[str, list[str]]:
    """The criteria that each scalar of a head misses on either half; none where it is fit.

    Of one that is not born, shares of growth and correlations say nothing more.
    """
    halves = judged[judged["half"].isin(_HALVES)]
    met = halves[list(CRITERIA)].groupby(level=0).all()
    missed = {
        scalar: [name for name in CRITERIA if not met.loc[scalar, name]] for scalar in SCALARS
    }
    said = ("born", "smooth", "sees_attention", "sees_size")
    return {
        scalar: [name for name in names if "born" not in names or name in said]
        for scalar, names in missed.items()
    }


def _verdict(
    head: str,
    chosen: str | None,
    standing: Mapping[str, list[str]],
    told: pd.DataFrame,
    steps: tuple[int, int],
) -> str:
    """The first sentence: the scalar and what speaks for it, or that there is none."""
    if chosen is None:
        near = min(SCALARS, key=lambda scalar: len(standing[scalar]))
        missed = _list(CRITERIA[name] for name in standing[near])
        missed = missed or "meets them only on the events that did not choose"
        return (
            f"No measure of what {head} writes is fit to be attributed: the one that misses fewest "
            f"of the {len(CRITERIA)} criteria, {near}, {missed}."
        )
    row = told.loc[chosen]
    fit = "is fit to be attributed" if not standing[chosen] else "was chosen as fit but is not"
    first = (
        f"Of what {head} writes, {chosen} ({SCALARS[chosen]}) {fit}: from step {steps[0]:,} to "
        f"{steps[1]:,} it grew by {_with_interval(row, 'growth', 'logit')} on events that did not "
        f"choose it, and by {_with_interval(row, 'shuffled', 'logit')} with the values of other "
        "events in place of its own."
    )
    if pd.isna(row["attention_share"]):
        return first
    attention, values = (f"{row[f'{name}_share']:.0%}" for name in ("attention", "values"))
    birth = f"; it is half-way at step {row['birth']:,.0f}" if row["born"] else ""
    return (
        f"{first} Of its growth, {attention} came as the head looked more at the support value and "
        f"{values} as what it reads there said more about the answer; the rest is what other "
        f"events' values give too, or is read elsewhere{birth}."
    )


def _rest(chosen: str | None, standing: Mapping[str, list[str]]) -> list[str]:
    """What else is fit, what can be configured of it, and what each of the others misses."""
    found = []
    fit = [scalar for scalar in SCALARS if not standing[scalar] and scalar != chosen]
    if fit:
        found.append(f"{_list(fit)} {'is' if len(fit) == 1 else 'are'} fit too.")
    why = [
        f"{scalar} {_list(CRITERIA[name] for name in standing[scalar])}"
        for scalar in SCALARS
        if standing[scalar]
    ]
    return [*found, *([f"Not fit: {'; '.join(why)}."] if why else [])]


def _together(
    chosen: str | None, correlations: pd.DataFrame, roles: Mapping[str, str]
) -> list[str]:
    """Whether the chosen scalar and the outcomes also change together, interval by interval."""
    if chosen is None:
        return []
    rows = correlations[correlations["scalar"] == chosen]
    of_head = rows[rows["head"] == roles["winner"]].set_index("outcome")
    levels, changes = (of_head[of_head["over"] == o] for o in ("checkpoints", "intervals"))
    start = f"Over checkpoints {chosen} correlates with the outcomes at {_range(levels)}"
    control = rows[(rows["head"] == roles["bottom"]) & (rows["over"] == "checkpoints")]
    if roles["bottom"] != roles["winner"] and control["correlation"].notna().all():
        start += f" (that of the bottom control {roles['bottom']}: {_range(control)})"
    listed = _list(f"{_signed(row['correlation'])} ({name})" for name, row in changes.iterrows())
    beyond = int((changes["low"] > 0).sum())
    whole = f"{start}; its changes between checkpoints, with theirs at {listed}"
    if beyond == 0:
        return [
            f"{whole}, none with an interval above 0: what they share is that all of them rise."
        ]
    if beyond < len(changes):
        return [
            f"{whole}, {beyond} of {len(changes)} with an interval above 0: that levels agree may "
            "be no more than that all of them rise."
        ]
    return [f"{whole}, all with intervals above 0."]


def _range(rows: pd.DataFrame) -> str:
    """From the smallest to the largest correlation."""
    return f"{_signed(rows['correlation'].min())} to {_signed(rows['correlation'].max())}"


def _signed(correlation: float) -> str:
    return format_value(correlation, "1", correlation - 0.2, correlation + 0.2, signed=True)


def _beside(roles: Mapping[str, str], standing: Mapping[str, Mapping[str, list[str]]]) -> list[str]:
    """How many scalars of the other heads are fit."""
    parts = []
    for role, head in roles.items():
        if head != roles["winner"]:
            fit = sum(not missed for missed in standing[head].values())
            parts.append(f"{fit or 'none'} of the {_CALLED.get(role, role)} {head}")
    return [f"By the same criteria, of {len(SCALARS)} scalars each, {_list(parts)} are fit."]


def _numbers(
    roles: Mapping[str, str],
    chosen: str | None,
    told: pd.DataFrame,
    births: pd.DataFrame,
    of_head: pd.DataFrame,
    steps: tuple[int, int],
) -> list[Number]:
    """Growths of every scalar of the winner and of the told one elsewhere, births, correlations."""
    head, note = roles["winner"], "events that did not choose the scalar"
    found = []
    for scalar in SCALARS:
        for of, name in (("growth", "growth"), ("shuffled", "growth with other events' values")):
            row = told.loc[(head, scalar)]
            found.append(_number(f"{name} of {scalar} of {head}", row, of, "logit", note))
    shown = chosen or next(iter(SCALARS))
    for role, other in roles.items():
        if other != head:
            name = f"growth of {shown} of {_CALLED.get(role, role)} {other}"
            found.append(_number(name, told.loc[(other, shown)], "growth", "logit", note))
    for row in of_head[of_head["scalar"] == shown].itertuples():
        name = f"correlation of {shown} of {head} with {row.outcome} over {row.over}"
        numbers = (float(getattr(row, c)) for c in ("correlation", "low", "high"))
        if pd.notna(row.correlation):
            value, low, high = numbers
            note = "interval over events"
            found.append(Number(name, value, "1", low, high, int(row.count), note, signed=True))
    born = births[(births["method"] == "threshold") & births["found"]]
    for row in born[born["head"].isin([head, MODEL])].itertuples():
        of = f"{row.scalar} of {head}" if row.head == head else row.scalar
        ends = [None if pd.isna(row.high) else float(end) for end in (row.low, row.high)]
        name = f"step at which {of} is half-way"
        found.append(Number(name, float(row.step), "step", ends[0], ends[1], int(row.count)))
    return found


def _number(name: str, row: pd.Series, of: str, unit: str, note: str) -> Number:
    mean, low, high = (float(row[c]) for c in (of, f"{of}_low", f"{of}_high"))
    return Number(name, mean, unit, low, high, int(row["count"]), note)


def _figures(head: str) -> list[Figure]:
    captions = {
        "progress": "Every scalar of every head's write over training, and the model's outcomes.",
        "progress_conditions": f"What {head} writes with attention as it is or forced onto the "
        "support value, and with its own values or those of other events.",
        "fitness": f"What the growth of {head}'s scalars and of the bottom control's is made of, "
        "how they go with the outcomes, and which of them are fit.",
    }
    return [Figure(f"{name}.svg", caption) for name, caption in captions.items()]


def _marks(
    head: str,
    chosen: str | None,
    standing: Mapping[str, Mapping[str, list[str]]],
    bottom: str,
) -> list[str]:
    found = []
    if chosen is not None and standing[head][chosen]:
        missed = _list(CRITERIA[name] for name in standing[head][chosen])
        found.append(f"On the events that did not choose it, {chosen} of {head} {missed}.")
    passed = [scalar for scalar, missed in standing[bottom].items() if not missed]
    if passed and bottom != head:
        found.append(f"The bottom control {bottom} passes too: {_list(passed)}.")
    return found


def _with_interval(row: pd.Series, of: str, unit: str) -> str:
    ends = row[of], unit, row[f"{of}_low"], row[f"{of}_high"]
    return f"{format_value(*ends)} (95% interval {format_interval(*ends)})"


def _list(items: Iterable[str]) -> str:
    """``a, b and c``."""
    *most, last = [*items] or [""]
    return f"{', '.join(most)} and {last}" if most else last
