"""What the writes of components do to later states, over training; with controls.

1. One pass per checkpoint over the probe events leaves the clean states; the gradients of the
   answer are those of the reference checkpoint (:mod:`circuit.scalars.write`), made once.
2. The *effect* of a write is g · δ at its target role, and exactly the sum of its skip and MLP
   parts. Controls: the ``bottom head`` of the selection as the source, and the ``gradient of
   another event`` in place of each event's own (events in one random cycle, so none keeps its own).
   The second is what the write does for every answer alike. Excesses over both are paired.
3. ``ablation`` is the cost of the source's removal to the outcome itself in the checkpoint at hand,
   everything recomputed: what the effect, a reading by a fixed gradient, stands beside.
4. *Positions*: at the side ``target``, the same change read at each role's positions by their own
   gradients; at the side ``source``, the effect at the write's target when the write is removed at
   one role's positions only, at all ``other`` positions, and ``together``, what the whole effect
   has beyond their sum (attention and MLP respond to removals at several positions at once).
5. ``half_way`` is the step from which the effect stays at half its last value or more.
6. In which directions a source writes is told by :mod:`circuit.measures.writes.subspaces`, from the
   same passes; what a write does per answer value by :mod:`circuit.measures.writes.per_value`.

Passes per checkpoint: a whole one, and for each write one continued behind the source for its
removal everywhere, for each role, for the other positions and for the answer, and one behind the
bottom head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.errors import AnalysisError
from circuit.estimates import estimates, keys_of, over
from circuit.experiments.donors import exchanged
from circuit.experiments.edits import Removed
from circuit.experiments.trial import Trial
from circuit.landmarks import half_of_end_step
from circuit.measures.writes.per_value import Theta, effects_per_value
from circuit.measures.writes.subspaces import Fitted, Masks, overlap_rows, write_subspaces
from circuit.model.sites import stages
from circuit.model.transformer import Decoder
from circuit.scalars.base import Seen, look
from circuit.scalars.registry import ScalarContext, basis_step, resolve_write
from circuit.scalars.write import (
    PARTS,
    Write,
    at_role,
    change,
    role_position,
    stage_after,
    write_sites,
)
from circuit.statistics import bootstrap_means
from circuit.task.events import ReadEvents, read_events
from circuit.training.records import RunRecord

BOTTOM, OTHER_EVENT, ABLATION = "bottom head", "gradient of another event", "ablation"
OTHER, TOGETHER = "other", "together"
OWN, ELSEWHERE = "own role", "other role"
_KEPT = 4  # checkpoints in memory: the first, the last, the reference and the one at hand


def run_writes(
    record: RunRecord, decoder: Decoder, settings: Any, selection: Mapping[str, Any]
) -> pd.DataFrame:
    """The writes of an analysis of a finished run: estimates of :func:`follow_writes`, and those of
    :func:`circuit.measures.writes.per_value.effects_per_value` at both ends.

    Args:
        decoder: the run's model, or one that computes the same and counts.
        settings: of a ``functional_write``.
        selection: from the head scan.

    Raises:
        AnalysisError: a write cannot be followed, or roles or rank do not fit.
    """
    steps, vocabulary = record.manifest.steps, record.benchmark.vocabulary
    ends, last, value_ids = (steps[0], steps[-1]), steps[-1], record.value_ids
    heads = {role: selection[role] for role in ("winner", "runner_up", "bottom")}
    theta = lru_cache(maxsize=_KEPT)(record.theta)

    def writes_of(events: ReadEvents) -> dict[str, Write]:
        context = ScalarContext(decoder, events, value_ids, heads, theta, ends, last)
        return {name: resolve_write(spec, context) for name, spec in settings.writes.items()}

    probes = record.probes(settings.split)
    mature = {name: basis_step(spec, last) for name, spec in settings.writes.items()}
    effects = follow_writes(
        decoder, theta, steps, probes, value_ids, writes_of(probes), mature,
        heads["bottom"], settings.roles, settings.rank, settings.seed,
    )  # fmt: skip
    events = read_events(record.split(settings.split).head(settings.programs), vocabulary)
    per_value = effects_per_value(
        decoder, theta, ends, events, vocabulary, writes_of, settings.seed
    )
    named = effects.drop_duplicates("write")[["write", "source", "target"]]
    rows = pd.concat([effects, per_value.merge(named, on="write")], ignore_index=True)
    return rows.fillna(dict.fromkeys(keys_of(rows), ""))


def follow_writes(
    decoder: Decoder,
    theta: Theta,
    steps: Sequence[int],
    events: ReadEvents,
    value_ids: range,
    writes: Mapping[str, Write],
    mature: Mapping[str, int],
    bottom: str,
    roles: Sequence[str],
    rank: int,
    seed: int,
) -> pd.DataFrame:
    """Effects of all writes at all steps; see the module.

    Estimates by write, source, target (stage and role), side, role and part. Effects themselves
    have neither side nor role. Measures: ``effect``; ``half_way``; ``overlap`` with the mature
    write subspace and the variance of the writes that the subspace has ``explained``, at the side
    ``own role`` of the write or at ``other role``.

    Args:
        writes: with gradients of these events; ``mature``: each one's reference checkpoint, one of
            ``steps``.
        bottom: the head that serves as a control, for writes to stages that it reaches.
        roles: no two of them with a position in common.
        rank: of the write subspaces.
        seed: of the order in which events exchange gradients, and of random subspaces.

    Raises:
        AnalysisError: two roles share a position, an event lacks one of them, or there are fewer
            directions than ``rank``.
    """
    masks = role_masks(events, roles)
    other = exchanged(len(events), seed)
    sites = effect_sites(decoder, writes, bottom)
    frames: list[pd.DataFrame] = []
    spaces: dict[int, dict[tuple[str, str], Fitted]] = {}
    for step in steps:
        with torch.no_grad():
            seen = look(decoder, theta(step), events, value_ids, sites)
            found = {
                label: values.double()
                for name, write in writes.items()
                for label, values in _measured(seen, name, write, bottom, masks, other)
            }
        beyond = {
            label._replace(against=over(label.against)): (
                found[label._replace(against="")] - values
            )
            for label, values in found.items()
            if label.against in (OTHER_EVENT, BOTTOM)
        }
        for columns in (found, beyond):
            mean, low, high = bootstrap_means(torch.stack(list(columns.values()), 1).numpy())
            frame = pd.DataFrame(list(columns), columns=Label._fields)
            frames.append(frame.assign(step=step, mean=mean, low=low, high=high))
        spaces[step] = write_subspaces(seen, writes, masks, rank)
    effects = pd.concat(frames, ignore_index=True).assign(count=len(events))
    effects = estimates(effects, noun="events", measure="effect")
    grown = {key: spaces[mature[key[0]]][key] for key in spaces[steps[-1]]}
    overlaps = [overlap_rows(now, grown, step, len(events), seed) for step, now in spaces.items()]
    subspaces = pd.concat(overlaps, ignore_index=True)
    own = subspaces["role"] == subspaces["write"].map({name: w.role for name, w in writes.items()})
    subspaces["side"] = np.where(subspaces["role"] == "", "", np.where(own, OWN, ELSEWHERE))
    rows = pd.concat([effects, half_ways(effects), subspaces], ignore_index=True)
    rows.insert(1, "source", rows["write"].map({name: w.source for name, w in writes.items()}))
    targets = {name: f"{write.stage} at {write.role}" for name, write in writes.items()}
    rows.insert(2, "target", rows["write"].map(targets))
    return rows.fillna(dict.fromkeys(keys_of(rows), ""))


class Label(NamedTuple):
    """Which number of a write it is."""

    write: str
    unit: str
    side: str = ""
    role: str = ""
    against: str = ""
    part: str = "whole"


def half_ways(effects: pd.DataFrame) -> pd.DataFrame:
    """Step from which every write's effect stays at half its last value or more."""
    whole = effects[(effects["part"] == "whole") & (effects["side"] == "")]
    found = []
    for name, curve in whole[whole["against"] == ""].groupby("write", sort=False):
        line = [curve.sort_values("step")[c].to_numpy() for c in ("step", "mean", "low", "high")]
        found.append({"write": name, "step": line[0][-1], "mean": half_of_end_step(*line)})
    return estimates(pd.DataFrame(found), "step", measure="half_way", side="", role="", part="")


