"""The engine: what edits do on the planted circuit, batches, controls, and what is run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from circuit.config.scalar import ScalarSettings
from circuit.experiments.changes import Where, freeze, patch, zero
from circuit.experiments.edits import AtSites, Patched, Removed, Weights, components, weight_parts
from circuit.experiments.trial import LIKE_LENGTHS, Trial, is_readout
from circuit.model.counting import CountingDecoder
from circuit.model.sites import sites, stages
from circuit.scalars.base import Measure, pick
from circuit.scalars.behaviour import answer_logits, answer_margin, correct_value_logit
from circuit.scalars.registry import ScalarContext, build_scalar

CORRECT = Measure(
    "1",
    frozenset({"final_norm"}),
    lambda seen: (answer_logits(seen).argmax(-1) == seen.events.answer).double(),
)
OUTCOMES = {"margin": answer_margin(None), "logit": correct_value_logit()}


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(24)).crop()


def trial_of(circuit, events, parts=1, decoder=None):
    ids = circuit.vocabulary.value_ids
    return Trial.of(decoder or circuit.decoder, circuit.flat, events, ids, sites(2), parts)


@pytest.fixture(scope="module")
def trial(planted, events):
    return trial_of(planted, events)


@pytest.fixture(scope="module")
def removals(planted):
    return {name: Removed(name) for name in components(planted.decoder.settings)}


def test_only_the_planted_heads_matter(planted, trial, removals):
    assert trial.unedited({"correct": CORRECT})["correct"].all()
    found = trial.run(removals, {"correct": CORRECT})
    accuracy = {name: values["correct"].mean() for (name, _), values in found.items()}
    heads = {planted.previous_token_head, planted.op_head, planted.matching_head}
    assert {name for name, value in accuracy.items() if value < 0.9} <= heads
    assert accuracy[planted.matching_head] < 0.2


def test_a_scalar_behind_the_edit_sees_it_and_one_before_it_does_not(
    planted, trial, events, removals
):
    """Without the previous-token head the matching head finds nothing; layer 0 looks as it did."""
    context = ScalarContext(
        planted.decoder, events, planted.vocabulary.value_ids, {}, lambda _: planted.flat, (0, 1), 1
    )
    scalars = {
        head: build_scalar(ScalarSettings(scalar="support_attention", head=head), context)
        for head in (planted.previous_token_head, planted.matching_head)
    }
    clean = trial.unedited(scalars)
    ((_, after),) = trial.run({"it": removals[planted.previous_token_head]}, scalars).items()
    assert clean[planted.matching_head].min() > 0.9
    assert after[planted.matching_head].mean() < 0.3
    early = planted.previous_token_head
    np.testing.assert_array_equal(after[early], clean[early])


def test_a_frozen_pattern_survives_the_loss_of_its_cause(trial):
    """With layer 1's attention held as it was, layer 0 is needed for nothing any more."""
    broken = Where("layer_0_attn_write"), zero()
    held = Where("layer_1_pattern"), freeze(trial.clean.sites["layer_1_pattern"])
    edits = {"broken": AtSites((broken,)), "held": AtSites((broken, held))}
    found = trial.run(edits, {"correct": CORRECT})
    assert found["broken", ""]["correct"].mean() < 0.2
    assert found["held", ""]["correct"].all()


@pytest.mark.parametrize("parts", [1, LIKE_LENGTHS])
def test_a_batch_is_its_edits_one_by_one(planted, untrained, events, trial, removals, parts):
    donor = trial_of(untrained, events)
    patches = {
        (stage, role): Patched(stage, donor.clean.sites[stage], role)
        for stage in stages(2)
        for role in ("prediction", "support_value")
    }
    edits = removals | patches
    together = trial_of(planted, events, parts).run(edits, OUTCOMES)
    assert [label for label, _ in together] == list(edits)
    for label, edit in edits.items():
        alone = trial.run({label: edit}, OUTCOMES)[label, ""]
        for name in OUTCOMES:
            np.testing.assert_allclose(together[label, ""][name], alone[name], rtol=1e-10)


