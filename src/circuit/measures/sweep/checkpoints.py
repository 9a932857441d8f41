"""Every checkpoint of a run: behaviour, what the stream holds, what each component does.

At each checkpoint

1. one forward pass over every split's whole programs measures their reads
   (:mod:`circuit.measures.sweep.behaviour`), and flags which accuracies have been reached; that of
   the first split also leaves the states for the linear probes
   (:mod:`circuit.measures.sweep.probes`);
2. one pass over the probe events, with its ablations, gives everything else
   (:mod:`circuit.measures.sweep.event_pass`).

Then every row gets its change since the previous checkpoint. The components with the largest
ablation effects at the last checkpoint are chosen on half of the events and told by the other.
:mod:`circuit.measures.sweep.curves` reads birth and best steps off the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from circuit.measures.sweep.behaviour import UNITS as READ_UNITS
from circuit.measures.sweep.behaviour import Keep, SplitReads, measured_reads, read_pass, summarise
from circuit.measures.sweep.event_pass import KEYS, Kept, event_rows, event_states
from circuit.measures.sweep.probes import ProbeReads, probe_rows
from circuit.measures.sweep.stages import StageStates
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.write import Baseline
from circuit.statistics import bootstrap_means, halves
from circuit.task.events import ReadEvents

UNITS = {**READ_UNITS, "delta": "unit of the measure"}
PART_UNITS = {name: unit for name, unit in UNITS.items() if name != "slice_value"}
"""Units of the tables of stages and of components."""
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
    """All checkpoints; ``delta`` is the change of ``mean`` since the previous one, NaN at first.

    ``rows``: step, split, slice, slice_value, measure, mean, low, high, count, delta; the probe
    events appear as split ``probes``. ``stages``: step, stage, role, target, measure, then as in
    ``rows``. ``components``: step, component, role, measure, then as in ``rows``. ``ranking``: see
    :func:`rank_components`.
    """

    rows: pd.DataFrame
    stages: pd.DataFrame
    components: pd.DataFrame
    ranking: pd.DataFrame


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
    joined = {name: _with_changes(pd.concat(part), _KEYS[name]) for name, part in parts.items()}
    return Sweep(**joined, ranking=rank_components(kept))


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
    rows.append(found.coarse.assign(split="probes", slice="all", slice_value=-1))
    return CheckpointRows(
        pd.concat(rows, ignore_index=True),
        pd.concat([*probed, found.stages], ignore_index=True),
        found.components,
        found.kept,
    )


def flag(threshold: float) -> str:
    """``0.5`` → ``"reaches_0.5"``."""
    return f"reaches_{threshold:g}"


def _flags(summary: pd.DataFrame, thresholds: tuple[float, ...]) -> pd.DataFrame:
    """Whether the accuracy over all reads is at or above each threshold: 1 or 0."""
    whole = summary[(summary["slice"] == "all") & (summary["measure"] == "accuracy")].iloc[0]
    reached = [float(whole["mean"] >= threshold) for threshold in thresholds]
    return pd.DataFrame(
        {
            "slice": "all",
            "slice_value": -1,
            "measure": [flag(threshold) for threshold in thresholds],
            **dict.fromkeys(("mean", "low", "high"), reached),
            "count": whole["count"],
        }
    )


def _with_changes(table: pd.DataFrame, keys: tuple[str, ...]) -> pd.DataFrame:
    """All checkpoints' rows in their columns' order, with the change since the one before."""
    table = table.reset_index(drop=True)
    table["delta"] = table.groupby(list(keys), sort=False)["mean"].diff()
    return table[["step", *keys, "mean", "low", "high", "count", "delta"]]


def rank_components(kept: Kept) -> pd.DataFrame:
    """Components by ablation effect, largest first on the events that choose (even numbers).

    Columns: component, selection, then mean, low, high, count on the other events, in logits.
    """
    effects = kept.ranked["ablation_effect"]
    choosing, confirming = halves(len(effects))
    selection = effects.iloc[choosing].mean().sort_values(ascending=False, kind="stable")
    values = effects.iloc[confirming][selection.index].to_numpy()
    mean, low, high = bootstrap_means(values)
    return pd.DataFrame(
        {
            "component": selection.index,
            "selection": selection.to_numpy(),
            "mean": mean,
            "low": low,
            "high": high,
            "count": len(confirming),
        }
    )
