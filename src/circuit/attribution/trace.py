"""The optimizer step by step: what a replayed stretch shows without any scalar."""

from __future__ import annotations

import numpy as np
import pandas as pd

from circuit.config.terms import COMPONENTS
from circuit.training.loop import metrics_row
from circuit.training.replay import ReplayedStep


class TraceObserver:
    """One row a step: loss, rate, gradient, update and component norms; batch rows; top tensors."""

    def __init__(self, since: int, top_parameters: int) -> None:
        self.since, self.top_parameters = since, top_parameters
        self._rows: list[dict[str, float]] = []
        self._batches: list[pd.DataFrame] = []
        self._top: list[pd.DataFrame] = []

    def remember(self, step: ReplayedStep) -> None:
        """Nothing: the trace is of the stretch alone."""

    def see(self, step: ReplayedStep) -> None:
        """Note one step."""
        parts = step.components
        norms = {f"{n}_norm": float(getattr(parts, n).norm()) for n in COMPONENTS}
        row = metrics_row(step.trajectory, step.step, step.taken)
        self._rows.append({**row, "update_norm": float(parts.update.norm()), **norms})
        rows = step.taken.batch.rows
        self._batches.append(pd.DataFrame({"step": np.full(len(rows), step.step), "row": rows}))
        if self.top_parameters:
            self._top.append(self._largest(step))

    def tables(self) -> dict[str, pd.DataFrame]:
        """``rows``, ``batches`` and ``top_parameters``."""
        empty = pd.DataFrame(
            {
                "step": pd.Series(dtype="int64"),
                "rank": pd.Series(dtype="int64"),
                "parameter": pd.Series(dtype="str"),
                "update_norm": pd.Series(dtype="float64"),
                "parameter_norm": pd.Series(dtype="float64"),
            }
        )
        return {
            "rows": pd.DataFrame(self._rows),
            "batches": pd.concat(self._batches, ignore_index=True),
            "top_parameters": pd.concat(self._top, ignore_index=True) if self._top else empty,
        }

    def _largest(self, step: ReplayedStep) -> pd.DataFrame:
        layout = step.trajectory.decoder.layout
        moved = {n: float(v.norm()) for n, v in layout.views(step.components.update).items()}
        size = {n: float(v.norm()) for n, v in layout.views(step.before.theta).items()}
        top = sorted(moved, key=lambda n: -moved[n])[: self.top_parameters]
        return pd.DataFrame(
            {
                "step": step.step,
                "rank": range(1, len(top) + 1),
                "parameter": top,
                "update_norm": [moved[n] for n in top],
                "parameter_norm": [size[n] for n in top],
            }
        )
