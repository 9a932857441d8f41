"""What was measured of all heads at all checkpoints, as arrays and as rows. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from circuit.estimates import estimates
from circuit.measures.births.evidence import Evidence, evidence_rows, gather
from circuit.measures.births.sweep_curves import Curve
from circuit.measures.writes.names import CONDITIONS, MODEL, OTHER_VALUES, OUTCOMES, SCALARS, UNIT
from circuit.statistics import bootstrap_means

DRAWS = 200  # of change points, whose intervals are told but decide nothing


class Progress(NamedTuple):
    """What was measured, one value per event.

    Attributes:
        values: scalars in the order of ``SCALARS``, conditions in that of ``CONDITIONS``; logit.
        mass: attention on support_value; probability.
        rival: each head's best wrong value by direct logits, as a column of the value logits.
        outcomes: in the order of ``OUTCOMES``.
    """

    steps: tuple[int, ...]
    heads: tuple[str, ...]
    values: Float[np.ndarray, "S H M C E"]
    mass: Float[np.ndarray, "S H E"]
    rival: Int[np.ndarray, "S H E"]
    outcomes: Float[np.ndarray, "S O E"]

    @property
    def real(self) -> Float[np.ndarray, "S H M E"]:
        """The scalars as they are: real attention, real values."""
        return self.values[:, :, :, 0]

    def on_events(self, chosen: Int[np.ndarray, " n"]) -> Progress:
        """The same on some of the events."""
        names = ("values", "mass", "rival", "outcomes")
        return self._replace(**{name: getattr(self, name)[..., chosen] for name in names})

    def of_heads(self, heads: Sequence[str]) -> Progress:
        """The same of some of the heads."""
        at = [self.heads.index(head) for head in heads]
        chosen = {name: getattr(self, name)[:, at] for name in ("values", "mass", "rival")}
        return self._replace(heads=tuple(heads), **chosen)


def progress_rows(progress: Progress) -> pd.DataFrame:
    """Means of all scalars and outcomes at all checkpoints, the ``level`` of each.

    Estimates by head, scalar and attention; with other events' values they are controls. The
    outcomes are those of the head ``model``, in the real condition.
    """
    names = [
        (head, scalar, *condition, UNIT)
        for head in progress.heads
        for scalar in SCALARS
        for condition in CONDITIONS
    ]
    names += [(MODEL, name, *CONDITIONS[0], unit) for name, unit in OUTCOMES.items()]
    events = progress.values.shape[-1]
    frames = []
    for step, values, outcomes in zip(
        progress.steps, progress.values, progress.outcomes, strict=True
    ):
        mean, low, high = bootstrap_means(np.concatenate([values.reshape(-1, events), outcomes]).T)
        frame = pd.DataFrame(names, columns=["head", "scalar", "attention", "values", "unit"])
        frames.append(frame.assign(step=step, mean=mean, low=low, high=high, count=events))
    table = pd.concat(frames, ignore_index=True)
    table["against"] = table.pop("values").map({"real": "", "shuffled": OTHER_VALUES})
    return estimates(table, noun="events", measure="level")


def real_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of real attention and real values."""
    return rows[(rows["attention"] == "real") & (rows["against"] == "")]


def write_births(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """When every scalar of every head, and every outcome, was born.

    Estimates by head, scalar and note (why there is none). Measures: ``half_way``, from which
    checkpoint on a curve stays half-way, ``change_point``, ``largest_jump`` (or ``_drop``) with
    their ``_start`` and ``_stop``; ``half_way_level``, and the ``_size`` of the others with its
    ``_share`` of the whole change; see :mod:`circuit.measures.births.evidence`.

    Args:
        rows: from :func:`progress_rows`.
    """
    found: list[Evidence] = []
    for (head, scalar, unit), part in real_rows(rows).groupby(
        ["head", "scalar", "unit"], sort=False
    ):
        line = part.sort_values("step")
        steps, mean, low, high = (line[c].to_numpy() for c in ("step", "mean", "low", "high"))
        curve = Curve(f"{head} {scalar}", unit, steps, mean, low, high, int(line["count"].min()))
        found.append(gather(curve, DRAWS, seed))
    table = evidence_rows(found)
    named = table.pop("evidence").str.partition(" ")
    table.insert(0, "head", named[0])
    table.insert(1, "scalar", named[2])
    return _births(table, int(rows["step"].max()))


def _births(table: pd.DataFrame, last: int) -> pd.DataFrame:
    """Rows of evidence as estimates."""
    method = table["method"].replace({"threshold": "half_way"})
    size = method + np.where(method == "half_way", "_level", "_size")
    bare = table[["head", "scalar", "note", "count"]]
    when = {"unit": "step", "mean": table["step"], "low": table["low"], "high": table["high"]}
    ends = {"low": table["value_low"], "high": table["value_high"]}
    others = [
        bare.assign(measure=method + "_start", unit="step", mean=table["start"]),
        bare.assign(measure=method + "_stop", unit="step", mean=table["stop"]),
        bare.assign(measure=size, unit=table["unit"], mean=table["value"], **ends),
        bare.assign(measure=method + "_share", unit="share", mean=table["share"]),
    ]
    defined = [part[part["mean"].notna()] for part in others]
    frame = pd.concat([bare.assign(measure=method, **when), *defined], ignore_index=True)
    return estimates(frame, noun="events", step=last)
