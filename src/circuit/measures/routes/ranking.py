"""Which route grew most, and whether the start of the window told.

1. Routes have different units, so they are ranked by *effect size*: mean change over the window
   divided by the pooled standard deviation over events, sqrt((s²_start + s²_stop) / 2) (Cohen's d).
   It compares growth with how far events differ; between scalars of one kind the change itself,
   which stands beside it, says the same in their unit.
2. On the *selection* half of the events the largest is the winner, the next the runner-up, and of
   the others the one that changed least the bottom control. The *confirmation* half says by how
   much they changed, with the standard deviation held while its events are resampled, and by how
   much more than the bottom control, event by event. A route that has one value on all events has
   no effect size unless it did not change, and ranks last.
3. Whether the start told the ranking: Spearman correlation over routes of alignment, and of push
   per standard deviation at the start, at the first checkpoint with the effect size on the
   confirmation half; over all routes, and over the heads of one scalar. The interval resamples
   routes. Heads of one model are no independent draws, so it describes this model's routes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from circuit.errors import AnalysisError
from circuit.estimates import CONFIRMATION, EXCESS, SELECTION, estimates
from circuit.statistics import (
    RESAMPLES,
    bootstrap_means,
    correlations,
    halves,
    interval_of_found,
    told,
)

EVERY = "all routes"
ROLES = ("winner", "runner_up", "bottom")
SIZE = "effect_size"
_SIZE_UNIT = "standard deviations"
_FEWEST = 4  # routes that a correlation over them needs


class Ranking(NamedTuple):
    """``rows``: estimates by route, in the order of the routes' rank: ``effect_size`` on both
    halves with its excess over the bottom control, and ``change`` on the half that confirms.
    ``roles``: ``winner``, ``runner_up`` and ``bottom`` → route.
    """

    rows: pd.DataFrame
    roles: dict[str, str]


def rank_routes(
    routes: pd.DataFrame,
    first: Float[np.ndarray, "S E"],
    last: Float[np.ndarray, "S E"],
    step: int,
) -> Ranking:
    """Rank routes by effect size; see the module.

    Args:
        routes: route, family, unit.
        first, last: every route on every event at the window's two ends.
        step: the window's last.

    Raises:
        AnalysisError: there are fewer than three routes.
    """
    if len(routes) < 3:
        raise AnalysisError(
            what=f"{len(routes)} routes are too few for a winner, a runner-up and a control",
            where="route competition",
            expected="at least three routes",
            do="add routes, or take one with head: every",
        )
    parts = dict(zip((SELECTION, CONFIRMATION), halves(first.shape[1]), strict=True))
    ends = {half: (first[:, part], last[:, part]) for half, part in parts.items()}
    changes = {
        half: np.stack(bootstrap_means((after - before).T), 1)
        for half, (before, after) in ends.items()
    }
    sizes = {half: _sized(changes[half], *both).T for half, both in ends.items()}
    order = np.argsort(-sizes[SELECTION][0], kind="stable")  # NaN, no effect size, is last
    ranked = np.abs(sizes[SELECTION][0][order])
    bottom = int(order[2 + np.nan_to_num(ranked[2:], nan=np.inf).argmin()])
    names = routes["route"].iloc[[*order[:2], bottom]]
    frames = []

    def add(half: str, numbers: object, against: str = "", measure: str = SIZE) -> None:
        mean, low, high = np.asarray(numbers)
        table = {"mean": mean, "low": low, "high": high, "half": half, "count": len(parts[half])}
        unit = _SIZE_UNIT if measure == SIZE else routes["unit"]
        about = routes[["route"]].assign(measure=measure, against=against, unit=unit)
        rows = about.assign(**table).iloc[order]
        frames.append(rows[rows["route"] != names.iloc[-1]] if against else rows)

    for half, (before, after) in ends.items():
        each = _sized(after - before, before, after)
        add(half, sizes[half])
        add(half, bootstrap_means((each - each[bottom]).T), EXCESS)
    add(CONFIRMATION, changes[CONFIRMATION].T, measure="change")
    rows = estimates(pd.concat(frames, ignore_index=True), noun="events", step=step)
    return Ranking(rows, dict(zip(ROLES, names, strict=True)))


def early_signs(
    rows: pd.DataFrame,
    ranking: Ranking,
    routes: pd.DataFrame,
    first: Float[np.ndarray, "S E"],
    seed: int = 0,
) -> pd.DataFrame:
    """How the start of the window goes with what routes did in it.

    Estimates ``alignment_size_correlation`` and ``push_size_correlation`` at the first step by
    among (``all routes`` or a family of them), split, programs and objective; routes are counted.
    Fewer than four routes with an effect size, and routes that are all alike, have none.

    Args:
        rows: of :class:`circuit.measures.routes.competition.RouteFrame`.
        routes: route and family, in the order of ``first``.
    """
    start = rows[rows["step"] == rows["step"].min()]
    told = ranking.rows[(ranking.rows["measure"] == SIZE) & (ranking.rows["against"] == "")]
    about = told[told["half"] == CONFIRMATION].set_index("route")
    spread = pd.Series(first.std(axis=1, ddof=1), index=routes["route"].to_numpy())
    family = routes.set_index("route")["family"].loc[about.index]
    among = {EVERY: about.index} | {name: part.index for name, part in family.groupby(family)}
    keys = ["measure", "split", "programs", "objective"]
    found = []
    for key, part in start[start["split"] != ""].groupby(keys, sort=False):
        sign = part.set_index("route")["mean"]
        if key[0] == "push":
            sign = sign / spread.where(spread > 0)
        both = pd.DataFrame({"sign": sign, "size": about["mean"]})
        for name, members in among.items():
            pairs = both.loc[members].dropna()
            if len(pairs) >= _FEWEST and (pairs.nunique() > 1).all():
                one = _spearman(pairs["sign"].to_numpy(), pairs["size"].to_numpy(), seed)
                found.append((name, f"{key[0]}_size_correlation", *key[1:], *one, len(pairs)))
    frame = pd.DataFrame(found, columns=["among", *keys, "mean", "low", "high", "count"])
    return estimates(frame, "correlation", "routes", step=int(rows["step"].min()))


def _sized(
    changes: Float[np.ndarray, "S n"],
    first: Float[np.ndarray, "S E"],
    last: Float[np.ndarray, "S E"],
) -> Float[np.ndarray, "S n"]:
    """Changes over the pooled deviation; where that is 0, none but of what did not change."""
    pooled = np.sqrt((first.var(1, ddof=1) + last.var(1, ddof=1)) / 2)[:, None]
    none = np.where(changes == 0, 0.0, np.nan)
    found: Float[np.ndarray, "S n"] = np.divide(changes, pooled, out=none, where=pooled > 0)
    return found


def _spearman(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], seed: int
) -> tuple[float, float, float]:
    """Rank correlation, with an interval over resampled pairs (those that have one)."""
    drawn = np.random.default_rng(seed).integers(len(x), size=(RESAMPLES, len(x)))
    index = np.vstack([np.arange(len(x)), drawn])
    found = correlations(*(rankdata(values[index], axis=1) for values in (x, y)))
    value, low, high = told(found, interval_of_found)
    return float(value), float(low), float(high)
