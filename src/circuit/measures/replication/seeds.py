"""The route's growth and its component shares over runs that differ in their seed.

1. Per run and head chosen (winner, runner-up, bottom): growth of the scan's criterion over its
   window, on the confirmation half of the events (the selection half chose the head), and its
   excess over the bottom control, event by event.
2. Per run: share of the winner's growth over the attribution's window (another window, as a rule)
   that each update component, each term of a scalar that binds anew, and the closure residual
   carry. Shares of one run sum to 1; a part that works against the growth is negative.
3. Per run: birth step of the behaviour.
4. Over runs (run ``mean``): mean and bootstrap interval over seeds. With three seeds that interval
   is rough, and the count stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd
from scipy.stats import binomtest

from circuit.estimates import CONFIRMATION, EXCESS, Whole, estimates, keys_of
from circuit.evidence import Estimate, verdict
from circuit.statistics import LEVEL, bootstrap_mean

MEAN = "mean"
"""In place of a run: the mean over all that have the number."""


@dataclass(frozen=True)
class SeedResult:
    """What one run contributes.

    ``scan`` are the estimates of its head scan, ``growth`` the winner's over the attribution's
    window with all that sums to it, ``birth_step`` that of the behaviour or None.
    """

    run: str
    seed: int
    scan: pd.DataFrame
    growth: Whole
    birth_step: int | None


def compare_seeds(results: Sequence[SeedResult], seed: int) -> pd.DataFrame:
    """Estimates by run, seed, chosen, head and component.

    ``growth`` (with intervals over events), ``share`` and ``birth`` of every run, and their means
    over runs; of all runs, the ``share_of_runs`` whose winner is shown to grow beyond the bottom
    control, with its exact interval; of each, the winner's ``lead`` over the runner-up.
    """
    every = pd.concat([_rows(result) for result in results], ignore_index=True)
    every = estimates(every.fillna(dict.fromkeys(("seed", "chosen", "head", "component"), "")))
    keys = ["measure", "chosen", "component", "against", "half", "unit"]
    step = int(every["step"].max())
    means = []
    for values, part in every.groupby(keys, sort=False):
        told = part["mean"].dropna().to_numpy()
        found = asdict(bootstrap_mean(told, seed)) if len(told) else {"mean": float("nan")}
        means.append({**dict(zip(keys, values, strict=True)), **found})
    over = estimates(pd.DataFrame(means), noun="seeds", run=MEAN, step=step)
    rows = pd.concat([every, over, _shown(every, step)], ignore_index=True)
    return estimates(rows.fillna(dict.fromkeys(keys_of(rows), "")))


def _rows(result: SeedResult) -> pd.DataFrame:
    """One run's numbers."""
    scan = result.scan
    grown = scan[(scan["measure"] == "growth") & (scan["half"] == CONFIRMATION)]
    grown = grown[grown["chosen"] != ""].drop(
        columns=[k for k in keys_of(scan) if k not in ("head", "chosen")]
    )
    role = grown[grown["against"] == ""].set_index("chosen")
    lead = role["mean"]["winner"] - role["mean"]["runner_up"]
    about = {"half": CONFIRMATION, "unit": role["unit"]["winner"]}
    step = int(grown["step"].max())
    winner = {"chosen": "winner", "head": role["head"]["winner"], "step": step}
    shares = result.growth.shares.rename_axis("component").reset_index(name="mean")
    parts = [
        estimates(grown),
        estimates(shares, "share", measure="share", **winner),
        estimates(pd.DataFrame([{"mean": lead, **winner, **about}]), measure="lead"),
        estimates(pd.DataFrame({"mean": [result.birth_step]}), "step", measure="birth", step=step),
    ]
    return pd.concat(parts, ignore_index=True).assign(run=result.run, seed=str(result.seed))


def _shown(rows: pd.DataFrame, step: int) -> pd.DataFrame:
    """In how many runs the winner grows beyond the control, and how many runs there are."""
    beyond = rows[(rows["measure"] == "growth") & (rows["against"] == EXCESS)]
    ends = beyond.loc[beyond["chosen"] == "winner", ["mean", "low", "high", "count"]].to_numpy()
    hits, runs = sum(verdict(Estimate(*row)) == "shown" for row in ends), rows["run"].nunique()
    exact = binomtest(hits, runs).proportion_ci(LEVEL, "exact")
    share = {"measure": "share_of_runs", "mean": hits / runs, "unit": "share", "count": runs}
    found = [
        {**share, "low": exact.low, "high": exact.high, "noun": "seeds"},
        {"measure": "runs", "mean": runs, "unit": "1", "count": 0, "noun": ""},
    ]
    return estimates(pd.DataFrame(found), run=MEAN, step=step)
