"""One checkpoint's pass over the probe events: the stream at every stage, every head and MLP.

One forward pass, up to the end of the last layer, leaves the residual stream at every stage, the
states that heads read, and what every component writes. Of these, per event:

1. *Logit lens* (nostalgebraist 2020): the state at ``prediction`` through the final LayerNorm and
   the unembedding. Its accuracy is the share of events where the margin over the best other value
   is positive. ``final_norm`` is LayerNorm'd already: there the lens is the model's own answer.
2. *Drift*: ‖x − x′‖ / ‖x′‖, x′ the same event's state at another checkpoint. Two random states of
   one size are √2 apart. Unlike a cosine it also sees growth.
3. *Localisation*: a head's attention from the prediction position to ``query_key`` (which is that
   position) and to ``support_value``.
4. *Ablation effect*: the answer margin (the best wrong logit chosen anew) minus what it is with the
   component's write removed at every position. Positive: the component helps. Only this runs the
   model further, each time from the stage after the removed component.
5. *Write norm*: Euclidean norm of what the component adds to the stream at a role's position,
   without the attention's output bias, with the MLP's.
6. *Answer contribution*: what the write at ``prediction`` adds directly to the right value's logit
   minus the mean of all other values', through the final LayerNorm with its scale as it is (direct
   logit attribution, Elhage et al. 2021). Unlike a margin over the best wrong value, that singles
   out no value by what the model says, so an untrained component has no reason to lie on either
   side of zero; and contributions of all components, embeddings and biases add up.
7. The coarse q and r, attention of the best head, and w, the value-only margin.

All these are averaged over the same resamples of events. States, and what components are ranked by,
are kept for the checkpoint that comes next:

8. *Rank correlation* (Spearman): whether the order of the components by a mean over events is that
   of the previous checkpoint. Its interval resamples the events, of both checkpoints together;
   noise in two orders makes them less alike, so the interval reaches further down than up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from circuit.experiments.edits import Removed, components, removal_sites
from circuit.experiments.trial import ANSWER, LIKE_LENGTHS, Trial
from circuit.measures.sweep.behaviour import answer_measures
from circuit.model.sites import every_head, head_name, stages
from circuit.model.tap import Tap
from circuit.model.transformer import Decoder
from circuit.scalars.base import Measure, Seen, look, margin, pick
from circuit.scalars.behaviour import answer_logits
from circuit.scalars.routing import prediction_pattern
from circuit.scalars.value import right_value, stream_reader, value_logits
from circuit.scalars.write import Baseline, component_write
from circuit.statistics import bootstrap_means, correlations, draws, interval_of_found, told
from circuit.task.events import ReadEvents

ROLES = ("prediction", "support_value")
LOOKS_AT = ("query_key", "support_value")
RANKED = {
    "rank_correlation_ablation": "ablation_effect",
    "rank_correlation_support": "attention_support_value",
}
"""Rank correlations and the measure whose order they compare."""
KEYS = {
    "rows": ("split", "slice", "slice_value", "measure"),
    "stages": ("stage", "role", "target", "measure"),
    "components": ("component", "role", "measure"),
}
"""What names a row, by table."""
Columns = dict[tuple[str, ...], Float[Tensor, " E"]]
"""One value per event, by what names a row."""
StageStates = Float[Tensor, "S R E d"]
"""States of E events at every stage and each of ``ROLES``."""


class Kept(NamedTuple):
    """What a later checkpoint is compared with.

    ``ranked``: events × components, for each measure whose order is compared.
    """

    states: StageStates
    ranked: Mapping[str, pd.DataFrame]


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
) -> tuple[dict[str, pd.DataFrame], Kept]:
    """Everything about the probe events at one checkpoint, by table; see the module.

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
        coarse = _coarse(by_component, logits, seen)
        by_component |= ablation_effects(seen, logits, baseline) | writes(seen, states[-2, 0])
    tables = averaged({"rows": coarse, "stages": by_stage, "components": by_component})
    ranked = {
        wanted: pd.DataFrame(
            {
                name: column.double().numpy()
                for (name, _, measure), column in by_component.items()
                if measure == wanted
            }
        )
        for wanted in RANKED.values()
    }
    if previous is not None:
        orders = _rank_rows(ranked, previous.ranked)
        tables["components"] = pd.concat([tables["components"], orders], ignore_index=True)
    return tables, Kept(states, ranked)


def stage_states(seen: Seen) -> StageStates:
    """States at the roles' positions.

    Args:
        seen: a pass with every stage but ``final_norm``, which is worked out here: at two positions
            instead of all.
    """
    names = stages(seen.decoder.settings.n_layers)[:-1]
    where = [seen.events.role_position(role) for role in ROLES]
    inner = [torch.stack([pick(seen.sites[name], at) for at in where]) for name in names]
    return torch.stack([*inner, seen.decoder.final_norm(seen.params, inner[-1])])


def lens(seen: Seen, states: StageStates) -> Columns:
    """Lens accuracy and margin (logit) at ``prediction``, for every stage."""
    names = stages(seen.decoder.settings.n_layers)
    at = states[:, ROLES.index("prediction")]
    read = torch.cat([seen.decoder.final_norm(seen.params, at[:-1]), at[-1:]])
    right = right_value(seen)
    found: Columns = {}
    for name, logits in zip(names, value_logits(seen, read), strict=True):
        values = margin(logits, right, None)
        found[name, "prediction", "", "lens_accuracy"] = (values > 0).to(values.dtype)
        found[name, "prediction", "", "lens_margin"] = values
    return found


