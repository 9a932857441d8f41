"""How well the order predicted before birth is that in which routes were born.

1. Per run, cutoff and predictor: *rank correlation* (Spearman) of predicted with actual order over
   the candidates; 1 says that all were foretold. Where no candidate is born after the cutoff there
   is no order and no correlation. The interval resamples candidates.
2. Pooled: the mean over the runs that have a correlation. Its interval resamples runs, and the
   candidates of every run drawn. All predictors share the resamples, and the *advantage* of the
   ranking over a baseline is a difference within each run that has both, so its interval is paired.
3. *Random orders*: the same mean for births in an order drawn at random, and the excess of the
   correlation over it, resample by resample. Their range shows what so few routes, with ties as
   they are, give by chance alone. A bootstrap does not: where one route is born, a predictor that
   puts it first has no resample that says otherwise.
4. *First born* and *strongest at the end*: whether the candidate that is predicted first is among
   the first to be born, or becomes the strongest. k of n runs, with the exact interval of Clopper &
   Pearson (1934), beside the share of hits that drawing a candidate would have. A predictor whose
   first place is shared names nobody, and that run does not count for it.
5. Who looks at k cutoffs for the earliest that tells must not be misled by one of them: rows that
   hold ``at once`` have intervals of level 1 - 5%/k (Bonferroni), beside those of 95% that hold
   ``alone``. It *could be known* from the first cutoff at which they show the ranking beyond random
   orders and ahead of every baseline. A baseline that ties all candidates foretells nothing, and
   the ranking is ahead of it by all of its own correlation. Where there is no order in any run, or
   the ranking is tied in all, nothing is left to foretell, and there are no rows.

Heads of one model are no independent draws, and with few runs an interval over them is rough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import binomtest

from circuit.estimates import EXCESS, estimates, keys_of
from circuit.evidence import Estimate, verdict
from circuit.measures.replication.route_births import BASELINES, RANKED, RANKING, birth_rows
from circuit.statistics import LEVEL, RESAMPLES, TINY, correlations, draws, shuffled

POOLED = "pooled"
RANDOM, DRAWN = "random orders", "drawing a candidate"
CORRELATION, ADVANTAGE = "rank_correlation", "advantage"
FIRST_BORN, STRONGEST = "first_born", "strongest_at_end"
ALONE, AT_ONCE = "alone", "at once"
_KEYS = ("run", "predictor", "over", "holds")
_NUMBERS = {"step": int, "count": int, **dict.fromkeys(("mean", "low", "high"), float)}


class _Run(NamedTuple):
    """Correlations at one cutoff, in r resamples and with r random orders.

    Of P predictors, then the ranking's advantages over ``BASELINES``, for which there is no chance.
    ``counts`` are the candidates, or the runs, behind each value.
    """

    values: Float[np.ndarray, " P"]
    drawn: Float[np.ndarray, "r P"]
    chance: Float[np.ndarray, "r P"]
    counts: Int[np.ndarray, " P"]


def scores(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Scores of every predictor at every cutoff, by run and pooled; see the module.

    Args:
        rows: run, and the columns of :func:`circuit.measures.replication.route_births.predictions`.

    Returns:
        Estimates by run (or ``pooled``), predictor, over (the baseline that the ranking is ahead
        of) and holds (``alone`` or ``at once``, for all cutoffs). Measures are
        ``rank_correlation``, ``advantage``, ``first_born`` and ``strongest_at_end``.
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
    columns = [*_KEYS, "step", "measure", "against", "unit", "mean", "low", "high", "count", "noun"]
    return estimates(pd.DataFrame(found, columns=columns).astype(_NUMBERS))


def judged(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the predictions, those of the ranking and the baselines."""
    return rows[rows["predictor"].isin((RANKING, *BASELINES))]


def known_from(scored: pd.DataFrame) -> int | None:
    """The first cutoff at which it could be known, by the last paragraph of the module; or none."""
    own = (scored["run"] == POOLED) & (scored["predictor"] == RANKING)
    rows = scored[own & (scored["holds"] == AT_ONCE)]
    asked = (rows["measure"] == ADVANTAGE) | (rows["against"] == EXCESS)
    for step, at in rows[asked].groupby("step"):
        tests = (Estimate(*row) for row in at[["mean", "low", "high", "count"]].to_numpy())
        if all(verdict(test) == "shown" for test in tests):
            return int(step)
    return None


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
    """Correlations of all predictors beside random orders, and the ranking's advantages."""
    found: list[dict[str, object]] = []
    tails = {ALONE: (1 - LEVEL) / 2, AT_ONCE: (1 - LEVEL) / 2 / cutoffs}
    noun = "runs" if run == POOLED else "candidates"

    def add(
        predictor: str, value: float, drawn: Float[np.ndarray, " r"], count: int, **keys: str
    ) -> None:
        present = drawn[np.isfinite(drawn)]
        about = {"run": run, "step": step, "predictor": predictor, "over": "", "against": ""}
        about |= {"measure": CORRELATION, "unit": "correlation", "noun": noun, **keys}
        if np.isfinite(value) and len(present):
            for holds, tail in tails.items():
                low, high = np.quantile(present, [tail, 1 - tail])
                ends = {"mean": value, "low": low, "high": high, "count": int(count)}
                found.append({**about, **ends, "holds": holds})

    own = predictors.index(RANKING)
    for i, predictor in enumerate(predictors):
        value, drawn, chance = result.values[i], result.drawn[:, i], result.chance[:, i]
        add(predictor, value, drawn, result.counts[i])
        if np.isfinite(value):
            add(predictor, 0.0, chance, result.counts[i], against=RANDOM)
            beyond = drawn - chance
            beyond = np.where(np.abs(beyond) < TINY, 0.0, beyond)
            add(predictor, value, beyond, result.counts[i], against=EXCESS)
    for i, baseline in enumerate(BASELINES, start=len(predictors)):
        at = i if np.isfinite(result.values[i]) else own
        ahead = {"measure": ADVANTAGE, "over": baseline}
        add(RANKING, result.values[at], result.drawn[:, at], result.counts[at], **ahead)
    return found


