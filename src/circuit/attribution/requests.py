"""From what analyses ask of a run's steps to what looks at them.

Analyses of one job that ask for the same events share nothing but the replay; within one analysis
all scalars share their forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from circuit.attribution.data_labels import DataLabels, label_programs
from circuit.attribution.engine import Engine, evaluator
from circuit.attribution.group_memory import GroupMemory
from circuit.attribution.growth import Growth
from circuit.attribution.observers import AttributionObserver, Observer
from circuit.attribution.products import grouped
from circuit.attribution.sources import WHOLE, OptimizerStep, Part, UpdateSource
from circuit.attribution.trace import TraceObserver
from circuit.config.kinds.attribution import Attribution, DataAttribution, UpdateAttribution
from circuit.scalars.base import Scalar
from circuit.scalars.features import Dictionary
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import halves
from circuit.task.events import ReadEvents
from circuit.training.records import RunRecord

NONE: Mapping[str, Dictionary] = MappingProxyType({})


def observers(
    requests: Mapping[str, dict[str, Any]],
    record: RunRecord,
    selections: Mapping[str, dict[str, Any]],
    start: int,
    dictionaries: Mapping[str, Dictionary] = NONE,
) -> dict[str, Observer]:
    """One observer per request, by analysis name.

    Args:
        requests: settings in JSON's types, as ``Plan.requests`` gives them.
        selections: content of ``selection.json`` by the selecting analysis' name.
        start: first step of the stretch; an observer remembers what its window holds before it.
        dictionaries: of features, by the name of the analysis that made them.
    """
    found: dict[str, Observer] = {}
    for name, request in requests.items():
        if request["kind"] == "optimizer_trace":
            found[name] = TraceObserver(start, request["top_parameters"])
            continue
        kind = DataAttribution if request["kind"] == "data_attribution" else UpdateAttribution
        settings = kind.model_validate(request)
        source = update_source(settings, record)
        asked = asked_scalars(settings, record, selections[settings.selection], dictionaries)
        growth = growth_of(settings, record, asked, source.parts, source.summands)
        since = max(request["window"][0], start - source.memory)
        found[name] = AttributionObserver(growth, source, since)
    return found


def update_source(settings: Attribution, record: RunRecord) -> UpdateSource:
    """What splits the updates that an analysis looks at."""
    if not isinstance(settings, DataAttribution):
        return OptimizerStep()
    optimizer = record.manifest.recipe.optimizer
    return GroupMemory(record.decoder, optimizer, data_labels(settings, record), settings.memory)


def data_labels(settings: DataAttribution, record: RunRecord) -> DataLabels:
    """What an analysis groups the training programs' tokens by."""
    programs = record.split(record.manifest.recipe.train_split)
    vocabulary = record.benchmark.vocabulary
    return label_programs(programs, vocabulary, settings.data, settings.buckets, settings.seed)


def attributed_events(settings: Attribution, record: RunRecord) -> ReadEvents:
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
    settings: Attribution,
    record: RunRecord,
    selection: Mapping[str, Any],
    dictionaries: Mapping[str, Dictionary] = NONE,
) -> Asked:
    """What an analysis attributes.

    Args:
        selection: content of the ``selection.json`` that roles of heads refer to.
        dictionaries: as for :func:`observers`.
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
    settings: Attribution,
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
