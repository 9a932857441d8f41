"""Every checkpoint of a run: behaviour, what the stream holds, what each component does.

At each checkpoint

1. one forward pass over every split's whole programs measures their reads
   (:mod:`circuit.measures.sweep.behaviour`), and flags which accuracies have been reached; that of
   the first split also leaves the states for the linear probes
   (:mod:`circuit.measures.sweep.probes`);
2. one pass over the probe events, with its ablations, gives everything else
   (:mod:`circuit.measures.sweep.event_pass`).

Then every row gets its change since the previous checkpoint beside it. The components with the
largest ablation effects at the last one are chosen on half of the events and told by the other.
:mod:`circuit.measures.sweep.curves` reads birth and best steps off the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.estimates import CONFIRMATION, EXCESS, SELECTION, estimates
from circuit.measures.sweep.behaviour import (
    COARSE,
    MEASURES,
    Keep,
    SplitReads,
    measured_reads,
    read_pass,
    summarise,
    with_guess,
)
from circuit.measures.sweep.curves import flag
from circuit.measures.sweep.event_pass import KEYS, Kept, event_rows, event_states
from circuit.measures.sweep.probes import ProbeReads, probe_rows
from circuit.measures.sweep.stages import StageStates
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.write import Baseline
from circuit.statistics import bootstrap_means, halves
from circuit.task.events import ReadEvents

UNITS = {
    **MEASURES,
    **COARSE,
    "probe_accuracy": "share",
    "lens_accuracy": "share",
    "lens_margin": "logit",
    **dict.fromkeys(("drift_previous", "drift_reference"), "1"),
    **dict.fromkeys(("attention_query_key", "attention_support_value"), "probability"),
    **dict.fromkeys(("ablation_effect", "answer_contribution"), "logit"),
    "write_norm": "state unit",
    **dict.fromkeys(("rank_correlation_ablation", "rank_correlation_support"), "1"),
}
CHANGE = "excess over previous checkpoint"
_KEYS = {"rows": ("split", "slice", "slice_value", "measure"), **KEYS}


@dataclass(frozen=True, eq=False)
class SweepInputs:
    """What every checkpoint is measured on, and how.

    Attributes:
        splits: whole programs; those of the first feed the linear probes.
        probe_reads: the reads of the first split's programs, labelled.
        events: the probe events.
        penalty: of the linear probes.
        thresholds: accuracies to flag.
        baseline: what an ablated component's write is replaced by.
    """

    splits: Mapping[str, SplitReads]
    probe_reads: ProbeReads
    events: ReadEvents
    value_ids: range
    penalty: float = 1.0
    thresholds: tuple[float, ...] = (0.5,)
    baseline: Baseline = "mean"


class CheckpointRows(NamedTuple):
    """The three tables at one checkpoint, without steps, and what the next one needs of it."""

    rows: pd.DataFrame
    stages: pd.DataFrame
    components: pd.DataFrame
    kept: Kept


class Sweep(NamedTuple):
    """Estimates at all checkpoints, each with its change since the previous one (``CHANGE``).

    Keys of ``rows``: split, slice, slice_value; the probe events appear as split ``probes``. Of
    ``stages``: stage, role, target. Of ``components``: component, role, chosen (see
    :func:`ranked_rows`).
    """

    rows: pd.DataFrame
    stages: pd.DataFrame
    components: pd.DataFrame


def checkpoint_sweep(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    inputs: SweepInputs,
    reference: int,
) -> Sweep:
    """Measure every checkpoint, in order of steps.

    Args:
        reference: the checkpoint that drift is measured to.
    """
    states = event_states(decoder, theta(reference), inputs.events, inputs.value_ids)
    parts: dict[str, list[pd.DataFrame]] = {"rows": [], "stages": [], "components": []}
    kept: Kept | None = None
    for step in steps:
        found = sweep_checkpoint(decoder, theta(step), inputs, kept, states)
        kept = found.kept
        for name, tables in parts.items():
            tables.append(getattr(found, name).assign(step=step))
    assert kept is not None
    units = {**UNITS, **{flag(level): "1" for level in inputs.thresholds}}
    rows, by_stage, by_component = (
        estimates(_with_changes(pd.concat(part), _KEYS[name]), unit=units)
        for name, part in parts.items()
    )
    ranked = estimates(ranked_rows(kept).assign(step=steps[-1]), unit=units, noun="events")
    by_component.insert(2, "chosen", "")
    return Sweep(
        rows,
        with_guess(by_stage, "lens_accuracy", len(inputs.value_ids)),
        pd.concat([by_component, ranked], ignore_index=True),
    )


def sweep_checkpoint(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    inputs: SweepInputs,
    previous: Kept | None,
    reference: StageStates,
) -> CheckpointRows:
    """Everything about one checkpoint.

    Args:
        previous: what the checkpoint before kept; None at the first.
        reference: states that drift is measured to.
    """
    rows, probed = [], []
    for number, (name, split) in enumerate(inputs.splits.items()):
        keep = None
        if number == 0:
            keep = Keep(stages(decoder.settings.n_layers), inputs.probe_reads.at)
        seen = read_pass(decoder, theta, split, keep)
        if keep is not None:
            probed.append(probe_rows(inputs.probe_reads, seen.states, inputs.penalty))
        summary = summarise(measured_reads(split, seen.logits))
        rows += [summary.assign(split=name), _flags(summary, inputs.thresholds).assign(split=name)]
    found = event_rows(
        decoder,
        theta,
        inputs.events,
        inputs.value_ids,
        inputs.baseline,
        previous,
        reference,
    )
    rows.append(found.coarse.assign(split="probes", slice="all", slice_value=""))
    return CheckpointRows(
        pd.concat(rows, ignore_index=True),
        pd.concat([*probed, found.stages], ignore_index=True),
        found.components,
        found.kept,
    )


def _flags(summary: pd.DataFrame, thresholds: tuple[float, ...]) -> pd.DataFrame:
    """Whether the accuracy over all reads is at or above each threshold: 1 or 0."""
    whole = summary[(summary["slice"] == "all") & (summary["measure"] == "accuracy")].iloc[0]
    reached = [float(whole["mean"] >= threshold) for threshold in thresholds]
    return pd.DataFrame(
        {
            "slice": "all",
            "slice_value": "",
            "measure": [flag(threshold) for threshold in thresholds],
            **dict.fromkeys(("mean", "low", "high"), reached),
            "count": whole["count"],
            "noun": "reads",
        }
    )


def _with_changes(table: pd.DataFrame, keys: tuple[str, ...]) -> pd.DataFrame:
    """All checkpoints' rows, and below them how each mean changed since the checkpoint before."""
    if "against" not in table:
        table = table.assign(against="")
    table = table.fillna({"against": ""}).reset_index(drop=True)
    own = table[table["against"] == ""]
    change = own.groupby(list(keys), sort=False)["mean"].diff()
    moved = own.assign(against=CHANGE, mean=change, low=np.nan, high=np.nan)
    columns = ["step", *keys, "against", "mean", "low", "high", "count", "noun"]
    return pd.concat([table, moved[change.notna()]], ignore_index=True)[columns]


