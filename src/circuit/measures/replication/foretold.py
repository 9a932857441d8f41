"""Which route was born when, and how well features from before its birth foretell the order.

1. *Birth*. A route's strength at every checkpoint comes from the scan of its run. It is born at the
   first checkpoint from which on it has at least a given fraction of the largest strength that any
   head has at the end (the *level*), with an interval above 0. A route that is never born is
   censored: it comes after all born ones, tied with the other censored ones. Checkpoints are
   coarse, so routes may also be born together.
2. *Candidates* at a cutoff are the routes that are not born yet; the others are left out. Their
   *actual order* is that of their births; everything else comes from before the cutoff.
3. *Predictors*. Every feature predicts by itself: the larger, the earlier. The *ranking* is the
   mean of a candidate's ranks under the features of ``RANKED``, one for each thing that could tell:
   strength, alignment with training's descent, what the optimizer remembers, the update that the
   head has to itself, growth that it shares with no other. List and signs are fixed here and
   fitted to nothing.
4. Per run, cutoff and predictor: *rank correlation* (Spearman) of predicted with actual order over
   the candidates; 1 says that all were foretold. Where no candidate is born after the cutoff there
   is no order and no correlation. The interval resamples candidates.
5. Pooled: the mean over the runs that have a correlation. Its interval resamples runs, and the
   candidates of every run drawn. All predictors share the resamples, and the *advantage* of the
   ranking over a baseline is a difference within each run that has both, so its interval is paired.
6. *Random orders*: the same mean for births in an order drawn at random, and the excess of the
   correlation over it, resample by resample. Their range shows what so few routes, with ties as
   they are, give by chance alone. A bootstrap does not: where one route is born, a predictor that
   puts it first has no resample that says otherwise.
7. *First born* and *strongest at the end*: whether the candidate that is predicted first is among
   the first to be born, or becomes the strongest. k of n runs, with the exact interval of Clopper &
   Pearson (1934), beside the share of hits that drawing a candidate would have. A predictor whose
   first place is shared names nobody, and that run does not count for it.
8. Who looks at k cutoffs for the earliest that tells must not be misled by one of them: rows that
   hold ``at once`` have intervals of level 1 - 5%/k (Bonferroni), beside those of 95% that hold
   ``alone``. It *could be known* from the first cutoff at which they show the ranking beyond random
   orders and ahead of every baseline. A baseline that ties all candidates foretells nothing, and
   the ranking is ahead of it by all of its own correlation. Where there is no order in any run, or
   the ranking is tied in all, nothing is left to foretell, and there are no rows.

Heads of one model are no independent draws, and with few runs an interval over them is rough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import binomtest

from circuit.errors import AnalysisError
from circuit.estimates import EXCESS, estimates, keys_of
from circuit.evidence import Estimate, verdict
from circuit.landmarks import stays_from, step_at
from circuit.statistics import (
    FEWEST_ITEMS,
    LEVEL,
    RESAMPLES,
    TINY,
    correlations,
    drawn_out,
    occurrences,
    shuffled,
)

RANKED = (
    "strength",
    "alignment (tokens)",
    "component_share (momentum)",
    "own_update_norm",
    "unique_growth",
)
"""Features whose ranks the ranking takes the mean of; of each, larger predicts earlier."""
RANKING = "ranking"
LAYER = "layer"
BASELINES = ("strength", "gradient_norm", LAYER)
"""What a better predictor has to beat: the route that is strongest already, the one that is
steepest, and the number of the head's layer, which knows nothing of the run."""
ROW_UNITS = {
    "step": "step",
    "value": "unit of the predictor",
    **dict.fromkeys(("predicted", "actual"), "1"),
    "final": "unit of the measure",
}
_COLUMNS = ["step", "head", "predictor", "value", "predicted", "actual", "arrives", "final"]
_LEFT_OUT = "rounding"  # float32's own part of an update foretells nothing
POOLED = "pooled"
RANDOM, DRAWN = "random orders", "drawing a candidate"
CORRELATION, ADVANTAGE = "rank_correlation", "advantage"
FIRST_BORN, STRONGEST = "first_born", "strongest_at_end"
ALONE, AT_ONCE = "alone", "at once"
_KEYS = ("run", "predictor", "over", "holds")
_NUMBERS = {"step": int, "count": int, **dict.fromkeys(("mean", "low", "high"), float)}
Rows = list[dict[str, object]]


