"""Whose states stand for an event's own."""

import pytest
import torch

from circuit.experiments.donors import exchanged, of_other_events

ROLES = ("prediction", "support_value", "value_distractors", "prior_answers", "causal_prefix")


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 60, 5)).crop()


@pytest.mark.parametrize("role", ROLES)
def test_another_events_states_stand_at_the_same_role_counted_from_the_last(events, role):
    states = torch.randn(*events.tokens.shape, 3)
    found = of_other_events(states, events, role)
    mask = events.role_mask(role)
    seen = 0
    for event in range(len(events)):
        other = (event + 1) % len(events)
        mine, theirs = mask[event].nonzero()[:, 0].tolist(), mask[other].nonzero()[:, 0].tolist()
        for back, position in enumerate(reversed(mine)):
            if theirs:
                place = theirs[::-1][back % len(theirs)]
                assert torch.equal(found[event, position], states[other, place])
                seen += 1
    assert seen > 0


def test_an_exchange_leaves_no_event_its_own_gradient():
    for count in (2, 3, 17, 96):
        other = exchanged(count, 0)
        assert sorted(other.tolist()) == list(range(count))
        assert (other != torch.arange(count)).all()
    assert exchanged(96, 0).equal(exchanged(96, 0))
    assert not exchanged(96, 0).equal(exchanged(96, 1))
