"""The verdict on what could be known before birth, in sentences."""

from __future__ import annotations

import pandas as pd

from circuit.measures.replication.foretold import (
    CORRELATION,
    FIRST_BORN,
    KNOWN,
    NO_BETTER,
    NOT_TOLD,
    NOTHING,
)
from circuit.measures.replication.selection import BASELINES, RANKING
from circuit.reports.quantities import format_interval, format_value
from circuit.reports.style import words


def answer(pooled: pd.DataFrame, told: pd.DataFrame, born: pd.DataFrame) -> str:
    """What could be known, how closely the orders agree, and what baselines tell.

    Args:
        pooled: the rows of run ``pooled`` of :func:`circuit.measures.replication.foretold.scores`.
        told: of :func:`circuit.measures.replication.foretold.verdicts`.
        born: run, and the columns of :func:`circuit.measures.replication.selection.births`.
    """
    runs, arrived = born["run"].nunique(), int(born["born"].sum())
    if not arrived:
        return (
            f"There was nothing to foretell: none of {len(born)} candidate routes was born in "
            f"{runs_of(runs)}."
        )
    if (told["verdict"] == NOTHING).all():
        return (
            "There was nothing left to foretell: at every cutoff "
            f"({steps_of(told['step'])}) the routes that remained were born together or not at all."
        )
    best = told_of(told)
    step, row = int(best["step"]), _correlation(pooled, int(best["step"]), RANKING)
    rho = f"rank correlation {_of(row)} over {runs_of(int(row['count']))}{_strict(best, told)}"
    if best["verdict"] == KNOWN:
        first = (
            "It could be known before birth which routes training would reinforce: at step "
            f"{step:,} the ranking agrees with the order of births better than chance and than "
            f"every baseline ({rho})."
        )
    elif best["verdict"] == NO_BETTER:
        first = (
            "Which routes training would reinforce could be told before birth, but no better than "
            f"a baseline tells it: at step {step:,} the ranking agrees with the order of births "
            f"({rho}), and so does {_best_baseline(pooled, step)}."
        )
    else:
        tried = told[told["verdict"] != NOTHING]["step"]
        first = (
            "That it could be known before birth which routes training would reinforce is not "
            f"shown: at {_none_of(tried)} does the ranking agree with the order of births beyond "
            f"chance; it comes closest at step {step:,} ({rho}){_though(told)}."
        )
    return " ".join([first, *_hit(pooled, step), *_where(told), *_alone(told)])


def told_of(told: pd.DataFrame) -> pd.Series:
    """The cutoff to tell of: the earliest with the best verdict, or the one that came closest."""
    for verdict in (KNOWN, NO_BETTER):
        if (told["verdict"] == verdict).any():
            return told[told["verdict"] == verdict].iloc[0]
    tried = told[told["verdict"] == NOT_TOLD]
    return tried.loc[tried["value"].idxmax()]


def _none_of(steps: pd.Series) -> str:
    return f"none of {len(steps)} cutoffs ({steps_of(steps)})" if len(steps) > 1 else "no cutoff"


def steps_of(steps: pd.Series) -> str:
    """``step 30``, or ``steps 30, 100 and 300``."""
    listed = [f"{int(step):,}" for step in steps]
    joined = f"{', '.join(listed[:-1])} and {listed[-1]}" if len(listed) > 1 else listed[0]
    return f"step{'s' if len(listed) > 1 else ''} {joined}"


def runs_of(n: int) -> str:
    """``1 run``, ``3 runs``."""
    return f"{n} run{'' if n == 1 else 's'}"


def _correlation(pooled: pd.DataFrame, step: int, predictor: str) -> pd.Series:
    return score_of(pooled, step, predictor, CORRELATION).iloc[0]


def score_of(pooled: pd.DataFrame, step: int, predictor: str, score: str) -> pd.DataFrame:
    """The row of a score, if there is one."""
    at = (pooled["step"] == step) & (pooled["predictor"] == predictor)
    return pooled[at & (pooled["score"] == score)]


def _of(row: pd.Series) -> str:
    told = row["value"], "1", row["low"], row["high"]
    return f"{format_value(*told, signed=True)}, 95% interval {format_interval(*told, signed=True)}"


def _strict(best: pd.Series, told: pd.DataFrame) -> str:
    """The ends that the verdict takes, where they are not those of the 95% interval."""
    tried = int((told["verdict"] != NOTHING).sum())
    ends = format_interval(best["value"], "1", best["strict_low"], best["strict_high"], signed=True)
    chance = f"random orders reach {best['strict_chance']:+.2f}"
    return f"; for {tried} cutoffs at once {ends}, and {chance}" if tried > 1 else f"; {chance}"


def _best_baseline(pooled: pd.DataFrame, step: int) -> str:
    found = pd.concat([score_of(pooled, step, name, CORRELATION) for name in BASELINES])
    best = found.loc[found["value"].idxmax()]
    return f"{words(best['predictor'])} alone ({_of(best)})"


def _hit(pooled: pd.DataFrame, step: int) -> list[str]:
    """How often the route ranked first was the first born."""
    found = score_of(pooled, step, RANKING, FIRST_BORN)
    if found.empty:
        return []
    row = found.iloc[0]
    n = int(row["count"])
    return [
        f"The route that it ranks first there is the first born in {round(row['value'] * n)} of "
        f"{runs_of(n)} (95% interval {row['low']:.0%} to {row['high']:.0%}; drawing a candidate: "
        f"{row['chance']:.0%})."
    ]


def _where(told: pd.DataFrame) -> list[str]:
    """Cutoffs whose verdict differs from that of the cutoff told of."""
    best = told_of(told)["verdict"]
    if best == NOT_TOLD:
        return []
    same = told[told["verdict"] == best]["step"]
    others = told[told["verdict"] == NOT_TOLD]["step"]
    parts = [f"That holds at {len(same)} of {len(told)} cutoffs ({steps_of(same)})"]
    if len(others):
        parts.append(f"at {steps_of(others)} the ranking could not be told from chance")
    return ["; ".join(parts) + "."]


def _though(told: pd.DataFrame) -> str:
    """Baselines that agree where the ranking does not, and out of how many looks."""
    found = _telling(told)
    looks = len(BASELINES) * int((told["verdict"] != NOTHING).sum())
    return f"; by itself, {found} does (of {looks} pairs of baseline and cutoff)" if found else ""


def _alone(told: pd.DataFrame) -> list[str]:
    """What baselines tell by themselves, where that is not said yet."""
    found = _telling(told)
    if not found or told_of(told)["verdict"] == NOT_TOLD:
        return []
    return [f"Baselines that tell by themselves: {found}."]


def _telling(told: pd.DataFrame) -> str:
    """Baselines that tell by themselves, with their cutoffs."""
    parts = []
    for name in BASELINES:
        steps = told[[name in text.split(", ") for text in told["baselines"]]]["step"]
        if len(steps):
            parts.append(f"{words(name)} at {steps_of(steps)}")
    return "; ".join(parts)
