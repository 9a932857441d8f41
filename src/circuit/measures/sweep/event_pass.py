"""One checkpoint's pass over the probe events, and all that is read off it.

1. One forward pass, up to the end of the last layer, leaves the residual stream at every stage, the
   states that heads read, and what every component writes.
2. Lens and drift (:mod:`circuit.measures.sweep.stages`), localisation, writes and ablation effects
   (:mod:`circuit.measures.sweep.components`) and the coarse q, r, w are one value per event each.
   Only the ablations run the model further, each from the stage after the removed component.
3. All these columns are averaged together, over the same resamples of events.
4. The states, and what components are ranked by, are kept for the checkpoint that comes next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuit.experiments.edits import removal_sites
from circuit.measures.sweep.behaviour import answer_measures
from circuit.measures.sweep.components import (
    LOOKS_AT,
    RANKED,
    ablation_effects,
    localisation,
    rank_correlation,
    writes,
)
from circuit.measures.sweep.stages import Columns, StageStates, drift, lens, stage_states
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look
from circuit.scalars.write import Baseline
from circuit.statistics import Mean, bootstrap_means
from circuit.task.events import ReadEvents

KEYS = {
    "coarse": ("measure",),
    "stages": ("stage", "role", "target", "measure"),
    "components": ("component", "role", "measure"),
}
"""What names a row, by table."""


class Kept(NamedTuple):
    """What a later checkpoint is compared with.

    ``ranked``: events × components, for each measure whose order is compared.
    """

    states: StageStates
    ranked: Mapping[str, pd.DataFrame]


class EventRows(NamedTuple):
    """Rows of one checkpoint on the probe events: ``KEYS``, then mean, low, high, count, noun."""

    coarse: pd.DataFrame
    stages: pd.DataFrame
    components: pd.DataFrame
    kept: Kept


def event_sites(n_layers: int) -> frozenset[str]:
    """What the pass over the probe events must leave."""
    inputs = {f"layer_{layer}_attn_input" for layer in range(n_layers)}
    return removal_sites(n_layers) | inputs | set(stages(n_layers)[:-1])


def event_states(
    decoder: Decoder, theta: Float[Tensor, " P"], events: ReadEvents, value_ids: range
) -> StageStates:
    """States of the probe events at every stage, for measuring drift to this checkpoint."""
    sites = frozenset(stages(decoder.settings.n_layers)[:-1])
    with torch.no_grad():
        return stage_states(look(decoder, theta, events, value_ids, sites))


def event_rows(
    decoder: Decoder,
    theta: Float[Tensor, " P"],
    events: ReadEvents,
    value_ids: range,
    baseline: Baseline,
    previous: Kept | None,
    reference: StageStates,
) -> EventRows:
    """Everything about the probe events at one checkpoint; see the module.

    Args:
        baseline: what an ablated component's write is replaced by.
        previous: the checkpoint before, None at the first.
        reference: states that drift is measured to, from :func:`event_states`.
    """
    with torch.no_grad():
        seen = look(decoder, theta, events, value_ids, event_sites(decoder.settings.n_layers))
        states = stage_states(seen)
        logits = decoder.unembed(seen.params, states[-1, 0])
        by_stage = lens(seen, states) | drift(seen, states, reference, "drift_reference")
        if previous is not None:
            by_stage |= drift(seen, states, previous.states, "drift_previous")
        by_component = localisation(seen)
        by_coarse = _coarse(by_component, logits, seen)
        by_component |= ablation_effects(seen, logits, baseline) | writes(seen, states[-2, 0])
    frames = averaged({"coarse": by_coarse, "stages": by_stage, "components": by_component})
    kept = Kept(states, _ranked(by_component))
    if previous is not None:
        orders = _rank_rows(kept.ranked, previous.ranked)
        frames["components"] = pd.concat([frames["components"], orders], ignore_index=True)
    return EventRows(**frames, kept=kept)


def _coarse(by_head: Columns, logits: Float[Tensor, "E V"], seen: Seen) -> Columns:
    """q, r of the best head, the one whose mean attention to the role is largest, and w."""
    found: Columns = {}
    for measure, role in zip("qr", LOOKS_AT, strict=True):
        heads = [column for key, column in by_head.items() if key[-1] == f"attention_{role}"]
        found[(measure,)] = max(heads, key=lambda column: float(column.double().mean()))
    measures = answer_measures(logits, seen.events.answer, seen.value_ids)
    return found | {("w",): measures["value_margin"]}


def averaged(tables: Mapping[str, Columns]) -> dict[str, pd.DataFrame]:
    """Every table's rows; all columns of all tables share one set of resamples."""
    every = [column.double() for columns in tables.values() for column in columns.values()]
    values = torch.stack(every, 1).numpy()
    numbers = pd.DataFrame(dict(zip(("mean", "low", "high"), bootstrap_means(values), strict=True)))
    frames, start = {}, 0
    for table, columns in tables.items():
        part = numbers.iloc[start : start + len(columns)].reset_index(drop=True)
        keys = pd.DataFrame(list(columns), columns=list(KEYS[table]))
        frames[table] = pd.concat([keys, part.assign(count=len(values), noun="events")], axis=1)
        start += len(columns)
    return frames


def _ranked(by_component: Columns) -> dict[str, pd.DataFrame]:
    """Events × components, for each measure whose order is compared."""
    return {
        wanted: pd.DataFrame(
            {
                name: column.double().numpy()
                for (name, _, measure), column in by_component.items()
                if measure == wanted
            }
        )
        for wanted in RANKED.values()
    }


def _rank_rows(now: Mapping[str, pd.DataFrame], before: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Rank correlations with the previous checkpoint, missing where there is no order."""
    found = []
    for correlation, measure in RANKED.items():
        names = now[measure].columns
        is_mlp = names.str.endswith("MLP")
        for group, chosen in (("heads", names[~is_mlp]), ("mlps", names[is_mlp])):
            pair = (table[measure][chosen].to_numpy() for table in (now, before))
            if len(chosen):
                value = rank_correlation(*pair) or Mean(np.nan, np.nan, np.nan, 0)
                found.append((group, "prediction", correlation, *astuple(value)))
    frame = pd.DataFrame(found, columns=[*KEYS["components"], "mean", "low", "high", "count"])
    return frame.assign(noun="events")
