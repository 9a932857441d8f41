"""What an edit leaves: by the tap, by changed weights, by hand; all in float64. Donors of it."""

import numpy as np
import pytest
import torch

from circuit.errors import AnalysisError
from circuit.experiments.changes import Where, edits, freeze, mean, patch, replace, zero
from circuit.experiments.donors import exchanged, of_other_events
from circuit.experiments.edits import (
    AtSites,
    Patched,
    Removed,
    Weights,
    components,
    removal_sites,
    shuffled_change,
    weight_parts,
    with_part,
)
from circuit.experiments.trial import Trial
from circuit.model.sites import sites, stages
from circuit.model.tap import Tap
from circuit.scalars.base import pick
from circuit.scalars.behaviour import answer_logits

ROLES = ("prediction", "support_value", "value_distractors", "prior_answers", "causal_prefix")
GROUPINGS = ("whole", "layer", "module", "head", "head_projection")


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 60, 5)).crop()


@pytest.fixture(scope="module")
def trial(planted, events):
    """The planted network's pass over the events, with every site."""
    ids = planted.vocabulary.value_ids
    return Trial.of(planted.decoder, planted.flat, events, ids, sites(2))


@pytest.fixture(scope="module")
def twin(planted, untrained, events):
    """The untrained twin's pass over the same events."""
    ids = planted.vocabulary.value_ids
    return Trial.of(planted.decoder, untrained.flat, events, ids, stages(2))


def logits(trial, edit):
    ((_, _, seen),) = trial.passes({"it": edit})
    return answer_logits(seen)


def answers_of(trial):
    return answer_logits(trial.clean)


def run(trial, params=None, tap=None):
    """Answer logits of a whole pass."""
    seen = trial.clean
    found = seen.decoder.forward(params or seen.params, seen.events.tokens, tap)
    return pick(found, seen.events.prediction)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def written(name):
    """Where a component's write can be edited, and its output weights."""
    layer = f"layer_{name[1]}"
    if name.endswith("MLP"):
        return Where(f"{layer}_mlp_write"), f"{layer}.mlp.W_out", slice(None)
    return Where(f"{layer}_z", heads=(int(name[3]),)), f"{layer}.attn.W_O", int(name[3])


# A write removed


def test_zero_in_place_of_a_write_equals_a_tap_and_weights_that_write_nothing(trial):
    for name in components(trial.clean.decoder.settings):
        where, parameter, rows = written(name)
        params = {key: value.clone() for key, value in trial.clean.params.items()}
        params[parameter][rows] = 0
        if name.endswith("MLP"):
            params[f"layer_{name[1]}.mlp.b_out"].zero_()
        found = logits(trial, Removed(name))
        close(found, run(trial, tap=Tap(edits=edits((where, zero())))))
        close(found, run(trial, params))
        assert not torch.allclose(found, answers_of(trial))


def test_the_mean_in_place_of_a_write_equals_a_tap_and_biases_that_write_it(trial):
    for name in components(trial.clean.decoder.settings):
        where, parameter, rows = written(name)
        source = trial.clean.sites[where.site][trial.clean.events.causal_prefix].mean(0)
        params = {key: value.clone() for key, value in trial.clean.params.items()}
        if name.endswith("MLP"):
            params[f"layer_{name[1]}.mlp.b_out"].copy_(source)
        else:
            params[f"layer_{name[1]}.attn.b_O"] += source[rows] @ params[parameter][rows]
        params[parameter][rows] = 0
        found = logits(trial, Removed(name, "mean"))
        close(found, run(trial, tap=Tap(edits=edits((where, mean(source))))))
        close(found, run(trial, params))


def test_a_write_removed_at_some_positions_is_removed_there_alone(trial, planted, events):
    at = events.role_mask("prediction")
    head = planted.matching_head
    close(logits(trial, Removed(head, positions=at)), logits(trial, Removed(head)))
    close(logits(trial, Removed(head, positions=~at)), answers_of(trial))


def test_the_sites_of_a_removal_are_enough(planted, events):
    ids, layers = planted.vocabulary.value_ids, planted.decoder.settings.n_layers
    trial = Trial.of(planted.decoder, planted.flat, events, ids, removal_sites(layers))
    names = components(planted.decoder.settings)
    assert len(list(trial.passes({name: Removed(name, "mean") for name in names}))) == 10


def test_an_unknown_component_is_refused(trial):
    with pytest.raises(AnalysisError, match="L7MLP"):
        logits(trial, Removed("L7MLP"))


