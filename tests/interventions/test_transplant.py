"""Parts of one checkpoint in another: by the tap, by mixed vectors, by hand; all in float64."""

import numpy as np
import pytest
import torch

from circuit.interventions.edits import Where, edits, patch
from circuit.interventions.transplant import (
    checkpoint_pass,
    logits_with_states,
    logits_with_weights,
    of_other_events,
    shuffled_change,
    weight_parts,
    with_part,
)
from circuit.model.counting import CountingDecoder
from circuit.model.sites import stages
from circuit.model.tap import Tap
from circuit.scalars.base import pick
from circuit.scalars.behaviour import answer_logits

ROLES = ("prediction", "support_value", "value_distractors", "prior_answers", "causal_prefix")
GROUPINGS = ("whole", "layer", "module", "head", "head_projection")


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 60, 5)).crop()


@pytest.fixture(scope="module")
def passes(planted, untrained, events):
    """The planted network, its twin, and their passes over the events."""
    ids = planted.vocabulary.value_ids
    return [checkpoint_pass(planted.decoder, c.flat, events, ids) for c in (planted, untrained)]


def run(decoder, theta, events, tap=None):
    return pick(decoder.forward(decoder.layout.views(theta), events.tokens, tap), events.prediction)


@pytest.mark.parametrize("stage", stages(2))
def test_states_put_in_are_what_a_tap_puts_in(planted, passes, events, stage):
    receiver, donor = passes
    states = donor.sites[stage]
    found = logits_with_states(receiver, stage, [states] * len(ROLES), ROLES)
    for role, logits in zip(ROLES, found, strict=True):
        where = Where(stage, events.role_mask(role))
        tap = Tap(edits=edits((where, patch(states))))
        expected = run(planted.decoder, planted.flat, events, tap)
        torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stage", stages(2)[:-1])
def test_all_states_but_the_readout_are_the_donor_from_there_on(planted, passes, stage):
    """Own states change nothing; the donor's everywhere, read by the donor, are the donor."""
    receiver, donor = passes
    own = logits_with_states(receiver, stage, [receiver.sites[stage]], ["causal_prefix"])[0]
    torch.testing.assert_close(own, answer_logits(receiver), rtol=1e-10, atol=1e-10)
    moved = logits_with_states(donor, stage, [donor.sites[stage]], ["causal_prefix"])[0]
    torch.testing.assert_close(moved, answer_logits(donor), rtol=1e-10, atol=1e-10)


def test_the_last_state_is_read_by_the_receivers_unembedding(planted, untrained, passes):
    receiver, donor = passes
    found = logits_with_states(receiver, "final_norm", [donor.sites["final_norm"]], ["prediction"])[
        0
    ]
    state = pick(donor.sites["final_norm"], donor.events.prediction)
    expected = state @ planted.views["embedding.token"].T
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_weights_put_in_are_those_of_a_mixed_model(planted, untrained, passes, events, grouping):
    receiver = passes[0]
    layout = planted.decoder.layout
    parts = weight_parts(layout, [grouping])
    assert np.sum([part.atoms for part in parts], axis=0).tolist() == [1] * len(layout.atoms)
    labels = layout.groups(grouping)
    for part in parts:
        mixed = with_part(layout, planted.flat, untrained.flat, part.atoms)
        for atom in layout.atoms[labels == part.group].itertuples():
            inside = slice(atom.offset, atom.offset + atom.size)
            assert torch.equal(mixed[inside], untrained.flat[inside])
        changed = int((mixed != planted.flat).sum())
        assert changed <= int(layout.atoms["size"][labels == part.group].sum())
        found = logits_with_weights(receiver, mixed, part.stage)
        expected = run(planted.decoder, mixed, events)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_all_weights_are_the_donor_and_none_are_the_receiver(planted, untrained, passes):
    receiver, donor = passes
    layout = planted.decoder.layout
    for chosen, expected in ((True, donor), (False, receiver)):
        atoms = np.full(len(layout.atoms), chosen)
        mixed = with_part(layout, planted.flat, untrained.flat, atoms)
        found = logits_with_weights(receiver, mixed, None)
        assert torch.equal(found, answer_logits(expected))


def test_a_pass_goes_on_from_the_last_stage_that_a_group_leaves_alone(planted):
    parts = {p.group: p.stage for p in weight_parts(planted.decoder.layout, ["head_projection"])}
    assert parts["embedding"] is None
    assert parts["L0H3.q"] == parts["layer_0.ln1"] == "embedding"
    assert parts["layer_0.ln2"] == parts["layer_0.mlp"] == "layer_0_post_attn"
    assert parts["L1H0.o"] == parts["layer_1.attn"] == "layer_0_post_mlp"
    assert parts["layer_1.mlp"] == "layer_1_post_attn"
    assert parts["final_norm"] == "layer_1_post_mlp"
    (layer,) = (p for p in weight_parts(planted.decoder.layout, ["layer"]) if p.group == "layer_1")
    assert layer.stage == "layer_0_post_mlp"


def test_only_what_differs_is_run(planted, passes):
    receiver, donor = passes
    counting = CountingDecoder(planted.decoder)
    watched = receiver._replace(decoder=counting)
    logits_with_states(
        watched, "layer_0_post_mlp", [donor.sites["layer_0_post_mlp"]] * 2, ROLES[:2]
    )
    logits_with_weights(watched, planted.flat, "layer_1_post_attn")
    assert (counting.passes.whole, counting.passes.continued) == (0, 2)
    assert counting.passes.program_layers == len(receiver.events) * (2 + 0.5)


@pytest.mark.parametrize("role", ROLES)
def test_another_events_states_stand_at_the_same_role_counted_from_the_last(passes, events, role):
    states = passes[0].sites["embedding"]
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


def test_a_shuffled_change_keeps_every_atoms_size_and_entries(planted, untrained):
    layout = planted.decoder.layout
    shuffled = shuffled_change(layout, planted.flat, untrained.flat, 3)
    change, other = untrained.flat - planted.flat, shuffled - planted.flat
    for atom in layout.atoms.itertuples():
        inside = slice(atom.offset, atom.offset + atom.size)
        torch.testing.assert_close(other[inside].sort().values, change[inside].sort().values)
    cosine = float(change @ other / change.norm() / other.norm())
    assert abs(cosine) < 0.05
    assert torch.equal(shuffled, shuffled_change(layout, planted.flat, untrained.flat, 3))
    assert not torch.equal(shuffled, shuffled_change(layout, planted.flat, untrained.flat, 4))
