"""Behaviour over all checkpoints of a run: when it appears and where it is best.

1. At each checkpoint every split's reads are measured in one forward pass per batch of programs,
   and the probe events in one more (q, r, w).
2. :mod:`circuit.geometry.curves` reads birth and best steps off the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.geometry.behaviour import SplitReads, coarse, read_measures, summarise
from circuit.model.transformer import Decoder
from circuit.task.events import ReadEvents

UNITS = {
    "step": "step",
    "slice_value": "1",
    "mean": "unit of the measure",
    "low": "unit of the measure",
    "high": "unit of the measure",
    "count": "1",
}


def checkpoint_sweep(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Iterable[int],
    splits: Mapping[str, SplitReads],
    probes: ReadEvents,
    value_ids: range,
) -> pd.DataFrame:
    """Rows of step, split, slice, slice_value, measure, mean, low, high, count.

    The probe events appear as split ``probes``.
    """
    parts = []
    for step in steps:
        parameters = theta(step)
        for name, split in splits.items():
            rows = summarise(read_measures(decoder, parameters, split))
            parts.append(rows.assign(step=step, split=name))
        rows = coarse(decoder, parameters, probes, value_ids)
        parts.append(rows.assign(step=step, split="probes"))
    columns = ["step", "split", "slice", "slice_value", "measure", "mean", "low", "high", "count"]
    return pd.concat(parts, ignore_index=True)[columns]
