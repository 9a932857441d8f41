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

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuit.config.scalar import ScalarSettings
from circuit.estimates import EXCESS, estimates, keys_of
from circuit.experiments.donors import exchanged
from circuit.experiments.edits import Removed
from circuit.experiments.trial import Trial
from circuit.landmarks import half_of_end_step
from circuit.measures.writes.controls import control_head, foreign_gradient, role_masks
from circuit.measures.writes.per_value import effects_per_value
from circuit.measures.writes.subspaces import Fitted, overlap_rows, write_subspaces
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
Theta = Callable[[int], Float[Tensor, " P"]]


class WritesAsked(Protocol):
    """Which writes, read where; the settings of a ``functional_write``."""

    @property
    def writes(self) -> Mapping[str, ScalarSettings]: ...

    @property
    def split(self) -> str: ...

    @property
    def roles(self) -> Sequence[str]: ...

    @property
    def rank(self) -> int: ...

    @property
    def programs(self) -> int: ...

    @property
    def seed(self) -> int: ...


def run_writes(
    record: RunRecord, decoder: Decoder, settings: WritesAsked, selection: Mapping[str, Any]
) -> pd.DataFrame:
    """The writes of an analysis of a finished run: estimates of :func:`follow_writes`, and those of
    :func:`circuit.measures.writes.per_value.effects_per_value` at both ends.

    Args:
        decoder: the run's model, or one that computes the same and counts.
        selection: from the head scan.

    Raises:
        AnalysisError: a write cannot be followed, or roles or rank do not fit.
    """
    steps, vocabulary = record.manifest.steps, record.benchmark.vocabulary
    heads = {role: selection[role] for role in ("winner", "runner_up", "bottom")}
    theta = lru_cache(maxsize=_KEPT)(record.theta)

    def writes_of(events: ReadEvents) -> dict[str, Write]:
        context = ScalarContext(
            decoder, events, record.value_ids, heads, theta, (steps[0], steps[-1]), steps[-1]
        )
        return {name: resolve_write(spec, context) for name, spec in settings.writes.items()}

    probes = record.probes(settings.split)
    effects = follow_writes(
        decoder,
        theta,
        steps,
        probes,
        record.value_ids,
        writes_of(probes),
        {name: basis_step(spec, steps[-1]) for name, spec in settings.writes.items()},
        selection["bottom"],
        settings.roles,
        settings.rank,
        settings.seed,
    )
    events = read_events(record.split(settings.split).head(settings.programs), vocabulary)
    per_value = effects_per_value(
        decoder, theta, (steps[0], steps[-1]), events, vocabulary, writes_of, settings.seed
    )
    named = effects.drop_duplicates("write").set_index("write")
    for name in ("source", "target"):
        per_value[name] = per_value["write"].map(named[name])
    rows = pd.concat([effects, per_value], ignore_index=True)
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
                Label(name, write.unit, *label): values.double()
                for name, write in writes.items()
                for label, values in _measured(seen, write, bottom, masks, other)
            }
        frames += [_means(found, step), _means(_excesses(found), step)]
        spaces[step] = write_subspaces(seen, writes, masks, rank)
    effects = estimates(pd.concat(frames, ignore_index=True), noun="events", measure="effect")
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
    side: str
    role: str
    against: str
    part: str


def _means(found: Mapping[Label, Float[Tensor, " E"]], step: int) -> pd.DataFrame:
    values = torch.stack(list(found.values()), 1).numpy()
    mean, low, high = bootstrap_means(values)
    frame = pd.DataFrame(list(found), columns=Label._fields)
    return frame.assign(step=step, mean=mean, low=low, high=high, count=len(values))


def _excesses(found: Mapping[Label, Float[Tensor, " E"]]) -> dict[Label, Float[Tensor, " E"]]:
    """What the effects are worth beyond their controls, event by event."""
    return {
        label._replace(against=f"{EXCESS} over {label.against}"): (
            found[label._replace(against="")] - values
        )
        for label, values in found.items()
        if label.against in (OTHER_EVENT, BOTTOM)
    }


def half_ways(effects: pd.DataFrame) -> pd.DataFrame:
    """Step from which every write's effect stays at half its last value or more."""
    whole = effects[(effects["part"] == "whole") & (effects["side"] == "")]
    found = []
    for name, curve in whole[whole["against"] == ""].groupby("write", sort=False):
        line = [curve.sort_values("step")[c].to_numpy() for c in ("step", "mean", "low", "high")]
        half = half_of_end_step(*line)
        found.append({"write": name, "step": line[0][-1], "mean": np.nan if half is None else half})
    return estimates(pd.DataFrame(found), "step", measure="half_way", side="", role="", part="")


def _measured(
    seen: Seen,
    write: Write,
    bottom: str,
    masks: Mapping[str, Bool[Tensor, "E T"]],
    other: Int[Tensor, " E"],
) -> Iterator[tuple[tuple[str, str, str, str], Float[Tensor, " E"]]]:
    """Everything that is told of one write at one checkpoint, one value per event.

    By side, role, control and part.
    """
    events, role, source = seen.events, write.role, write.source
    at = role_position(events, role)

    def read(found: Float[Tensor, "E S d"], where: str = role) -> Float[Tensor, " E"]:
        return at_role(write.gradient, found, events, where)

    found = change(seen, source, write.stage)
    foreign = foreign_gradient(write, events, other)
    for part in PARTS:
        of_part = getattr(found, part)
        yield ("", "", "", part), read(of_part)
        yield ("", "", OTHER_EVENT, part), at_role(foreign, of_part, events, role)
    if control := control_head(write, bottom, seen.decoder):
        for part, of_part in change(seen, control, write.stage, at)._asdict().items():
            yield ("", "", BOTTOM, part), read(of_part)
    for _, _, ablated in Trial(seen).passes({source: Removed(source)}):
        yield ("", "", ABLATION, "whole"), write.outcome(seen) - write.outcome(ablated)

    for name in masks:
        yield ("target", name, "", "whole"), read(found.whole, name)
    rest = ~torch.stack(list(masks.values())).any(0)
    left = read(found.whole)
    for name, mask in {**masks, OTHER: rest}.items():
        alone = read(change(seen, source, write.stage, at, mask).whole)
        left = left - alone
        yield ("source", name, "", "whole"), alone
    yield ("source", TOGETHER, "", "whole"), left


def effect_sites(decoder: Decoder, writes: Mapping[str, Write], bottom: str) -> frozenset[str]:
    """What a pass must leave for all that is told of the writes."""
    shape = decoder.settings
    found = {"final_norm"}
    for write in writes.values():
        found.add(stage_after(write.source, shape))
        for source in filter(None, (write.source, control_head(write, bottom, decoder))):
            found |= write_sites(source, write.stage, shape)
    return frozenset(found)