def ranked_rows(kept: Kept) -> pd.DataFrame:
    """Ablation effects on either half of the events, the largest of the half that chooses first.

    On that half (even numbers) are chosen ``winner`` and ``runner_up``, and, of the others, the
    one that matters least: ``bottom``, as far as there are so many. The paired excess is over it.

    Columns: component, role, chosen, measure, against, half, mean, low, high, count.
    """
    effects = kept.ranked["ablation_effect"]
    choosing, confirming = halves(len(effects))
    order = effects.iloc[choosing].mean().sort_values(ascending=False, kind="stable")
    names = list(order.index)
    chosen = dict(zip(names, ("winner", "runner_up"), strict=False))
    values = {SELECTION: effects.iloc[choosing], CONFIRMATION: effects.iloc[confirming]}
    parts = []
    for half, part in values.items():
        mean, low, high = bootstrap_means(part[names].to_numpy())
        mean = order.to_numpy() if half == SELECTION else mean
        parts.append(_of_half(names, half, mean, low, high, len(part), ""))
    if len(names) > len(chosen):
        bottom = order.iloc[len(chosen) :].abs().idxmin()
        part = values[CONFIRMATION]
        others = [name for name in names if name != bottom]
        paired = bootstrap_means(part[others].to_numpy() - part[[bottom]].to_numpy())
        parts.append(_of_half(others, CONFIRMATION, *paired, len(part), EXCESS))
        chosen[bottom] = "bottom"
    rows = pd.concat(parts, ignore_index=True)
    rows.insert(2, "chosen", rows["component"].map(chosen).fillna(""))
    return rows


def _of_half(names: Sequence[str], half: str, *columns: Any) -> pd.DataFrame:
    numbers = dict(zip(("mean", "low", "high", "count", "against"), columns, strict=True))
    keys = {"component": names, "role": "prediction", "measure": "ablation_effect", "half": half}
    return pd.DataFrame({**keys, **numbers})
