"""Whether it could be known before birth which routes training would reinforce."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from circuit.measures.replication.foretold import (
    CHANCE,
    CORRELATION,
    FIRST_BORN,
    KNOWN,
    NOTHING,
    POOLED,
    STRONGEST,
    advantage,
)
from circuit.measures.replication.selection import BASELINES, RANKED, RANKING
from circuit.reports.document import Figure, Number, Table
from circuit.reports.publish import Account
from circuit.reports.selection_answer import answer, runs_of, score_of, steps_of, told_of
from circuit.reports.style import words

_MOST = 40  # rows of a table in the report; all are in the tables beside it
_FEW = 5  # runs below which an interval over them is rough
_SCORE_UNITS = {
    "step": "step",
    **dict.fromkeys(("value", "low", "high", "strict_low", "strict_high"), "1"),
    **dict.fromkeys(("strict_chance", "chance"), "1"),
    "count": "1",
}


def foretold(
    scored: pd.DataFrame,
    told: pd.DataFrame,
    born: pd.DataFrame,
    threshold: float,
    others: Mapping[float, pd.DataFrame],
) -> Account:
    """The verdict at every cutoff, the births that it is about, and what each predictor tells.

    Args:
        scored: of :func:`circuit.measures.replication.foretold.scores`.
        told: of :func:`circuit.measures.replication.foretold.verdicts`, which states the predicate.
        born: run, and the columns of :func:`circuit.measures.replication.selection.births`.
        threshold: the fraction of the largest final strength at which a route counts as born.
        others: verdicts under other thresholds.
    """
    pooled = scored[scored["run"] == POOLED]
    return Account(
        question="Could it be known before birth which routes training would reinforce?",
        answer=answer(pooled, told, born),
        numbers=_numbers(pooled, told, born),
        tables=[*_tables(scored, pooled, told, born, threshold), *_elsewhere(others)],
        figures=[
            Figure(
                "predicted_order.svg",
                "The place that the ranking gives every candidate at each cutoff, and the order in "
                "which routes were born afterwards.",
            ),
            Figure(
                "selection_scores.svg",
                "How well the ranking, the baselines and each feature alone foretell the order of "
                "births, by cutoff, with the range that random orders have.",
            ),
        ],
        marks=[*_marks(scored, told, born), *_disagreement(told, others)],
    )


def _numbers(pooled: pd.DataFrame, told: pd.DataFrame, born: pd.DataFrame) -> list[Number]:
    """Of the cutoff told of: the ranking, its rivals and its hits."""
    numbers = [
        Number("candidate routes", len(born), "1", note=f"in {runs_of(born['run'].nunique())}"),
        Number("routes that were born", int(born["born"].sum()), "1"),
    ]
    known = told[told["verdict"] == KNOWN]["step"]
    earliest = float(known.min()) if len(known) else None
    numbers.append(Number("earliest cutoff at which it could be known", earliest, "step"))
    if not born["born"].any() or (told["verdict"] == NOTHING).all():
        return numbers
    step = int(told_of(told)["step"])
    chosen = [(RANKING, CORRELATION), *((name, CORRELATION) for name in BASELINES)]
    chosen += [(CHANCE, CORRELATION), *((RANKING, advantage(name)) for name in BASELINES)]
    chosen += [(RANKING, FIRST_BORN), (RANKING, STRONGEST)]
    for predictor, score in chosen:
        for _, row in score_of(pooled, step, predictor, score).iterrows():
            numbers.append(_number(row, step))
    return numbers


def _number(row: pd.Series, step: int) -> Number:
    hit = row["score"] in (FIRST_BORN, STRONGEST)
    note = f"drawing a candidate would hit in {row['chance']:.0%}" if hit else ""
    if row["predictor"] == CHANCE:
        note = "range of random orders"
    of = (
        "orders drawn at random" if row["predictor"] == CHANCE else f"the {words(row['predictor'])}"
    )
    return Number(
        f"{words(row['score'])} of {of} at step {step:,}",
        float(row["value"]),
        "share" if hit else "1",
        float(row["low"]),
        float(row["high"]),
        int(row["count"]),
        note or "mean over runs; interval over runs and their heads",
        signed=not hit,
    )


def _tables(
    scored: pd.DataFrame,
    pooled: pd.DataFrame,
    told: pd.DataFrame,
    born: pd.DataFrame,
    threshold: float,
) -> list[Table]:
    left_out = [int((born["step"] <= step).sum()) for step in told["step"]]
    verdict = told.assign(born_already=left_out, candidates=[len(born) - n for n in left_out])
    correlated = pooled[pooled["score"] == CORRELATION]
    every = correlated.pivot(index="predictor", columns="step", values="value")
    every = every.loc[[*dict.fromkeys(correlated["predictor"])]]
    every.columns = [f"step {step:,}" for step in every.columns]
    hits = pooled[pooled["score"].isin((FIRST_BORN, STRONGEST))]
    hits = hits[hits["predictor"].isin((RANKING, *BASELINES))]
    runs = scored[(scored["predictor"] == RANKING) & (scored["score"] == CORRELATION)]
    arrived = born[born["born"]].sort_values(["run", "step", "head"])
    strength = dict.fromkeys(("level", "final", "low", "high"), "unit of the measure")
    columns = ["run", "head", "step", "order", "level", "final", "low", "high", "count"]
    return [
        Table(
            "Verdict on the ranking at every cutoff (count: runs; value: pooled rank correlation; "
            "strict: ends that hold at all cutoffs at once; strict_chance: that of random orders)",
            verdict,
            {**_SCORE_UNITS, "born_already": "1", "candidates": "1"},
        ),
        Table(
            f"Routes that were born: first checkpoint from which on a route has {threshold:.0%} of "
            f"the largest final strength ({len(arrived)} of {len(born)} candidates; the others "
            "never were; count: events)",
            arrived[columns].head(_MOST),
            {"step": "step", "order": "1", **strength, "count": "1"},
        ),
        Table(
            "Pooled rank correlation of every predictor with the order of births (the ranking is "
            f"the mean rank under {', '.join(RANKED)})",
            every.reset_index(),
            dict.fromkeys(every.columns, "1"),
        ),
        Table(
            "Hits of the route predicted first (count: runs in which one route is first)",
            hits.drop(columns=["run", "strict_low", "strict_high", "strict_chance"])
            .sort_values(["score", "predictor", "step"])
            .head(_MOST),
            _SCORE_UNITS,
        ),
        Table(
            "Rank correlation of the ranking in every run (count: candidates; pooled: runs)",
            runs.drop(columns=["predictor", "score", "strict_low", "strict_high", "chance"]).head(
                _MOST
            ),
            _SCORE_UNITS,
        ),
    ]


def _marks(scored: pd.DataFrame, told: pd.DataFrame, born: pd.DataFrame) -> list[str]:
    marks = []
    runs, heads = born["run"].nunique(), born.groupby("run")["head"].nunique().max()
    if runs < _FEW:
        marks.append(
            f"{runs_of(runs)} of up to {heads} heads: intervals over so few are rough and wide. "
            "Heads of one model are no independent draws either."
        )
    tried, predictors = (told["verdict"] != NOTHING).sum(), scored["predictor"].nunique()
    if tried > 1:
        marks.append(
            f"{tried} cutoffs and {predictors - 1} predictors were looked at. Verdicts take "
            "intervals that hold at all cutoffs at once; the 95% intervals shown do not, and of so "
            "many single predictors some exceed chance by chance. The verdict is about the ranking "
            "alone."
        )
    nothing = told[told["verdict"] == NOTHING]["step"]
    if len(nothing) and born["born"].any():
        marks.append(f"Nothing was left to foretell at {steps_of(nothing)}.")
    return marks


def _elsewhere(others: Mapping[float, pd.DataFrame]) -> list[Table]:
    """Verdicts where a route counts as born at another fraction."""
    parts = [told.assign(threshold=threshold) for threshold, told in others.items()]
    if not parts:
        return []
    every = pd.concat(parts)[["threshold", "step", "verdict", "baselines", "value", "count"]]
    units = {"threshold": "share", "step": "step", "value": "1", "count": "1"}
    return [Table("Verdict where births are drawn at other thresholds", every.head(_MOST), units)]


def _disagreement(told: pd.DataFrame, others: Mapping[float, pd.DataFrame]) -> list[str]:
    """Thresholds that would have given another verdict."""
    marks = []
    for threshold, other in others.items():
        differs = other[(other["verdict"] != told["verdict"]) & (other["verdict"] != NOTHING)]
        for verdict, part in differs.groupby("verdict", sort=False):
            marks.append(
                f"With births at {threshold:.0%} of the largest final strength the verdict at "
                f"{steps_of(part['step'])} would be: {verdict}."
            )
    return marks