def drift(seen: Seen, states: StageStates, others: StageStates, measure: str) -> Columns:
    """Relative distance of every state to the same event's state elsewhere, as ``measure``."""
    moved = (states - others).norm(dim=-1) / others.norm(dim=-1)
    return {
        (name, role, "", measure): moved[i, j]
        for i, name in enumerate(stages(seen.decoder.settings.n_layers))
        for j, role in enumerate(ROLES)
    }


def localisation(seen: Seen) -> Columns:
    """Every head's attention to the query key and to the support value."""
    found: Columns = {}
    for head in every_head(seen.decoder.settings):
        pattern = prediction_pattern(seen, head)
        for role in LOOKS_AT:
            attention = pick(pattern, seen.events.role_position(role))
            found[head_name(head), "prediction", f"attention_{role}"] = attention
    return found


def ablation_effects(seen: Seen, logits: Float[Tensor, "E V"], baseline: Baseline) -> Columns:
    """Every component's ablation effect; ``logits`` are the model's own at ``prediction``."""
    answer = seen.events.answer
    clean = margin(logits, answer, None)

    def cost(ablated: Seen) -> Float[Tensor, " E"]:
        return clean - margin(answer_logits(ablated), answer, None)

    removed = {name: Removed(name, baseline) for name in components(seen.decoder.settings)}
    found = Trial(seen, LIKE_LENGTHS).run(removed, {"effect": Measure("logit", ANSWER, cost)})
    return {
        (name, "prediction", "ablation_effect"): torch.from_numpy(values["effect"])
        for (name, _), values in found.items()
    }


def writes(seen: Seen, final: Float[Tensor, "E d"]) -> Columns:
    """Write norms at both roles, in the units of states, and answer contributions in logits.

    Args:
        final: the stream after the last layer, at the prediction position.
    """
    names = components(seen.decoder.settings)
    found: Columns = {}
    for role in ROLES:
        written = component_writes(seen, role)
        measured = {"write_norm": written.norm(dim=-1)}
        if role == "prediction":
            direction = answer_direction(seen, final)
            measured["answer_contribution"] = torch.einsum("ecd,ed->ec", written, direction)
        for measure, values in measured.items():
            found |= {(name, role, measure): values[:, c] for c, name in enumerate(names)}
    return found


def component_writes(seen: Seen, role: str) -> Float[Tensor, "E C d"]:
    """What every component writes at a role's position, in the order of ``components``."""
    at, names = seen.events.role_position(role), components(seen.decoder.settings)
    return torch.stack([component_write(seen, name, at) for name in names], 1)


def answer_direction(seen: Seen, final: Float[Tensor, "E d"]) -> Float[Tensor, "E d"]:
    """What a write at the prediction position is multiplied by to give its answer contribution."""
    values = seen.params["embedding.token"][seen.value_ids.start : seen.value_ids.stop]
    right = values[right_value(seen)]
    others = (values.sum(0) - right) / (len(values) - 1)
    tap = Tap(capture=("final_norm_scale",))
    seen.decoder.final_norm(seen.params, final, tap)
    return stream_reader(seen, right - others, tap.cache["final_norm_scale"])


def _coarse(by_head: Columns, logits: Float[Tensor, "E V"], seen: Seen) -> Columns:
    """q, r of the best head, the one whose mean attention to the role is largest, and w."""
    found = {}
    for measure, role in zip("qr", LOOKS_AT, strict=True):
        heads = [column for key, column in by_head.items() if key[-1] == f"attention_{role}"]
        found[measure] = max(heads, key=lambda column: float(column.double().mean()))
    found["w"] = answer_measures(logits, seen.events.answer, seen.value_ids)["value_margin"]
    return {("probes", "all", "", measure): column for measure, column in found.items()}


def averaged(tables: Mapping[str, Columns]) -> dict[str, pd.DataFrame]:
    """Every table's rows; all columns of all tables share one set of resamples."""
    every = [column.double() for columns in tables.values() for column in columns.values()]
    values = torch.stack(every, 1).numpy()
    yes_or_no = [key[-1].endswith("accuracy") for columns in tables.values() for key in columns]
    mean, low, high = bootstrap_means(values, shares=yes_or_no)
    numbers = pd.DataFrame({"mean": mean, "low": low, "high": high, "count": len(values)})
    frames, start = {}, 0
    for table, columns in tables.items():
        part = numbers.iloc[start : start + len(columns)].reset_index(drop=True)
        keys = pd.DataFrame(list(columns), columns=list(KEYS[table])).assign(against="")
        frames[table] = pd.concat([keys, part.assign(noun="events")], axis=1)
        start += len(columns)
    return frames


def _rank_rows(now: Mapping[str, pd.DataFrame], before: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    found = []
    for correlation, measure in RANKED.items():
        names = now[measure].columns
        is_mlp = names.str.endswith("MLP")
        for group, chosen in (("heads", names[~is_mlp]), ("mlps", names[is_mlp])):
            if len(chosen):
                pair = (table[measure][chosen].to_numpy() for table in (now, before))
                found.append((group, "prediction", correlation, *rank_correlation(*pair)))
    frame = pd.DataFrame(found, columns=[*KEYS["components"], "mean", "low", "high", "count"])
    return frame.assign(against="", noun="events")


def rank_correlation(
    now: Float[np.ndarray, "E C"], before: Float[np.ndarray, "E C"]
) -> tuple[float, float, float, int]:
    """Spearman correlation of C components' means over events with those before, low, high, count.

    Missing, and of no events, where there is no order: one component, or all of them equal.
    """
    weights = draws(len(now)) / len(now)
    found = correlations(*(rankdata(weights @ part, axis=1) for part in (now, before)))
    if np.isnan(found[0]):
        return np.nan, np.nan, np.nan, 0
    mean, low, high = told(found, interval_of_found)
    return float(mean), float(low), float(high), len(now)