def births(scan: pd.DataFrame, measure: str, fraction: float) -> pd.DataFrame:
    """Which routes of a run were born, when, and in which order.

    Args:
        scan: ``rows`` of :class:`circuit.measures.heads.scan.Scan`.
        fraction: of the largest strength at the end.

    Returns:
        head, born, step (NaN where not born), order (1 is first; the censored share the last
        ranks), level, final, low, high, count, unit, last: the strength at the last checkpoint,
        that checkpoint, and the interval over events.

    Raises:
        AnalysisError: the scan has no such measure.
    """
    rows = scan[(scan["half"] == "all") & (scan["measure"] == measure)]
    if rows.empty:
        raise AnalysisError(
            what=f"the scan has no measure {measure!r}",
            where="births of routes",
            expected=f"one of {', '.join(dict.fromkeys(scan['measure']))}",
            do="name another measure",
        )
    mean, low = (rows.pivot(index="step", columns="head", values=v) for v in ("mean", "low"))
    level = fraction * float(mean.iloc[-1].max())
    # Without a route that is above 0 at the end there is no level to reach.
    strong = (mean >= level) & (low > 0) & (level > 0)
    found = rows[rows["step"] == rows["step"].max()].set_index("head").loc[mean.columns]
    step = step_at(mean.index.to_numpy(), stays_from(strong.to_numpy().T))
    found = found[["mean", "low", "high", "count", "unit", "step"]].reset_index()
    found = found.rename(columns={"mean": "final", "step": "last"})
    order = pd.Series(step).rank(na_option="bottom")
    return found.assign(born=np.isfinite(step), step=step, order=order, level=level)


def birth_rows(born: pd.DataFrame) -> pd.DataFrame:
    """Estimates of the :func:`births` of some runs, by run and head.

    ``birth`` (a step; missing where a route is not born), ``birth_order``, ``final_strength``, and
    by run the ``birth_level``, the strength to be reached.
    """
    at = born[["run", "head"]].assign(step=born["last"])
    level = at.assign(measure="birth_level", mean=born["level"], unit=born["unit"], head="")
    strength = born[["low", "high", "count", "unit"]].assign(mean=born["final"], noun="events")
    parts = [
        at.assign(measure="birth", mean=born["step"], unit="step"),
        at.assign(measure="birth_order", mean=born["order"], unit="1"),
        at.assign(measure="final_strength").join(strength),
        level.drop_duplicates(),
    ]
    return pd.concat([estimates(part) for part in parts], ignore_index=True)


def predictions(features: pd.DataFrame, born: pd.DataFrame) -> pd.DataFrame:
    """The candidates of a run in the order that every predictor gives them, at every cutoff.

    Args:
        features: of :func:`circuit.measures.candidates.early.run_features`, no controls.
        born: of :func:`births`.

    Returns:
        step (the cutoff), head, predictor, value, predicted (rank by the predictor, 1 is first),
        actual (rank by birth), arrives (whether it is born at all), final. A cutoff at which every
        route is born has no rows. Values of the ranking are mean ranks: the least is first.

    Raises:
        AnalysisError: a head has features and no birth, or a feature of the ranking is missing.
    """
    parts = (" (" + features["part"] + ")").where(features["part"] != "", "")
    named = features.assign(predictor=features["measure"] + parts)
    named = named[named["part"] != _LEFT_OUT]
    missing = sorted({*RANKED, *BASELINES} - set(named["predictor"]) - {LAYER})
    unknown = sorted(set(named["head"]) - set(born["head"]))
    if missing or unknown:
        what = f"no feature {missing[0]!r}" if missing else f"no birth of head {unknown[0]!r}"
        raise AnalysisError(
            what=f"there is {what}",
            where="ranking of routes",
            expected="every feature of the ranking, and every head in the scan",
            do="let `features` and `scan` name analyses of the same runs",
        )
    about = born.set_index("head")
    found = [pd.DataFrame(columns=_COLUMNS)]
    for step, part in named.groupby("step"):
        values = part.pivot(index="head", columns="predictor", values="mean")
        values = values[~(about["step"].loc[values.index] <= step)]
        if values.empty:
            continue
        values[LAYER] = values.index.str.extract(r"^L(\d+)H", expand=False).astype(float)
        ranks = values.rank(ascending=False)
        values[RANKING] = ranks[list(RANKED)].mean(axis=1)
        ranks[RANKING] = values[RANKING].rank()
        candidates = about.loc[values.index]
        actual = candidates["step"].rank(na_option="bottom")
        candidates = candidates.assign(step=step, actual=actual, arrives=candidates["born"])
        for name in (RANKING, LAYER, *dict.fromkeys(part["predictor"])):
            told = {"predictor": name, "value": values[name], "predicted": ranks[name]}
            found.append(candidates.assign(**told).reset_index()[_COLUMNS])
    return pd.concat(found[1:] or found, ignore_index=True)


