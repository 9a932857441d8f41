"""How well the order predicted before birth is that in which routes were born.

1. Per run, cutoff and predictor: *rank correlation* (Spearman) of predicted with actual order over
   the candidates; 1 says that all were foretold. Where no candidate is born after the cutoff there
   is no order and no correlation. The interval resamples candidates.
2. Pooled: the mean over the runs that have a correlation. Its interval resamples runs, and the
   candidates of every run drawn. All predictors share the resamples, and the *advantage* of the
   ranking over a baseline is a difference within each run that has both, so its interval is paired.
3. *Chance*: the same mean for births in an order drawn at random. Its 95% range shows what so few
   routes, with ties as they are, give by chance alone. A bootstrap does not: where one route is
   born, a predictor that puts it first has no resample that says otherwise.
4. *First born* and *strongest at the end*: whether the candidate that is predicted first is among
   the first to be born, or becomes the strongest. k of n runs, with the exact interval of Clopper &
   Pearson (1934), beside the share of hits that drawing a candidate would have. A predictor whose
   first place is shared names nobody, and that run does not count for it.
5. *Verdict* at a cutoff: ``could be known`` if the pooled correlation of the ranking lies with its
   interval above 0, itself above the range of chance, and its advantage over every baseline with
   its interval above 0 (over each that has a correlation: one that ties all candidates foretells
   nothing); ``no better than a baseline`` if only the last fails; else ``could not be told from
   chance``. Without an order in any run (or with a ranking that is tied in all):
   ``nothing left to foretell``. Who looks at k cutoffs for the earliest that tells must not be
   misled by one of them, so the verdict takes the *strict* ends of intervals and ranges, those of
   level 1 - 5%/k (Bonferroni).

Heads of one model are no independent draws, and with few runs an interval over them is rough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import binomtest

from circuit.measures.replication.selection import BASELINES, RANKING
from circuit.statistics import LEVEL, RESAMPLES, TINY, correlations, draws, interval, shuffled

_ENDS = ("value", "low", "high", "strict_low", "strict_high", "strict_chance", "chance")
SCORE_UNITS = {"step": "step", **dict.fromkeys((*_ENDS, "count"), "1")}
POOLED = "pooled"
CHANCE = "chance"
CORRELATION, FIRST_BORN, STRONGEST = "rank_correlation", "first_born", "strongest_at_end"
KNOWN = "could be known"
NO_BETTER = "no better than a baseline"
NOT_TOLD = "could not be told from chance"
NOTHING = "nothing left to foretell"


def advantage(baseline: str) -> str:
    """Name of the score: correlation of the ranking less that of a baseline."""
    return f"advantage over {baseline}"


class _Run(NamedTuple):
    """Correlations at one cutoff, in r resamples and with r random orders.

    Of P predictors, then the ranking's advantages over ``BASELINES``, which chance has none of.
    ``counts`` are the candidates, or the runs, behind each value.
    """

    values: Float[np.ndarray, " P"]
    drawn: Float[np.ndarray, "r P"]
    chance: Float[np.ndarray, "r P"]
    counts: Int[np.ndarray, " P"]


def scores(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Scores of every predictor at every cutoff, by run and pooled; see the module.

    Args:
        rows: run, and the columns of :func:`circuit.measures.replication.selection.predictions`.

    Returns:
        run (or ``pooled``), step, predictor (or ``chance``), score, value, low, high, strict_low,
        strict_high, strict_chance (upper end of the predictor's range of chance), chance (what
        drawing would give), count (candidates of a run, or runs).
    """
    found: list[dict[str, object]] = []
    cutoffs = rows["step"].nunique()
    for step, at in rows.groupby("step"):
        predictors = list(dict.fromkeys(at["predictor"]))
        runs = {str(run): part for run, part in at.groupby("run", sort=False)}
        told = {
            run: _correlated(part, predictors, seed + i)
            for i, (run, part) in enumerate(runs.items())
        }
        ordered = {run: result for run, result in told.items() if result is not None}
        if ordered:
            ordered[POOLED] = _pooled(list(ordered.values()), seed)
        for run, result in ordered.items():
            found += _rows(run, int(step), predictors, result, cutoffs)
        found += _hits(runs, int(step), predictors)
    columns = ["run", "step", "predictor", "score", *list(SCORE_UNITS)[1:]]
    numbers = dict.fromkeys(_ENDS, float)
    return pd.DataFrame(found, columns=columns).astype({"step": int, **numbers, "count": int})


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that verdicts need: those of the ranking and the baselines."""
    return rows[rows["predictor"].isin((RANKING, *BASELINES))]


def verdicts(scored: pd.DataFrame, cutoffs: Sequence[int]) -> pd.DataFrame:
    """What the ranking could tell at every cutoff, by the predicate in the module's docstring.

    Returns:
        step, verdict, baselines (those that tell by themselves, with a comma between them), value,
        strict_low, strict_high, strict_chance (of the ranking's pooled correlation), count (runs).
    """
    pooled = scored[scored["run"] == POOLED].set_index(["step", "predictor", "score"])
    ends = ("value", "strict_low", "strict_high", "strict_chance")
    found = []
    for step in cutoffs:
        if (step, RANKING, CORRELATION) not in pooled.index:
            found.append((step, NOTHING, "", *[np.nan] * 4, 0))
            continue
        at = pooled.loc[step]
        rivals = [advantage(b) for b in BASELINES if (RANKING, advantage(b)) in at.index]
        better = all(at.loc[(RANKING, rival), "strict_low"] > 0 for rival in rivals)
        verdict = (KNOWN if better else NO_BETTER) if _tells(at, RANKING) else NOT_TOLD
        alone = ", ".join(baseline for baseline in BASELINES if _tells(at, baseline))
        row = at.loc[(RANKING, CORRELATION)]
        found.append((step, verdict, alone, *(float(row[end]) for end in ends), int(row["count"])))
    columns = ["step", "verdict", "baselines", *ends, "count"]
    return pd.DataFrame(found, columns=columns)


def _tells(at: pd.DataFrame, predictor: str) -> bool:
    """Whether a predictor's pooled correlation is above 0 and above its own range of chance."""
    if (predictor, CORRELATION) not in at.index:
        return False
    row = at.loc[(predictor, CORRELATION)]
    return bool(row["strict_low"] > 0 and row["value"] > row["strict_chance"] + TINY)


def _correlated(part: pd.DataFrame, predictors: list[str], seed: int) -> _Run | None:
    """Correlations of a run's predictors with the actual order, or None where there is no order."""
    table = part.pivot(index="head", columns="predictor", values="predicted")[predictors]
    actual = part.drop_duplicates("head").set_index("head")["actual"].loc[table.index]
    if actual.nunique() < 2:
        return None
    n = len(table)
    counts = draws(n, seed)
    orders = np.vstack([actual.to_numpy(dtype=np.float64), table.to_numpy(dtype=np.float64).T])
    found = _spearman(orders, counts)
    drawn = shuffled(orders[0], RESAMPLES, seed)
    # Orders are ranks already, so Spearman's correlation is Pearson's.
    chance = np.stack(
        [correlations(drawn, np.tile(order, (RESAMPLES, 1))) for order in orders[1:]], 1
    )
    # Of the same run: a baseline may have a correlation in fewer runs than the ranking has.
    own = found[:, predictors.index(RANKING)]
    ahead = np.stack([own - found[:, predictors.index(name)] for name in BASELINES], 1)
    found = np.hstack([found, ahead])
    return _Run(found[0], found[1:], chance, np.full(found.shape[1], n))


def _spearman(
    orders: Float[np.ndarray, "P+1 n"], counts: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, "r P"]:
    """Rank correlation of the first with all other orders, where item i occurs counts_i times.

    An item's rank is the number of occurrences before it and half of those beside it (itself too),
    as if resampled items were listed and tied ranks averaged. NaN where an order does not vary.
    """
    left, right = orders[:, None, :], orders[:, :, None]
    before = (left < right) + 0.5 * (left == right)
    ranks = np.einsum("rj,pij->rpi", counts, before)
    weights = (counts / counts.sum(1, keepdims=True))[:, None, :]
    ranks -= (weights * ranks).sum(-1, keepdims=True)
    products = (weights * ranks[:, :1] * ranks[:, 1:]).sum(-1)
    squares = (weights * ranks * ranks).sum(-1)
    scale = np.sqrt(squares[:, :1] * squares[:, 1:])
    none = np.full_like(scale, np.nan)
    found: Float[np.ndarray, "r P"] = np.divide(products, scale, out=none, where=scale > TINY)
    return found


def _pooled(runs: list[_Run], seed: int) -> _Run:
    """Means over runs; every resample draws runs and, of each drawn run, one of its resamples."""
    generator = np.random.default_rng((seed, len(runs)))  # a stream that no single run has
    shape = (RESAMPLES, len(runs))
    which, place = (generator.integers(top, size=shape) for top in (len(runs), RESAMPLES))
    stacked, values = (
        np.stack(part) for part in zip(*((r.drawn, r.values) for r in runs), strict=True)
    )
    return _Run(
        _mean(values),
        _mean(stacked[which, place].transpose(1, 0, 2)),
        _mean(np.stack([run.chance for run in runs])),
        np.isfinite(values).sum(0),
    )


def _mean(values: Float[np.ndarray, "R ..."]) -> Float[np.ndarray, "..."]:
    """Mean over the runs that have a number; NaN where none has."""
    there = np.isfinite(values)
    number = there.sum(0)
    total = np.where(there, values, 0).sum(0)
    mean: Float[np.ndarray, ...] = np.divide(
        total, number, out=np.full(total.shape, np.nan), where=number > 0
    )
    return mean


def _rows(
    run: str, step: int, predictors: list[str], result: _Run, cutoffs: int
) -> list[dict[str, object]]:
    """Correlations of all predictors, the ranking's by chance, and the ranking's advantages."""
    found: list[dict[str, object]] = []
    tail = (1 - LEVEL) / 2 / cutoffs

    def add(
        predictor: str,
        score: str,
        value: float,
        drawn: Float[np.ndarray, " r"],
        count: int,
        by_chance: Float[np.ndarray, " r"] | None = None,
    ) -> None:
        present = drawn[np.isfinite(drawn)]
        if np.isfinite(value) and len(present):
            strict = np.quantile(present, [tail, 1 - tail])
            chance = np.nan if by_chance is None else np.nanquantile(by_chance, 1 - tail)
            ends = dict(zip(_ENDS, (value, *interval(present), *strict, chance, 0.0), strict=True))
            about = {"run": run, "step": step, "predictor": predictor, "score": score}
            found.append({**about, **ends, "count": int(count)})

    own = predictors.index(RANKING)
    for i, predictor in enumerate(predictors):
        of, chance = (result.values[i], result.drawn[:, i]), result.chance[:, i]
        add(predictor, CORRELATION, *of, result.counts[i], chance)
    add(CHANCE, CORRELATION, 0.0, result.chance[:, own], result.counts[own])
    for i, baseline in enumerate(BASELINES, start=len(predictors)):
        add(RANKING, advantage(baseline), result.values[i], result.drawn[:, i], result.counts[i])
    return found


def _hits(
    runs: dict[str, pd.DataFrame], step: int, predictors: list[str]
) -> list[dict[str, object]]:
    """Whether whom a predictor puts first is first born, and strongest at the end."""
    found: list[dict[str, object]] = []
    for predictor in predictors:
        for score in (FIRST_BORN, STRONGEST):
            told = {}
            for run, part in runs.items():
                own = part[part["predictor"] == predictor]
                if score == STRONGEST:
                    target = own["final"] == own["final"].max()
                else:
                    target = own["arrives"] & (own["actual"] == own["actual"].min())
                first = own["predicted"] == own["predicted"].min()
                # Two candidates at least, one of them named, and one that arrives.
                if len(own) > 1 and first.sum() == 1 and target.any():
                    told[run] = (float(target[first].iloc[0]), float(target.mean()), len(own))
            about = {"step": step, "predictor": predictor, "score": score}
            for run, (hit, chance, count) in told.items():
                ends = {"value": hit, "low": np.nan, "high": np.nan}
                found.append({"run": run, **about, **ends, "chance": chance, "count": count})
            if told:
                hits, chances, _ = (np.array(column) for column in zip(*told.values(), strict=True))
                exact = binomtest(int(hits.sum()), len(hits)).proportion_ci(LEVEL, "exact")
                ends = {"value": hits.mean(), "low": exact.low, "high": exact.high}
                pooled = {"chance": chances.mean(), "count": len(hits)}
                found.append({"run": POOLED, **about, **ends, **pooled})
    return found
