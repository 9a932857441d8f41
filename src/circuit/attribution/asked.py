"""What an attribution asks for, made: its scalars on its events, and what gathers their growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from circuit.attribution.engine import Engine, evaluator
from circuit.attribution.growth import Growth
from circuit.attribution.products import grouped
from circuit.attribution.sources import WHOLE, Part
from circuit.config.attribution import Requested
from circuit.scalars.base import Scalar
from circuit.scalars.features import Dictionary
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import halves
from circuit.task.events import ReadEvents
from circuit.training.records import RunRecord

NONE: Mapping[str, Dictionary] = MappingProxyType({})


def attributed_events(settings: Requested, record: RunRecord) -> ReadEvents:
    """The probe events that scalars are attributed on.

    The other half chose the heads: attributing on it would count the choice's luck as growth.
    """
    probes = record.probes(settings.split)
    _, confirming = halves(len(probes))
    return probes.select(torch.from_numpy(confirming[: settings.events])).crop()


class Asked(NamedTuple):
    """The scalars of an analysis, the events that they are of, and the heads that it selected."""

    scalars: dict[str, Scalar]
    events: ReadEvents
    heads: dict[str, str]


def asked_scalars(
    settings: Requested,
    record: RunRecord,
    selection: Mapping[str, Any],
    dictionaries: Mapping[str, Dictionary] = NONE,
) -> Asked:
    """What an analysis attributes.

    Args:
        selection: content of the ``heads.json`` that roles of heads refer to.
        dictionaries: of features, by the name of the analysis that made them.
    """
    events = attributed_events(settings, record)
    heads = {role: selection[role] for role in ("winner", "runner_up", "bottom")}
    assert not isinstance(settings.window, str)  # the plan resolves names
    context = ScalarContext(
        decoder=record.decoder,
        events=events,
        value_ids=record.value_ids,
        heads=heads,
        theta=record.theta,
        window=settings.window,
        last=record.manifest.steps[-1],
        dictionaries=dictionaries,
    )
    scalars = {name: build_scalar(s, context) for name, s in settings.scalars.items()}
    return Asked(scalars, events, heads)


def growth_of(
    settings: Requested,
    record: RunRecord,
    asked: Asked,
    parts: Sequence[Part] = WHOLE,
    summands: int = len(WHOLE),
) -> Growth:
    """What gathers the growth of an analysis' scalars.

    Args:
        parts, summands: of the updates it will be given.
    """
    decoder = record.decoder
    evaluate = evaluator(decoder, asked.events, record.value_ids)
    per_step, summed = (
        grouped(decoder.layout, names, settings.groupings, asked.heads)
        for names in (settings.groups, settings.summed_groups)
    )
    return Growth(
        Engine(decoder.layout, evaluate, asked.scalars, settings.rules),
        parts,
        summands,
        per_step,
        summed,
        record.manifest.steps,
    )