def foretold(
    features: Sequence[pd.DataFrame],
    scans: Sequence[pd.DataFrame],
    runs: Sequence[str],
    measure: str,
    fraction: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The :func:`predictions` and the :func:`births` of all runs, each row with its run."""
    born = [births(scan, measure, fraction) for scan in scans]
    told = [predictions(*both) for both in zip(features, born, strict=True)]
    rows, every = (
        pd.concat([part.assign(run=run) for part, run in zip(parts, runs, strict=True)])
        for parts in (told, born)
    )
    return rows.reset_index(drop=True), every.reset_index(drop=True)


class _Run(NamedTuple):
    """Correlations at one cutoff, the value before those of r resamples, and with r random orders.

    Of P predictors, then the ranking's advantages over ``BASELINES``, for which there is no chance.
    ``counts`` are the candidates, or the runs, behind each value.
    """

    drawn: Float[np.ndarray, "r+1 P"]
    chance: Float[np.ndarray, "r P"]
    counts: Int[np.ndarray, " P"]


def scores(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Scores of every predictor at every cutoff, from the :func:`predictions` of some runs.

    Estimates by run (or ``pooled``), predictor, over (the baseline that the ranking is ahead of)
    and holds (``alone`` or ``at once``, for all cutoffs). Measures are ``rank_correlation``,
    ``advantage``, ``first_born`` and ``strongest_at_end``.
    """
    found: Rows = []
    cutoffs = rows["step"].nunique()
    for step, at in rows.groupby("step"):
        predictors = list(dict.fromkeys(at["predictor"]))
        runs = {str(run): part for run, part in at.groupby("run", sort=False)}
        ordered = {}
        for i, (run, part) in enumerate(runs.items()):
            if (result := _correlated(part, predictors, seed + i)) is not None:
                ordered[run] = result
        if ordered:
            ordered[POOLED] = _pooled(list(ordered.values()), seed)
        for run, correlated in ordered.items():
            found += _rows(run, int(step), predictors, correlated, cutoffs)
        found += _hits(runs, int(step), predictors)
    columns = [*_KEYS, "step", "measure", "against", "unit", "mean", "low", "high", "count", "noun"]
    return estimates(pd.DataFrame(found, columns=columns).astype(_NUMBERS))


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
    if actual.nunique() < 2 or len(table) < FEWEST_ITEMS:
        return None
    n = len(table)
    counts = np.vstack([np.ones(n), occurrences(n, seed)])
    orders = np.vstack([actual.to_numpy(dtype=np.float64), table.to_numpy(dtype=np.float64).T])
    found = _spearman(orders, counts)
    drawn = shuffled(orders[0], RESAMPLES, seed)
    # Orders are ranks already, so Spearman's correlation is Pearson's.
    chance = np.stack(
        [correlations(drawn, np.tile(order, (RESAMPLES, 1))) for order in orders[1:]], 1
    )
    # Of the same run: a baseline may have a correlation in fewer runs than the ranking has.
    own, *others = (found[:, [predictors.index(name)]] for name in (RANKING, *BASELINES))
    found = np.hstack([found, *(own - other for other in others)])
    return _Run(found, chance, np.full(found.shape[1], n))


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
    drawn, chance = (np.stack(part) for part in zip(*(run[:2] for run in runs), strict=True))
    again = drawn[which, 1 + place].transpose(1, 0, 2)
    every = np.concatenate([drawn[:, :1], again], 1)
    # Over the runs that have a number; NaN where none has.
    found, chance = (np.ma.masked_invalid(x).mean(0).filled(np.nan) for x in (every, chance))
    # Few runs are as uncertain as few units are; of fewer than three there is no interval.
    found[1:] = drawn_out(found[1:], found[0], len(runs))
    return _Run(found, chance, np.isfinite(drawn[:, 0]).sum(0))


def _rows(run: str, step: int, predictors: list[str], result: _Run, cutoffs: int) -> Rows:
    """Correlations of all predictors beside random orders, and the ranking's advantages."""
    found: Rows = []
    tails = {ALONE: (1 - LEVEL) / 2, AT_ONCE: (1 - LEVEL) / 2 / cutoffs}
    noun = "runs" if run == POOLED else "candidates"

    def add(value: float, drawn: Float[np.ndarray, " r"], count: int, **keys: str) -> None:
        present = drawn[np.isfinite(drawn)]
        about = {"run": run, "step": step, "over": "", "against": "", "noun": noun}
        about |= {"measure": CORRELATION, "unit": "correlation", **keys}
        if np.isfinite(value):
            for holds, tail in tails.items():
                known = len(present) > 0
                low, high = np.quantile(present, [tail, 1 - tail]) if known else (np.nan, np.nan)
                ends = {"mean": value, "low": low, "high": high, "count": int(count)}
                found.append({**about, **ends, "holds": holds})

    for i, predictor in enumerate(predictors):
        value, drawn, chance = result.drawn[0, i], result.drawn[1:, i], result.chance[:, i]
        add(value, drawn, result.counts[i], predictor=predictor)
        if np.isfinite(value):
            add(0.0, chance, result.counts[i], predictor=predictor, against=RANDOM)
            beyond = drawn - chance
            beyond = np.where(np.abs(beyond) < TINY, 0.0, beyond)
            add(value, beyond, result.counts[i], predictor=predictor, against=EXCESS)
    for i, over in enumerate(BASELINES, start=len(predictors)):
        at = i if np.isfinite(result.drawn[0, i]) else predictors.index(RANKING)
        ahead = {"measure": ADVANTAGE, "predictor": RANKING, "over": over}
        add(result.drawn[0, at], result.drawn[1:, at], result.counts[at], **ahead)
    return found


def _hits(runs: dict[str, pd.DataFrame], step: int, predictors: list[str]) -> Rows:
    """Whether whom a predictor puts first is first born, and strongest at the end."""
    found: Rows = []
    for predictor, measure in product(predictors, (FIRST_BORN, STRONGEST)):
        told = []
        for run, part in runs.items():
            own = part[part["predictor"] == predictor]
            if measure == STRONGEST:
                target = own["final"] == own["final"].max()
            else:
                target = own["arrives"] & (own["actual"] == own["actual"].min())
            first = own["predicted"] == own["predicted"].min()
            # Two candidates at least, one of them named, and one that arrives.
            if len(own) > 1 and first.sum() == 1 and target.any():
                hit = {"run": run, "mean": float(target[first].iloc[0]), "noun": "candidates"}
                told.append(({**hit, "count": len(own)}, float(target.mean())))
        if told:
            hits, chances = np.array([(hit["mean"], chance) for hit, chance in told]).T
            exact = binomtest(int(hits.sum()), len(hits)).proportion_ci(LEVEL, "exact")
            ends = {"low": exact.low, "high": exact.high, "count": len(hits), "noun": "runs"}
            told.append(({"run": POOLED, "mean": hits.mean(), **ends}, chances.mean()))
        about = {"step": step, "predictor": predictor, "over": "", "holds": ALONE}
        about |= {"measure": measure, "unit": "share"}
        for hit, chance in told:
            drawn = {"run": hit["run"], "against": DRAWN, "mean": chance, "count": 0, "noun": ""}
            found += [{**about, "against": "", **hit}, {**about, **drawn}]
    return found


def study_rows(
    told: Mapping[float, tuple[pd.DataFrame, pd.DataFrame]], cutoffs: Sequence[int], seed: int
) -> pd.DataFrame:
    """All estimates, by the threshold at which a route counts as born.

    Of the first, everything is told that :func:`foretold` gives; of the others, what the ranking
    and its baselines foretell.
    """
    parts: list[pd.DataFrame] = []
    for threshold, (rows, born) in told.items():
        first = not parts
        judged = rows[rows["predictor"].isin((RANKING, *BASELINES))]
        scored = scores(rows if first else judged, seed)
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