def _measured(
    seen: Seen, name: str, write: Write, bottom: str, masks: Masks, other: Int[Tensor, " E"]
) -> Iterator[tuple[Label, Float[Tensor, " E"]]]:
    """Everything that is told of one write at one checkpoint, one value per event."""
    events, role, source, label = seen.events, write.role, write.source, Label(name, write.unit)
    at = role_position(events, role)

    def read(found: Float[Tensor, "E S d"], where: str = role) -> Float[Tensor, " E"]:
        return at_role(write.gradient, found, events, where)

    found = change(seen, source, write.stage)
    foreign = foreign_gradient(write, events, other)
    for part in PARTS:
        of_part = getattr(found, part)
        yield label._replace(part=part), read(of_part)
        there = at_role(foreign, of_part, events, role)
        yield label._replace(against=OTHER_EVENT, part=part), there
    if control := control_head(write, bottom, seen.decoder):
        for part, of_part in change(seen, control, write.stage, at)._asdict().items():
            yield label._replace(against=BOTTOM, part=part), read(of_part)
    for _, _, ablated in Trial(seen).passes({source: Removed(source)}):
        yield label._replace(against=ABLATION), write.outcome(seen) - write.outcome(ablated)

    for place in masks:
        yield label._replace(side="target", role=place), read(found.whole, place)
    rest = ~torch.stack(list(masks.values())).any(0)
    left = read(found.whole)
    for place, mask in {**masks, OTHER: rest}.items():
        alone = read(change(seen, source, write.stage, at, mask).whole)
        left = left - alone
        yield label._replace(side="source", role=place), alone
    yield label._replace(side="source", role=TOGETHER), left