def _hits(
    runs: dict[str, pd.DataFrame], step: int, predictors: list[str]
) -> list[dict[str, object]]:
    """Whether whom a predictor puts first is first born, and strongest at the end."""
    found: list[dict[str, object]] = []
    for predictor in predictors:
        for measure in (FIRST_BORN, STRONGEST):
            told = {}
            for run, part in runs.items():
                own = part[part["predictor"] == predictor]
                if measure == STRONGEST:
                    target = own["final"] == own["final"].max()
                else:
                    target = own["arrives"] & (own["actual"] == own["actual"].min())
                first = own["predicted"] == own["predicted"].min()
                # Two candidates at least, one of them named, and one that arrives.
                if len(own) > 1 and first.sum() == 1 and target.any():
                    told[run] = (float(target[first].iloc[0]), float(target.mean()), len(own))
            about = {"step": step, "predictor": predictor, "over": "", "holds": ALONE}
            about |= {"measure": measure, "unit": "share"}
            for run, (hit, chance, count) in told.items():
                found += _beside({**about, "run": run, "noun": "candidates"}, hit, chance, count)
            if told:
                hits, chances, _ = (np.array(column) for column in zip(*told.values(), strict=True))
                exact = binomtest(int(hits.sum()), len(hits)).proportion_ci(LEVEL, "exact")
                ends = {"run": POOLED, "noun": "runs", "low": exact.low, "high": exact.high}
                found += _beside({**about, **ends}, hits.mean(), chances.mean(), len(hits))
    return found


def _beside(
    about: dict[str, object], hit: float, chance: float, count: int
) -> list[dict[str, object]]:
    """A share of hits, and that of a candidate drawn, which is exact."""
    bare = {key: value for key, value in about.items() if key not in ("low", "high", "noun")}
    return [
        {**about, "against": "", "mean": hit, "count": count},
        {**bare, "against": DRAWN, "mean": chance, "count": 0, "noun": ""},
    ]


def study_rows(told: Mapping[float, Any], cutoffs: Sequence[int], seed: int) -> pd.DataFrame:
    """All estimates, by the threshold at which a route counts as born.

    Args:
        told: :class:`circuit.measures.replication.route_births.Foretold` by threshold: of the first
            everything is told, of the others what the ranking and its baselines foretell.
    """
    parts: list[pd.DataFrame] = []
    for threshold, (rows, born) in told.items():
        first = not parts
        scored = scores(rows if first else judged(rows), seed)
        known = pd.DataFrame({"run": [POOLED], "mean": [known_from(scored)], "step": cutoffs[-1]})
        gaps = _undefined(scored, cutoffs)
        found = [scored, gaps, birth_rows(born), *_counts(born, cutoffs), _places(rows)]
        kept = found if first else [scored[scored["run"] == POOLED]]
        kept = [*kept, estimates(known, "step", measure="known_from")]
        one = pd.concat(kept, ignore_index=True)
        parts.append(one.assign(threshold=threshold))
    every = pd.concat(parts, ignore_index=True)
    return estimates(every.fillna(dict.fromkeys(keys_of(every), "")))


def _undefined(scored: pd.DataFrame, cutoffs: Sequence[int]) -> pd.DataFrame:
    """Pooled scores that are not defined, where the ranking or one of its features has none."""
    asked = {CORRELATION: (ALONE, RANDOM), FIRST_BORN: (ALONE, DRAWN), STRONGEST: (ALONE, DRAWN)}
    names = [RANKING, *(name for name in RANKED if name not in BASELINES)]
    there = set(scored[["measure", "step", "predictor"]].itertuples(index=False, name=None))
    rows = [
        (measure, step, name, holds, against)
        for measure, (holds, control) in asked.items()
        for step in cutoffs
        for name in names
        for against in ("", control)
        if (measure, step, name) not in there
    ]
    frame = pd.DataFrame(rows, columns=["measure", "step", "predictor", "holds", "against"])
    units = {CORRELATION: "correlation", FIRST_BORN: "share", STRONGEST: "share"}
    return estimates(frame.assign(mean=float("nan"), run=POOLED), units)


def _counts(born: pd.DataFrame, cutoffs: Sequence[int]) -> list[pd.DataFrame]:
    """How many runs, routes and births there are, and candidates that are left at each cutoff."""
    arrived = int(born["born"].sum())
    left = [len(born) - int((born["step"] <= step).sum()) for step in cutoffs]
    after = [int((born["step"] > step).sum()) for step in cutoffs]
    whole = {"runs": born["run"].nunique(), "routes": len(born), "births": arrived}
    parts = [
        pd.DataFrame({"measure": list(whole), "mean": list(whole.values()), "step": cutoffs[-1]}),
        pd.DataFrame({"measure": "candidates", "mean": left, "step": cutoffs}),
        pd.DataFrame({"measure": "later_births", "mean": after, "step": cutoffs}),
    ]
    return [estimates(part, "1", run=POOLED) for part in parts]


def _places(rows: pd.DataFrame) -> pd.DataFrame:
    """The place that the ranking gives every candidate of a run at each cutoff."""
    own = rows[rows["predictor"] == RANKING]
    places = own[["run", "head", "predictor", "step"]].assign(mean=own["predicted"])
    return estimates(places, "1", measure="predicted_place")
