"""What is measured of a head's write: scalars, conditions, outcomes, levels, births. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from circuit.estimates import estimates
from circuit.measures.births.evidence import Evidence, evidence_rows, gather
from circuit.measures.births.sweep_curves import Curve
from circuit.statistics import bootstrap_means

OTHER_VALUES = "values of other events"
"""What an event's own values are compared with."""
CONDITIONS = tuple(product(("real", "forced"), ("real", "shuffled")))
"""(attention, values), in the order in which conditions are stacked."""
SCALARS = {
    "head_value_margin_dla_fixed": "direct logit of the answer over a fixed rival",
    "head_value_margin_dla_moving": "direct logit of the answer over the best other value",
    "head_margin_dla_fixed_readout": "direct logit of the answer over a fixed rival, read through "
    "the last checkpoint's LayerNorm scale",
    "head_value_over_mean_dla": "direct logit of the answer over the mean of all other values",
    "ov_value_margin_fixed": "logit-lens margin over a fixed rival of the OV image of the support "
    "value's state",
    "support_mass_ov_value_margin_fixed": "attention on the support value × logit-lens margin over "
    "a fixed rival of the OV image of its state",
}
"""Measures of a write and what they are, all in ``UNIT``."""
UNIT = "logit"
MOVING = ("head_value_margin_dla_moving",)
"""Scalars with a rival that is chosen anew at each checkpoint; all others are smooth."""
UNATTENDED = ("ov_value_margin_fixed",)
"""Scalars that do not read attention."""
UNSIZED = ("ov_value_margin_fixed", "support_mass_ov_value_margin_fixed")
"""Scalars whose logit lens normalises the write, so that its size does not count."""
OUTCOMES = {"answer_margin": "logit", "correct_value_logit": "logit", "negative_answer_loss": "nat"}
MODEL = "model"
"""In the place of a head: the whole model, whose outcomes these are."""
DRAWS = 200  # of change points, whose intervals are told but decide nothing


def setting(scalar: str, head: str, competitor: str) -> str:
    """The scalar as the configuration's ``scalars`` takes it."""
    names = {
        "head_value_over_mean_dla": ("head_value_margin_dla", "mean"),
        "head_value_margin_dla_fixed": ("head_value_margin_dla", competitor),
        "head_value_margin_dla_moving": ("head_value_margin_dla", "moving"),
        "head_margin_dla_fixed_readout": ("head_margin_dla_fixed_readout", competitor),
        "ov_value_margin_fixed": ("ov_value_margin", competitor),
        "support_mass_ov_value_margin_fixed": ("support_mass_ov_value_margin", competitor),
    }
    name, rival = names[scalar]
    return f"{{scalar: {name}, head: {head}, competitor: {rival}}}"


class Progress(NamedTuple):
    """What was measured, one value per event."""

    steps: tuple[int, ...]
    heads: tuple[str, ...]
    values: Float[np.ndarray, "S H M C E"]  # in the order of ``SCALARS``, of ``CONDITIONS``; logit
    mass: Float[np.ndarray, "S H E"]  # attention on support_value
    rival: Int[np.ndarray, "S H E"]  # best wrong value by direct logits, as a column of these
    outcomes: Float[np.ndarray, "S O E"]  # in the order of ``OUTCOMES``

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
        (head, scalar, attention, "" if values == "real" else OTHER_VALUES, UNIT)
        for head, scalar, (attention, values) in product(progress.heads, SCALARS, CONDITIONS)
    ]
    names += [(MODEL, name, "real", "", unit) for name, unit in OUTCOMES.items()]
    events = progress.values.shape[-1]
    frames = []
    for step, values, outcomes in zip(
        progress.steps, progress.values, progress.outcomes, strict=True
    ):
        mean, low, high = bootstrap_means(np.concatenate([values.reshape(-1, events), outcomes]).T)
        frame = pd.DataFrame(names, columns=["head", "scalar", "attention", "against", "unit"])
        frames.append(frame.assign(step=step, mean=mean, low=low, high=high, count=events))
    return estimates(pd.concat(frames, ignore_index=True), noun="events", measure="level")


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
    real = rows[(rows["attention"] == "real") & (rows["against"] == "")].sort_values(
        "step", kind="stable"
    )
    for (head, scalar, unit), line in real.groupby(["head", "scalar", "unit"], sort=False):
        steps, mean, low, high = (line[c].to_numpy() for c in ("step", "mean", "low", "high"))
        curve = Curve(f"{head} {scalar}", unit, steps, mean, low, high, int(line["count"].min()))
        found.append(gather(curve, DRAWS, seed))
    table = evidence_rows(found)
    table[["head", "scalar"]] = table["evidence"].str.split(" ", n=1, expand=True)
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
    return estimates(frame, noun="events", step=int(rows["step"].max()))
