"""Which route grew most, and whether the start of the window told.

1. Routes have different units, so they are ranked by *effect size*: mean change over the window
   divided by the pooled standard deviation over events, sqrt((s²_start + s²_stop) / 2) (Cohen's d).
   It compares growth with how far events differ; between scalars of one kind the change itself,
   which stands beside it, says the same in their unit.
2. On the *selection* half of the events the largest is the winner, the next the runner-up, and of
   the others the one that changed least the bottom control. The *confirmation* half says by how
   much they changed, with the standard deviation held while its events are resampled. A route that
   has one value on all events has no effect size unless it did not change, and ranks last.
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
from circuit.statistics import (
    RESAMPLES,
    bootstrap_means,
    correlations,
    halves,
    interval_of_found,
    told,
)

RANKING_UNITS = {
    "rank": "1",
    **dict.fromkeys(("selection", "confirmation", "low", "high"), "1"),
    **dict.fromkeys(("change", "change_low", "change_high"), "unit of the route"),
    "count": "1",
}
ALL = "all routes"
ROLES = ("winner", "runner_up", "bottom")
_FEWEST = 4  # routes that a correlation over them needs


class Ranking(NamedTuple):
    """``table``: rank, route, family, scalar, head, role, selection, confirmation, low, high,
    change, change_low, change_high, unit, count. ``confirmed``: whether the other half has this
    winner too.
    """

    table: pd.DataFrame
    confirmed: bool

    @property
    def roles(self) -> dict[str, str]:
        """``winner``, ``runner_up`` and ``bottom`` → route."""
        chosen = self.table[self.table["role"] != ""]
        return dict(zip(chosen["role"], chosen["route"], strict=True))


def rank_routes(
    routes: pd.DataFrame,
    first: Float[np.ndarray, "S E"],
    last: Float[np.ndarray, "S E"],
) -> Ranking:
    """Rank routes by effect size; see the module.

    Args:
        routes: route, family, scalar, head, unit.
        first, last: every route on every event at the window's two ends.

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
    choosing, confirming = halves(first.shape[1])
    selection = _sizes(first[:, choosing], last[:, choosing])[0]
    size, low, high = _sizes(first[:, confirming], last[:, confirming])
    change, change_low, change_high = bootstrap_means((last - first)[:, confirming].T)
    table = routes.assign(
        selection=selection, confirmation=size, low=low, high=high,
        change=change, change_low=change_low, change_high=change_high, count=len(confirming),
    )  # fmt: skip
    table = table.sort_values("selection", ascending=False, kind="stable", ignore_index=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    bottom = table["selection"].iloc[2:].abs().fillna(np.inf).idxmin()
    roles = dict(zip((0, 1, bottom), ROLES, strict=True))
    table["role"] = [roles.get(place, "") for place in table.index]
    return Ranking(table, bool(table["confirmation"].idxmax() == 0))


def early_signs(
    rows: pd.DataFrame, ranking: pd.DataFrame, first: Float[np.ndarray, "S E"], seed: int = 0
) -> pd.DataFrame:
    """How the start of the window goes with what routes did in it.

    Columns: among (``all routes`` or a family of them), measure (``alignment`` or ``push``), split,
    objective, correlation, low, high, count (routes). Fewer than four routes with an effect size,
    and routes that are all alike, have none.

    Args:
        rows: of :class:`circuit.measures.routes.competition.RouteFrame`, whose routes have the
            order of ``first``.
        ranking: of :class:`Ranking`.
    """
    start = rows[rows["step"] == rows["step"].min()]
    about = ranking.set_index("route")
    routes = start.loc[start["measure"] == "strength", "route"]
    spread = pd.Series(first.std(axis=1, ddof=1), index=routes.to_numpy())
    among = {ALL: about.index} | {name: part.index for name, part in about.groupby("family")}
    keys = ["measure", "split", "objective"]
    found = []
    for key, part in start[start["split"] != ""].groupby(keys, sort=False):
        sign = part.set_index("route")["mean"]
        if key[0] == "push":
            sign = sign / spread.where(spread > 0)
        both = pd.DataFrame({"sign": sign, "size": about["confirmation"]})
        for name, members in among.items():
            pairs = both.loc[members].dropna()
            if len(pairs) >= _FEWEST and (pairs.nunique() > 1).all():
                one = _spearman(pairs["sign"].to_numpy(), pairs["size"].to_numpy(), seed)
                found.append((name, *key, *one, len(pairs)))
    return pd.DataFrame(found, columns=["among", *keys, "correlation", "low", "high", "count"])


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


def _spearman(
    x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], seed: int
) -> tuple[float, float, float]:
    """Rank correlation, with an interval over resampled pairs (those that have one)."""
    drawn = np.random.default_rng(seed).integers(len(x), size=(RESAMPLES, len(x)))
    index = np.vstack([np.arange(len(x)), drawn])
    found = correlations(*(rankdata(values[index], axis=1) for values in (x, y)))
    value, low, high = told(found, interval_of_found)
    return float(value), float(low), float(high)
