"""The scalars find what was planted, and nothing in the untrained twin."""

import numpy as np
import pytest
import torch

from circuit.config.analysis import ScalarSettings
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.registry import ScalarContext, build_scalar
from circuit.statistics import bootstrap_mean

HEADS = [f"L{layer}H{head}" for layer in (0, 1) for head in range(4)]


def values_of(circuit, events, **settings):
    """A scalar of a planted or untrained circuit on every event."""
    value_ids = circuit.vocabulary.value_ids
    context = ScalarContext(
        circuit.decoder, events, value_ids, {}, lambda _: circuit.flat, (0, 1), 1
    )
    scalars = {"it": build_scalar(ScalarSettings.model_validate(settings), context)}
    return scalar_values(circuit.decoder, circuit.flat, events, value_ids, scalars)[0]


def separations(circuit, events, **settings):
    return {
        head: values_of(circuit, events, scalar="qk_separation", head=head, **settings)
        for head in HEADS
    }


def test_the_matching_head_separates_every_event_and_no_other_head_comes_near(
    planted, planted_events
):
    found = separations(planted, planted_events)
    matching = found.pop(planted.matching_head)
    assert (matching > 0).all()
    best_other = max(float(values.mean()) for values in found.values())
    assert float(matching.mean()) > 30
    print({h: float(v.mean()) for h, v in found.items()}, matching.mean(), best_other)
