"""The route's growth and its component shares over runs that differ in their seed.

1. Per run and role (winner, runner-up, bottom): growth of the selection criterion over the scan's
   window, on the confirmation half of the events (the selection half chose the head).
2. Per run: share of the winner's growth over the attribution's window (another window, as a rule)
   that each update component and the closure residual carry. Shares of one run sum to 1; a
   component that works against the growth is negative.
3. Per run: birth step of the behaviour.
4. Over runs: mean and bootstrap interval over seeds. With three seeds that interval is rough, and
   the count stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from circuit.statistics import bootstrap_mean

UNITS = {
    "seed": "id",
    "value": "column unit",
    "low": "column unit",
    "high": "column unit",
    "count": "1",
}
ROLES = ("winner", "runner_up", "bottom")


@dataclass(frozen=True)
class SeedResult:
    """What one run contributes.

    ``selection`` is its scan's choice, ``components`` the winner's attribution summed over the
    window by component (``residual`` included), ``birth_step`` that of the behaviour or None.
    """

    run: str
    seed: int
    selection: dict[str, Any]
    components: dict[str, float]
    birth_step: int | None


def compare_seeds(results: list[SeedResult], seed: int) -> pd.DataFrame:
    """Rows of run, seed, role, head, measure, value, low, high, count, unit.

    Growths of runs have intervals over events, other rows of runs equal value, low and high. Rows
    of run ``mean`` (seed -1) are means over runs with their interval and the number of runs.
    """
    rows: list[dict[str, Any]] = []
    for result in results:
        by = {r["head"]: r for r in result.selection["ranking"]}
        for role in ROLES:
            head = result.selection[role]
            rows.append(
                {
                    **_row(result, role, head, "growth", 0.0, result.selection["unit"]),
                    "value": by[head]["confirmation"],
                    **{key: by[head][key] for key in ("low", "high", "count")},
                }
            )
        growth = sum(result.components.values())
        for component, value in result.components.items():
            share = value / growth
            rows.append(
                _row(result, "winner", result.selection["winner"], f"share_{component}", share, "1")
            )
        if result.birth_step is not None:
            rows.append(_row(result, "model", "", "birth_step", result.birth_step, "step"))
    every = pd.DataFrame(rows)
    means = []
    for (role, measure, unit), part in every.groupby(["role", "measure", "unit"], sort=False):
        mean = bootstrap_mean(part["value"].to_numpy(), seed)
        means.append(
            {
                "run": "mean",
                "seed": -1,
                "role": role,
                "head": "",
                "measure": measure,
                "value": mean.mean,
                "low": mean.low,
                "high": mean.high,
                "count": mean.count,
                "unit": unit,
            }
        )
    return pd.concat([every, pd.DataFrame(means)], ignore_index=True)


def _row(
    result: SeedResult, role: str, head: str, measure: str, value: float, unit: str
) -> dict[str, Any]:
    return {
        "run": result.run,
        "seed": result.seed,
        "role": role,
        "head": head,
        "measure": measure,
        "value": float(value),
        "low": float(value),
        "high": float(value),
        "count": 1,
        "unit": unit,
    }
