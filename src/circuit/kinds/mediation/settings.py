"""Settings of the kind ``mediation``."""

from __future__ import annotations

from typing import Literal

from circuit.config.analysis import AtCheckpoints


class Settings(AtCheckpoints):
    """Path effects of every embedding, head and MLP through every later input.

    ``ablation`` is what stands in place of what a source writes: its ``mean``, or another event's
    write (``resample``).
    """

    kind: Literal["mediation"]
    ablation: Literal["mean", "resample"] = "mean"
