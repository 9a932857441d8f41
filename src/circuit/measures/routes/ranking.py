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
    sizes = {half: _sizes(first[:, part], last[:, part]) for half, part in parts.items()}
    order = np.argsort(-sizes[SELECTION][0], kind="stable")  # NaN, no effect size, is last
    ranked = np.abs(sizes[SELECTION][0][order])
    bottom = int(order[2 + np.nan_to_num(ranked[2:], nan=np.inf).argmin()])
    named = routes[["route"]].assign(step=step, against="")
    sized = named.assign(measure=SIZE, unit=_SIZE_UNIT)
    frames = []
    for half, part in parts.items():
        beyond = _beyond(first[:, part], last[:, part], bottom)
        for against, ends in (("", sizes[half]), (EXCESS, beyond)):
            rows = sized.assign(half=half, against=against, count=len(part))
            rows = rows.assign(**dict(zip(("mean", "low", "high"), ends, strict=True))).iloc[order]
            frames.append(rows[rows["route"] != routes["route"].iloc[bottom]] if against else rows)
    ends = bootstrap_means((last - first)[:, parts[CONFIRMATION]].T)
    rows = named.assign(measure="change", unit=routes["unit"], half=CONFIRMATION)
    rows = rows.assign(count=len(parts[CONFIRMATION]))
    frames.append(rows.assign(**dict(zip(("mean", "low", "high"), ends, strict=True))).iloc[order])
    names = routes["route"].iloc[[*order[:2], bottom]]
    return Ranking(
        estimates(pd.concat(frames, ignore_index=True), noun="events"),
        dict(zip(ROLES, names, strict=True)),
    )


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


def _sizes(
    first: Float[np.ndarray, "S E"], last: Float[np.ndarray, "S E"]
) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
    """Effect sizes [S] with their intervals."""
    pooled = np.sqrt((first.var(1, ddof=1) + last.var(1, ddof=1)) / 2)
    mean, low, high = bootstrap_means((last - first).T)
    still = np.where(mean == 0, 0.0, np.nan)

    def sized(value: Float[np.ndarray, " S"]) -> Float[np.ndarray, " S"]:
        found: Float[np.ndarray, " S"] = np.divide(
            value, pooled, out=still.copy(), where=pooled > 0
        )
        return found

    return sized(mean), sized(low), sized(high)


def _beyond(
    first: Float[np.ndarray, "S E"], last: Float[np.ndarray, "S E"], control: int
) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
    """Effect sizes [S] beyond a control's, paired by event, with their intervals."""
    pooled = np.sqrt((first.var(1, ddof=1) + last.var(1, ddof=1)) / 2)
    changes = last - first
    still = np.where(changes == 0, 0.0, np.nan)
    sized = np.divide(changes, pooled[:, None], out=still, where=pooled[:, None] > 0)
    return bootstrap_means((sized - sized[control]).T)


def _spearman(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], seed: int
) -> tuple[float, float, float]:
    """Rank correlation, with an interval over resampled pairs (those that have one)."""
    drawn = np.random.default_rng(seed).integers(len(x), size=(RESAMPLES, len(x)))
    index = np.vstack([np.arange(len(x)), drawn])
    found = correlations(*(rankdata(values[index], axis=1) for values in (x, y)))
    value, low, high = told(found, interval_of_found)
    return float(value), float(low), float(high)