def test_the_path_that_reads_inner_sites_gives_the_same_answers(untrained, events, trial, removals):
    """Edits inside an attention or MLP are carried out first, or by a tap as the pass goes on."""
    inner = [site for site in sites(2) if site not in stages(2)]
    donor = trial_of(untrained, events).clean.sites
    here = {
        site: AtSites(((Where(site), patch(donor[site])),))
        for site in inner
        if not site.endswith("scores")
    }
    late = ("z", "k", "pattern", "attn_input", "ln2_scale", "neurons", "mlp_write", "post_attn")
    masked = [
        Where(f"layer_1_{site}", events.role_mask("prediction"), (2,) if site in "zk" else None)
        for site in late
    ]
    here |= {
        (where.site, "too"): AtSites(
            ((Where("layer_0_z"), zero()), (where, patch(donor[where.site])))
        )
        for where in masked
    }
    scale = Measure("1", frozenset({"final_norm_scale"}), at_prediction)
    outcomes = OUTCOMES | {"scale": scale}
    answers = trial.run(removals | here, outcomes)
    stage = "layer_1_post_mlp"
    norm = Measure("1", frozenset({stage}), lambda seen: seen.sites[stage].norm(dim=-1)[:, 0])
    changed = 0
    for key, values in trial.run(removals | here, outcomes | {"norm": norm}).items():
        for name in outcomes:
            np.testing.assert_allclose(values[name], answers[key][name], rtol=1e-9, atol=1e-9)
        changed += not np.allclose(values["scale"], trial.unedited(outcomes)["scale"], rtol=1e-6)
    assert changed >= len(here) - 2


def at_prediction(seen):
    return pick(seen.sites["final_norm_scale"], seen.events.prediction)[:, 0]


def test_a_batch_is_bounded_and_that_changes_nothing(monkeypatch, planted, events, removals):
    together = trial_of(planted, events).run(removals, OUTCOMES)
    monkeypatch.setattr("circuit.experiments.trial._TOGETHER", 1)
    counting = CountingDecoder(planted.decoder)
    one_by_one = trial_of(planted, events, decoder=counting).run(removals, OUTCOMES)
    assert counting.passes.continued == len(removals)
    for key, values in one_by_one.items():
        for name in OUTCOMES:
            np.testing.assert_allclose(values[name], together[key][name], rtol=1e-10)


def test_edits_are_repeated_as_every_control(planted, untrained, events, trial):
    layout = planted.decoder.layout
    edits = {
        part.group: Weights(layout, part, planted.flat, untrained.flat)
        for part in weight_parts(layout, ["module"])
    }
    controls = {
        "own": lambda edit: replace(edit, donor=planted.flat),
        "same": lambda edit: edit,
    }
    found = trial.run(edits, OUTCOMES, controls)
    assert list(found) == [(group, name) for group in edits for name in ("", "own", "same")]
    clean = trial.unedited(OUTCOMES)
    changed = 0
    for group in edits:
        for name in OUTCOMES:
            own, same = found[group, "own"][name], found[group, "same"][name]
            np.testing.assert_allclose(own, clean[name], rtol=1e-10)
            np.testing.assert_array_equal(same, found[group, ""][name])
            changed += not np.allclose(same, own)
    assert changed >= 3 * len(OUTCOMES)  # the embedding and both layers' attention


def test_only_what_lies_behind_an_edit_runs_again(planted, events, removals):
    counting = CountingDecoder(planted.decoder)
    trial = trial_of(planted, events, decoder=counting)
    whole = counting.passes.program_layers
    trial.run(removals, OUTCOMES)
    assert (counting.passes.whole, counting.passes.continued) == (1, 4)
    heads = planted.decoder.settings.n_heads
    expected = len(events) * (heads * 1.5 + 1 + heads * 0.5)
    assert counting.passes.program_layers - whole == expected
    head = planted.matching_head
    trial.run({head: removals[head]}, {"margin": OUTCOMES["margin"]})
    assert counting.passes.continued == 5


def test_no_gradient_is_kept_and_none_is_turned_off_outside(trial, removals):
    passes = trial.passes(removals)
    next(passes)
    assert torch.is_grad_enabled()
    assert not answer_logits(next(passes)[2]).requires_grad


def test_the_answer_reads_one_position_behind_the_last_attention(planted):
    """And behind the last MLP the stage is the answer itself."""
    shape = planted.decoder.settings
    inside = [stage for stage in stages(2) if is_readout(stage, "prediction", shape)]
    assert inside == ["layer_1_post_attn", "layer_1_post_mlp", "final_norm"]
    behind = [stage for stage in inside if is_readout(stage, "query_key", shape, "MLP")]
    assert behind == inside[1:]
    for role, site in (
        ("support_value", inside[0]),
        ("prediction", "layer_0_post_mlp"),
        ("prediction", "layer_1_mlp_write"),
    ):
        assert not is_readout(site, role, shape)


@pytest.mark.parametrize("stage", stages(2)[:-1])
def test_all_other_positions_matter_up_to_there(planted, trial, events, stage):
    elsewhere = ~events.role_mask("prediction")
    gone = AtSites(((Where(stage, elsewhere), zero()),))
    ((_, found),) = trial.run({"": gone}, OUTCOMES).items()
    moved = np.abs(found["margin"] - trial.unedited(OUTCOMES)["margin"]).max()
    assert (moved < 1e-9) == is_readout(stage, "prediction", planted.decoder.settings)
