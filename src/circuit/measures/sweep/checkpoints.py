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


@dataclass(frozen=True, eq=False)
class SweepInputs:
    """What every checkpoint is measured on, and how."""

    splits: Mapping[str, SplitReads]  # whole programs; those of the first feed the linear probes
    probe_reads: ProbeReads  # of the first split's programs
    events: ReadEvents  # the probe events
    value_ids: range
    penalty: float = 1.0  # of the linear probes
    thresholds: tuple[float, ...] = (0.5,)  # accuracies to flag
    baseline: Baseline = "mean"  # what an ablated component's write is replaced by


def checkpoint_sweep(
    decoder: Decoder,
    theta: Callable[[int], Float[Tensor, " P"]],
    steps: Sequence[int],
    inputs: SweepInputs,
    reference: int,
) -> dict[str, pd.DataFrame]:
    """Measure every checkpoint, in order of steps.

    Args:
        reference: the checkpoint that drift is measured to.

    Returns:
        Estimates at all checkpoints, each with its change since the previous one (``CHANGE``):
        ``rows`` by split (``probes`` for the probe events), slice and slice_value; ``stages`` by
        stage, role and target; ``components`` by component, role and chosen (:func:`ranked_rows`).
    """
    events, value_ids = inputs.events, inputs.value_ids
    states = event_states(decoder, theta(reference), events, value_ids)
    every_stage = stages(decoder.settings.n_layers)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in KEYS}
    kept: Kept | None = None
    for step in steps:
        flat = theta(step)
        for number, (name, split) in enumerate(inputs.splits.items()):
            keep = Keep(every_stage, inputs.probe_reads.at) if number == 0 else None
            seen = read_pass(decoder, flat, split, keep)
            if keep is not None:
                probed = probe_rows(inputs.probe_reads, seen.states, inputs.penalty)
                parts["stages"].append(probed.assign(step=step))
            summary = summarise(measured_reads(split, seen.logits))
            for frame in (summary, _flags(summary, inputs.thresholds)):
                parts["rows"].append(frame.assign(split=name, step=step))
        found, kept = event_rows(decoder, flat, events, value_ids, inputs.baseline, kept, states)
        for name, frame in found.items():
            parts[name].append(frame.assign(step=step))
    assert kept is not None
    units = {**UNITS, **{flag(level): "1" for level in inputs.thresholds}}
    tables = {
        name: estimates(_with_changes(pd.concat(part), KEYS[name]), units)
        for name, part in parts.items()
    }
    tables["stages"] = with_guess(tables["stages"], "lens_accuracy", len(value_ids))
    tables["components"].insert(2, "chosen", "")
    ranked = estimates(ranked_rows(kept), units, "events", step=steps[-1])
    tables["components"] = pd.concat([tables["components"], ranked], ignore_index=True)
    return tables


def _flags(summary: pd.DataFrame, thresholds: tuple[float, ...]) -> pd.DataFrame:
    """Whether the accuracy over all reads is at or above each threshold: 1 or 0."""
    whole = summary[(summary["slice"] == "all") & (summary["measure"] == "accuracy")]
    parts = []
    for threshold in thresholds:
        reached = (whole["mean"] >= threshold).astype(float)
        parts.append(whole.assign(measure=flag(threshold), mean=reached, low=reached, high=reached))
    return pd.concat(parts)


def _with_changes(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """All checkpoints' rows, and below them how each mean changed since the checkpoint before."""
    columns = ["step", *keys, "against", "mean", "low", "high", "count", "noun"]
    table = table[columns].reset_index(drop=True)
    own = table[table["against"] == ""]
    change = own.groupby(list(keys), sort=False)["mean"].diff()
    moved = own.assign(against=CHANGE, mean=change, low=np.nan, high=np.nan)
    return pd.concat([table, moved[change.notna()]], ignore_index=True)


def ranked_rows(kept: Kept) -> pd.DataFrame:
    """Ablation effects on either half of the events, the largest of the half that chooses first.

    On that half (even numbers) are chosen ``winner`` and ``runner_up``, and, of the others, the
    one that matters least: ``bottom``, as far as there are so many. The paired excess is over it.

    Columns: component, role, chosen, measure, against, half, mean, low, high, count.
    """
    effects = kept.ranked["ablation_effect"]
    choosing, confirming = (effects.iloc[half] for half in halves(len(effects)))
    order = choosing.mean().sort_values(ascending=False, kind="stable")
    names = list(order.index)
    chosen = dict(zip(names, ("winner", "runner_up"), strict=False))
    told = [(SELECTION, "", choosing[names]), (CONFIRMATION, "", confirming[names])]
    if len(names) > len(chosen):
        bottom = order.iloc[len(chosen) :].abs().idxmin()
        chosen[bottom] = "bottom"
        others = confirming[[name for name in names if name != bottom]]
        told.append((CONFIRMATION, EXCESS, others.sub(confirming[bottom], axis=0)))
    parts = []
    for half, against, values in told:
        mean, low, high = bootstrap_means(values.to_numpy())
        frame = pd.DataFrame({"component": values.columns, "mean": mean, "low": low, "high": high})
        parts.append(frame.assign(half=half, against=against, count=len(values)))
    parts[0]["mean"] = order.to_numpy()
    rows = pd.concat(parts, ignore_index=True)
    rows["chosen"] = rows["component"].map(chosen).fillna("")
    return rows.assign(role="prediction", measure="ablation_effect")
