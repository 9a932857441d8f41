"""From what analyses ask of a run's steps to what looks at them.

Analyses of one job that ask for the same events share nothing but the replay; within one analysis
all scalars share their forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from circuit.attribution.asked import NONE, asked_scalars, growth_of
from circuit.attribution.data_labels import asked_labels
from circuit.attribution.group_memory import GroupMemory
from circuit.attribution.observers import AttributionObserver, Observer
from circuit.attribution.sources import OptimizerStep, UpdateSource
from circuit.attribution.trace import TraceObserver
from circuit.config.attribution import Requested, RequestedOfData
from circuit.scalars.features import Dictionary
from circuit.training.records import RunRecord


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
        selections: content of ``heads.json`` by the selecting analysis' name.
        start: first step of the stretch; an observer remembers what its window holds before it.
        dictionaries: of features, by the name of the analysis that made them.
    """
    found: dict[str, Observer] = {}
    for name, request in requests.items():
        if request["kind"] == "optimizer_trace":
            found[name] = TraceObserver(start, request["top_parameters"])
            continue
        of_data = request["kind"] == "data_attribution"
        settings = (RequestedOfData if of_data else Requested).of(request)
        source = update_source(settings, record)
        asked = asked_scalars(settings, record, selections[settings.heads], dictionaries)
        growth = growth_of(settings, record, asked, source.parts, source.summands)
        since = max(request["window"][0], start - source.memory)
        found[name] = AttributionObserver(growth, source, since)
    return found


def update_source(settings: Requested, record: RunRecord) -> UpdateSource:
    """What splits the updates that an analysis looks at."""
    if not isinstance(settings, RequestedOfData):
        return OptimizerStep()
    optimizer = record.manifest.recipe.optimizer
    return GroupMemory(record.decoder, optimizer, asked_labels(settings, record), settings.memory)
