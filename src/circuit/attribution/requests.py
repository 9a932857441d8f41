"""From what analyses ask of a replay to the observers that watch it.

Analyses of one job that ask for the same events share nothing but the replay; within one analysis
all scalars share their forward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from circuit.attribution.engine import Engine, evaluator, grouped
from circuit.attribution.observers import AttributionObserver, Observer, TraceObserver
from circuit.config.kinds.attribution import UpdateAttribution
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import halves
from circuit.training.records import RunRecord


def observers(
    requests: Mapping[str, dict[str, Any]],
    record: RunRecord,
    selections: Mapping[str, dict[str, Any]],
) -> dict[str, Observer]:
    """One observer per request, by analysis name.

    Args:
        requests: settings in JSON's types, as ``Plan.requests`` gives them.
        selections: content of ``selection.json`` by the selecting analysis' name.
    """
    return {
        name: TraceObserver(request["top_parameters"])
        if request["kind"] == "optimizer_trace"
        else _attribution(UpdateAttribution.model_validate(request), record, selections)
        for name, request in requests.items()
    }


def _attribution(
    settings: UpdateAttribution, record: RunRecord, selections: Mapping[str, dict[str, Any]]
) -> AttributionObserver:
    decoder = record.decoder
    probes = record.probes(settings.split)
    # The other half chose the heads: attributing on it would count the choice's luck as growth.
    _, confirming = halves(len(probes))
    events = probes.select(torch.from_numpy(confirming[: settings.events])).crop()
    assert not isinstance(settings.window, str)  # the plan resolves names
    selection = selections[settings.selection]
    context = ScalarContext(
        decoder=decoder,
        events=events,
        value_ids=record.value_ids,
        heads={role: selection[role] for role in ("winner", "runner_up", "bottom")},
        theta=record.theta,
        window=settings.window,
        last=record.manifest.steps[-1],
    )
    scalars = {name: build_scalar(s, context) for name, s in settings.scalars.items()}
    engine = Engine(
        decoder.layout, evaluator(decoder, events, record.value_ids), scalars, settings.rules
    )
    return AttributionObserver(
        engine,
        grouped(decoder.layout, settings.groups),
        grouped(decoder.layout, settings.summed_groups),
        record.manifest.steps,
    )
