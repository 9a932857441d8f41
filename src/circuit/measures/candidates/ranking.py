"""Which candidate grew most, and whether the start of the window told.

1. Candidates have different units, so they are ranked by *effect size*: mean change over the window
   divided by the pooled standard deviation over events, sqrt((s²_start + s²_stop) / 2) (Cohen's d).
   It compares growth with how far events differ; between scalars of one kind the change itself,
   which stands beside it, says the same in their unit.
2. On the *selection* half of the events the largest is the winner, the next the runner-up, and of
   the others the one that changed least the bottom control. The *confirmation* half says by how
   much they changed, with the standard deviation held while its events are resampled, and by how
   much more than the bottom control, event by event. A candidate that has one value on all events
   has no effect size unless it did not change, and ranks last.
3. Whether the start told the ranking: Spearman correlation over candidates of alignment, and of
   push per standard deviation at the start, at the first checkpoint with the effect size on the
   confirmation half; over all candidates, and over the heads of one scalar. The interval resamples
   candidates. Heads of one model are no independent draws, so it describes this model's candidates.
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

EVERY = "all candidates"
ROLES = ("winner", "runner_up", "bottom")
SIZE = "effect_size"
SIZE_UNIT = "standard deviations"
_FEWEST = 4  # candidates that a correlation over them needs


class Ranking(NamedTuple):
    """``rows``: estimates by candidate, in the order of their rank: ``effect_size`` on both halves
    with its excess over the bottom control, and ``change`` on the half that confirms.
    ``roles``: ``winner``, ``runner_up`` and ``bottom`` → candidate.
    """

    rows: pd.DataFrame
    roles: dict[str, str]


def rank_candidates(
    candidates: pd.DataFrame,
    first: Float[np.ndarray, "S E"],
    last: Float[np.ndarray, "S E"],
    step: int,
) -> Ranking:
    """Rank candidates by effect size; see the module.

    Args:
        candidates: candidate, group, unit.
        first, last: every candidate on every event at the window's two ends.
        step: the window's last.

    Raises:
        AnalysisError: there are fewer than three candidates.
    """
    if len(candidates) < 3:
        raise AnalysisError(
            what=f"{len(candidates)} candidates give no winner, runner-up and control",
            where="candidates",
            expected="at least three candidates",
            do="add candidates, or take one with head: every",
        )
    parts = dict(zip((SELECTION, CONFIRMATION), halves(first.shape[1]), strict=True))
    ends = {half: (first[:, part], last[:, part]) for half, part in parts.items()}
    changes = {
        half: np.stack(bootstrap_means((after - before).T), 1)
        for half, (before, after) in ends.items()
    }
    sizes = {half: sized(changes[half], *both).T for half, both in ends.items()}
    order = np.argsort(-sizes[SELECTION][0], kind="stable")  # NaN, no effect size, is last
    ranked = np.abs(sizes[SELECTION][0][order])
    bottom = int(order[2 + np.nan_to_num(ranked[2:], nan=np.inf).argmin()])
    names = candidates["candidate"].iloc[[*order[:2], bottom]]
    frames = []

    def add(half: str, numbers: object, against: str = "", measure: str = SIZE) -> None:
        mean, low, high = np.asarray(numbers)
        table = {"mean": mean, "low": low, "high": high, "half": half, "count": len(parts[half])}
        unit = SIZE_UNIT if measure == SIZE else candidates["unit"]
        about = candidates[["candidate"]].assign(measure=measure, against=against, unit=unit)
        rows = about.assign(**table).iloc[order]
        frames.append(rows[rows["candidate"] != names.iloc[-1]] if against else rows)

    for half, (before, after) in ends.items():
        each = sized(after - before, before, after)
        add(half, sizes[half])
        add(half, bootstrap_means((each - each[bottom]).T), EXCESS)
    add(CONFIRMATION, changes[CONFIRMATION].T, measure="change")
    rows = estimates(pd.concat(frames, ignore_index=True), noun="events", step=step)
    return Ranking(rows, dict(zip(ROLES, names, strict=True)))


def early_signs(
    rows: pd.DataFrame,
    ranking: Ranking,
    candidates: pd.DataFrame,
    first: Float[np.ndarray, "S E"],
    seed: int = 0,
) -> pd.DataFrame:
    """How the start of the window goes with what candidates did in it.

    Estimates ``alignment_size_correlation`` and ``push_size_correlation`` at the first step by
    among (``all candidates`` or a group of them), split, programs and objective; counted are
    candidates.
    Fewer than four candidates with an effect size, and candidates that are all alike, have none.

    Args:
        rows: of :class:`circuit.measures.candidates.follow.Followed`.
        candidates: candidate and group, in the order of ``first``.
    """
    start = rows[rows["step"] == rows["step"].min()]
    told = ranking.rows[(ranking.rows["measure"] == SIZE) & (ranking.rows["against"] == "")]
    about = told[told["half"] == CONFIRMATION].set_index("candidate")
    spread = pd.Series(first.std(axis=1, ddof=1), index=candidates["candidate"].to_numpy())
    group = candidates.set_index("candidate")["group"].loc[about.index]
    among = {EVERY: about.index} | {name: part.index for name, part in group.groupby(group)}
    keys = ["measure", "split", "programs", "objective"]
    found = []
    for key, part in start[start["split"] != ""].groupby(keys, sort=False):
        sign = part.set_index("candidate")["mean"]
        if key[0] == "push":
            sign = sign / spread.where(spread > 0)
        both = pd.DataFrame({"sign": sign, "size": about["mean"]})
        for name, members in among.items():
            pairs = both.loc[members].dropna()
            if len(pairs) >= _FEWEST and (pairs.nunique() > 1).all():
                one = _spearman(pairs["sign"].to_numpy(), pairs["size"].to_numpy(), seed)
                found.append((name, f"{key[0]}_size_correlation", *key[1:], *one, len(pairs)))
    frame = pd.DataFrame(found, columns=["among", *keys, "mean", "low", "high", "count"])
    return estimates(frame, "correlation", "candidates", step=int(rows["step"].min()))


def sized(
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