# States of another pass


@pytest.mark.parametrize("stage", stages(2))
def test_states_put_in_are_what_a_tap_puts_in(trial, twin, events, stage):
    states = twin.clean.sites[stage]
    for role in ROLES:
        where = Where(stage, events.role_mask(role))
        expected = run(trial, tap=Tap(edits=edits((where, patch(states)))))
        close(logits(trial, Patched(stage, states, role)), expected)
        close(logits(trial, AtSites(((where, patch(states)),))), expected)


@pytest.mark.parametrize("stage", stages(2))
def test_own_states_change_nothing(trial, twin, stage):
    for own in (trial, twin):
        edit = Patched(stage, own.clean.sites[stage], "causal_prefix")
        close(logits(own, edit), answers_of(own))


def test_the_last_state_is_read_by_the_receivers_unembedding(trial, twin, planted):
    states = twin.clean.sites["final_norm"]
    found = logits(trial, Patched("final_norm", states, "prediction"))
    state = pick(states, twin.clean.events.prediction)
    close(found, state @ planted.views["embedding.token"].T)


def test_the_control_of_a_patch_takes_the_next_events_states(trial, events):
    """The last event's next one is the first: each gives the other event's answer."""
    stage = "layer_1_post_mlp"
    edit = Patched(stage, trial.clean.sites[stage], "prediction").of_other_events(events)
    assert torch.equal(logits(trial, edit).argmax(-1), events.answer.roll(-1))


# Another state's weights


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_weights_put_in_are_those_of_a_mixed_model(trial, planted, untrained, grouping):
    layout = planted.decoder.layout
    for part in weight_parts(layout, [grouping]):
        edit = Weights(layout, part, planted.flat, untrained.flat)
        close(logits(trial, edit), run(trial, layout.views(edit.theta())))


def test_all_weights_are_the_donor_and_ones_own_the_receiver(trial, twin, planted, untrained):
    layout = planted.decoder.layout
    (whole,) = weight_parts(layout, ["whole"])
    close(logits(trial, Weights(layout, whole, planted.flat, untrained.flat)), answers_of(twin))
    close(logits(trial, Weights(layout, whole, planted.flat, planted.flat)), answers_of(trial))


# Any site


@pytest.mark.parametrize("site", sorted(set(sites(2)) - set(stages(2))))
def test_a_change_of_any_site_is_what_a_tap_makes_it(trial, site):
    where = Where(site)
    change = replace(torch.tensor(0.3)) if site.endswith("scale") else zero()
    found = logits(trial, AtSites(((where, change),)))
    close(found, run(trial, tap=Tap(edits=edits((where, change)))))
    assert not torch.allclose(found, answers_of(trial))


@pytest.mark.parametrize("site", sites(2))
def test_a_frozen_site_changes_nothing(trial, site):
    edit = AtSites(((Where(site), freeze(trial.clean.sites[site])),))
    torch.testing.assert_close(logits(trial, edit), answers_of(trial), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("site", "stage"),
    [
        ("embedding", "embedding"),
        ("layer_0_pattern", "embedding"),
        ("layer_0_neurons", "layer_0_post_attn"),
        ("layer_1_post_attn", "layer_1_post_attn"),
        ("layer_1_ln1_scale", "layer_0_post_mlp"),
        ("final_norm_scale", "layer_1_post_mlp"),
        ("final_norm", "final_norm"),
    ],
)
def test_a_pass_goes_on_from_the_last_stage_before_a_site(planted, site, stage):
    assert AtSites(((Where(site), zero()),)).stage(planted.decoder.settings) == stage


def test_several_sites_change_in_one_pass(trial, events):
    """A later change of one stage sees what an earlier site's brought there, as in a tap."""
    at = events.role_mask("prediction")
    changes = (
        (Where("layer_0_neurons"), zero()),
        (Where("layer_0_post_attn", at), replace(torch.tensor(0.5))),
        (Where("layer_1_post_attn", ~at), zero()),
    )
    edit = AtSites(changes)
    assert edit.stage(trial.clean.decoder.settings) == "layer_0_post_attn"
    close(logits(trial, edit), run(trial, tap=Tap(edits=edits(*changes))))


# Parameter groups of two states


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_a_mixed_vector_is_the_donors_in_the_groups_atoms_alone(planted, untrained, grouping):
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


# Whose states stand for an event's own


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