def foreign_gradient(
    write: Write, events: ReadEvents, other: Int[Tensor, " E"]
) -> Float[Tensor, "E T d"]:
    """Another event's gradient, the mean over its role's positions, at every position."""
    mask = events.role_mask(write.role)[..., None]
    mean = torch.where(mask, write.gradient, 0).sum(1) / mask.sum(1)
    return mean[other][:, None].expand_as(write.gradient)


def control_head(write: Write, bottom: str, decoder: Decoder) -> str | None:
    """The bottom head, unless it is the source itself or writes after the target."""
    order = stages(decoder.settings.n_layers)
    reached = order.index(stage_after(bottom, decoder.settings)) <= order.index(write.stage)
    return bottom if reached and bottom != write.source else None


def role_masks(events: ReadEvents, roles: Sequence[str]) -> dict[str, Bool[Tensor, "E T"]]:
    """The positions of roles that share out a program.

    Raises:
        AnalysisError: two roles share a position, or an event lacks one of them.
    """
    masks = {role: events.role_mask(role) for role in roles}
    for role, mask in masks.items():
        twins = [name for name, m in masks.items() if name != role and (m & mask).any()]
        if twins or not mask.any(-1).all():
            raise AnalysisError(
                what=f"role {role!r} shares positions with {twins[0]!r}"
                if twins
                else f"some events have no {role!r}",
                where="functional_write: roles",
                expected="roles that every event has, each position in at most one of them",
                do="take it away, or choose another role",
            )
    return masks


def effect_sites(decoder: Decoder, writes: Mapping[str, Write], bottom: str) -> frozenset[str]:
    """What a pass must leave for all that is told of the writes."""
    shape = decoder.settings
    found = {"final_norm"}
    for write in writes.values():
        found.add(stage_after(write.source, shape))
        for source in filter(None, (write.source, control_head(write, bottom, decoder))):
            found |= write_sites(source, write.stage, shape)
    return frozenset(found)
