"""Which route was born when, and in which order features from before its birth rank it.

1. *Birth*. A route's strength at every checkpoint comes from the scan of its run. It is born at the
   first checkpoint from which on it has at least a given fraction of the largest strength that any
   head has at the end (the *level*), with an interval above 0. A route that is never born is
   censored: it comes after all born ones, tied with the other censored ones. Checkpoints are
   coarse, so routes may also be born together.
2. *Candidates* at a cutoff are the routes that are not born yet; the others are left out.
3. *Predictors*. Every feature predicts by itself: the larger, the earlier. The *ranking* is the
   mean of a candidate's ranks under the features of ``RANKED``, one for each thing that could tell:
   strength, alignment with training's descent, what the optimizer remembers, the update that the
   head has to itself, growth that it shares with no other. List and signs are fixed here and
   fitted to nothing.
4. *Actual order*: ranks of the candidates by their birth, and the one that is strongest at the end.

Everything but the births comes from before the cutoff.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from circuit.errors import AnalysisError
from circuit.estimates import estimates
from circuit.landmarks import stays_from, step_at

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
    return pd.DataFrame(
        {
            "head": mean.columns.to_numpy(),
            "born": np.isfinite(step),
            "step": step,
            "order": pd.Series(step).rank(na_option="bottom"),
            "level": level,
            "final": found["mean"].to_numpy(),
            "low": found["low"].to_numpy(),
            "high": found["high"].to_numpy(),
            "count": found["count"].to_numpy(),
            "unit": found["unit"].to_numpy(),
            "last": found["step"].to_numpy(),
        }
    )


def birth_rows(born: pd.DataFrame) -> pd.DataFrame:
    """Estimates by run and head: ``birth`` (a step; missing where a route is not born),
    ``birth_order``, ``final_strength``, and by run the ``birth_level``, the strength to be reached.

    Args:
        born: run, and the columns of :func:`births`.
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
        features: ``rows`` of :class:`circuit.measures.routes.early.Features`, no controls.
        born: of :func:`births`.

    Returns:
        step (the cutoff), head, predictor, value, predicted (rank by the predictor, 1 is first),
        actual (rank by birth), arrives (whether it is born at all), final. A cutoff at which every
        route is born has no rows. Values of the ranking are mean ranks: the least is first.

    Raises:
        AnalysisError: a head has features and no birth, or a feature of the ranking is missing.
    """
    named = features.assign(predictor=_predictor(features))
    named = named[named["part"] != _LEFT_OUT]
    _require(set(named["predictor"]), set(named["head"]), born)
    about = born.set_index("head")
    found = []
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
        order = [RANKING, LAYER, *dict.fromkeys(part["predictor"])]
        for predictor in order:
            table = {
                "step": step,
                "head": values.index,
                "predictor": predictor,
                "value": values[predictor].to_numpy(),
                "predicted": ranks[predictor].to_numpy(),
                "actual": candidates["step"].rank(na_option="bottom").to_numpy(),
                "arrives": candidates["born"].to_numpy(),
                "final": candidates["final"].to_numpy(),
            }
            found.append(pd.DataFrame(table))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=_COLUMNS)


class Foretold(NamedTuple):
    """Of all runs, each row with its run: ``rows`` of :func:`predictions`, ``born`` of
    :func:`births`.
    """

    rows: pd.DataFrame
    born: pd.DataFrame


def foretold(
    features: Sequence[pd.DataFrame],
    scans: Sequence[pd.DataFrame],
    runs: Sequence[str],
    measure: str,
    fraction: float,
) -> Foretold:
    """What every predictor foretells of the births of all runs, and those births.

    Args:
        features, scans: of every run, in the order of ``runs``.
        measure, fraction: as for :func:`births`.

    Raises:
        AnalysisError: as for :func:`births` and :func:`predictions`.
    """
    born = [births(scan, measure, fraction) for scan in scans]
    told = [predictions(*both) for both in zip(features, born, strict=True)]
    return Foretold(_of_runs(told, runs), _of_runs(born, runs))


def _of_runs(tables: Sequence[pd.DataFrame], runs: Sequence[str]) -> pd.DataFrame:
    named = [table.assign(run=run) for table, run in zip(tables, runs, strict=True)]
    return pd.concat(named, ignore_index=True)


def _predictor(features: pd.DataFrame) -> pd.Series:
    """``alignment (tokens)`` where a measure has parts, ``strength`` where it has none."""
    parts = (" (" + features["part"] + ")").where(features["part"] != "", "")
    return features["measure"] + parts


def _require(predictors: set[str], heads: set[str], born: pd.DataFrame) -> None:
    missing = sorted({*RANKED, *BASELINES} - predictors - {LAYER})
    unknown = sorted(heads - set(born["head"]))
    if missing or unknown:
        what = f"no feature {missing[0]!r}" if missing else f"no birth of head {unknown[0]!r}"
        raise AnalysisError(
            what=f"there is {what}",
            where="ranking of routes",
            expected="every feature of the ranking, and every head in the scan",
            do="let `features` and `scan` name analyses of the same runs",
        )
