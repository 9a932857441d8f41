"""The scalars find what was planted, and nothing in the untrained twin."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from planted import untrained_twin

from circuit.config.scalar import ScalarSettings
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.features import Dictionary
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


def by_head(circuit, events, name="qk_separation", **settings):
    return {head: values_of(circuit, events, scalar=name, head=head, **settings) for head in HEADS}


def split_off(found, head):
    """One head's values and the means of all others."""
    return found[head], {name: float(v.mean()) for name, v in found.items() if name != head}


def test_the_matching_head_separates_every_event_and_no_other_head_comes_near(
    planted, planted_events
):
    """Planted are 80 to 96 nats per match, less what recency and stale values cost."""
    found = by_head(planted, planted_events)
    matching, others = split_off(found, planted.matching_head)
    assert (matching > 50).all()
    assert matching.mean() == pytest.approx(74, abs=4)
    assert max(map(abs, others.values())) < 0.05 * float(matching.mean())


def test_its_rank_limited_separation_is_found_at_the_planted_rank(planted, planted_events):
    """Keys are matched in four directions, one per key; one direction serves one key."""
    four = values_of(
        planted, planted_events, scalar="qk_separation", head="L1H2", rank=4, basis="own"
    )
    one = values_of(
        planted, planted_events, scalar="qk_separation", head="L1H2", rank=1, basis="own"
    )
    assert (four > 40).all()
    assert float(one.mean()) < 0.5 * float(four.mean())
    keys = planted_events.query_key_id
    served = keys == planted.vocabulary.key_id(3)  # the strongest
    assert (one[served] > 40).all()
    assert (one[~served].abs() < 5).all()
    found = by_head(planted, planted_events, rank=4, basis="own")
    _, others = split_off(found, "L1H2")
    assert max(map(abs, others.values())) < 0.05 * float(four.mean())


@pytest.mark.parametrize("attribute", ["previous_token_head", "op_head"])
def test_positional_heads_do_not_separate(planted, planted_events, attribute):
    """They look a fixed number of tokens back, whatever stands there: either sign occurs."""
    head = getattr(planted, attribute)
    values = values_of(planted, planted_events, scalar="qk_separation", head=head)
    assert (values > 0).any()
    assert (values < 0).any()
    assert abs(float(values.mean())) < 3
    looks = values_of(planted, planted_events, scalar="support_attention", head=head)
    assert (looks < 1e-9).all()


def test_the_matching_head_attends_to_the_support_value(planted, planted_events):
    attention, others = split_off(
        by_head(planted, planted_events, "support_attention"), planted.matching_head
    )
    assert (attention > 0.98).all()
    assert max(others.values()) < 0.05
    separated = values_of(
        planted,
        planted_events,
        scalar="attention_separation",
        head="L1H2",
        measure="probabilities",
    )
    assert (separated > 0.98).all()


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("ov_value_margin", 7),
        ("support_mass_ov_value_margin", 7),
        ("qk_ov_product", 350),
        ("head_value_margin_dla", 7),
        ("head_margin_dla_fixed_readout", 7),
    ],
)
def test_the_matching_head_alone_writes_the_right_value(planted, planted_events, name, least):
    matching, others = split_off(by_head(planted, planted_events, name), planted.matching_head)
    assert (matching > least).all()
    assert max(others.values()) < 0.05


def test_answers_are_right_and_every_measure_of_them_says_so(planted, planted_events):
    margin = values_of(planted, planted_events, scalar="answer_margin")
    loss = values_of(planted, planted_events, scalar="negative_answer_loss")
    assert (margin > 5).all()
    assert ((loss > -0.05) & (loss < 0)).all()
    assert (values_of(planted, planted_events, scalar="correct_value_logit") > 7).all()
    soft = values_of(planted, planted_events, scalar="soft_margin")
    assert ((soft > margin - math.log(31)) & (soft < margin)).all()  # 31 values are wrong


def test_the_untrained_twin_separates_nothing(planted, untrained, planted_events):
    """Its heads' separations scatter about zero; their interval over heads and seeds holds it."""
    means = []
    for seed in range(4):
        twin = untrained_twin(planted, seed)
        means += [float(v.mean()) for v in by_head(twin, planted_events).values()]
    interval = bootstrap_mean(np.array(means))
    assert interval.low < 0 < interval.high
    assert max(map(abs, means)) < 0.3
    values = values_of(untrained, planted_events, scalar="qk_separation", head="L1H2")
    assert (values > 0).any()
    assert (values < 0).any()


def test_the_untrained_twin_answers_nothing(untrained, planted_events):
    for name in ("ov_value_margin", "head_value_margin_dla"):
        for values in by_head(untrained, planted_events, name).values():
            assert float(values.mean()) < 0
    assert (values_of(untrained, planted_events, scalar="answer_margin") < 0).all()
    assert (
        values_of(untrained, planted_events, scalar="support_attention", head="L1H2") < 0.2
    ).all()


def test_damage_to_the_matching_head_shows_in_its_scalars(planted, planted_events):
    """Turning its queries around reverses the match; its OV map is as good as before."""
    flat = planted.flat.clone()
    views = planted.decoder.layout.views(flat)
    views["layer_1.attn.W_QKV"][0, 2] *= -1
    damaged = dataclasses.replace(planted, flat=flat)
    whole, broken = (
        {
            name: values_of(circuit, planted_events, scalar=name, head="L1H2")
            for name in ("qk_separation", "ov_value_margin", "support_attention")
        }
        for circuit in (planted, damaged)
    )
    assert (broken["qk_separation"] < 0).all()
    assert (broken["support_attention"] < 0.01).all()
    torch.testing.assert_close(broken["ov_value_margin"], whole["ov_value_margin"])
    assert (values_of(damaged, planted_events, scalar="answer_margin") < 0).all()


def inside(circuit, events, stage, role, subspace, rank, **settings):
    return values_of(
        circuit,
        events,
        scalar="subspace_projection",
        stage=stage,
        role=role,
        subspace=subspace,
        rank=rank,
        **settings,
    )


def test_the_answer_arrives_among_the_values_identities_with_the_matching_head(
    planted, planted_events
):
    """The 16 axes on which values lie hold it at the prediction position after layer 1 only."""
    place = ("prediction", "embedding_value_identity", 16)
    stages = ("embedding", "layer_0_post_mlp", "layer_1_post_attn", "final_norm")
    said = {
        stage: inside(planted, planted_events, stage, *place, reading="readout") for stage in stages
    }
    assert max(float(said[stage].max()) for stage in stages[:2]) < 0.5
    assert all((said[stage] > 5).all() for stage in stages[2:])
    held = {stage: inside(planted, planted_events, stage, *place) for stage in stages[:3]}
    assert held["layer_1_post_attn"].min() > 10 * held["layer_0_post_mlp"].max()


def test_the_matching_heads_key_side_holds_the_key_of_a_written_value(planted, planted_events):
    """Four directions, one per key: a value token has one unit of them once layer 0 wrote it."""
    place = ("support_value", "head_qk_key", 4)
    before = inside(planted, planted_events, "embedding", *place, head="L1H2")
    after = inside(planted, planted_events, "layer_0_post_attn", *place, head="L1H2")
    assert before.max() < 0.05
    assert ((after > 0.9) & (after < 1.1)).all()


def test_the_untrained_twins_states_say_nothing_inside_the_values_identities(
    untrained, planted_events
):
    place = ("layer_1_post_attn", "prediction", "embedding_value_identity", 16)
    said = inside(untrained, planted_events, *place, reading="readout")
    assert float(said.mean()) < 0
    assert (said < 0).double().mean() > 0.9


def written(circuit, events, source, reference, **settings):
    """What a source writes at the prediction position, as the reference reads it."""
    value_ids = circuit.vocabulary.value_ids
    states = {0: circuit.flat, 1: reference.flat}
    context = ScalarContext(circuit.decoder, events, value_ids, {}, states.__getitem__, (0, 1), 1)
    settings = {
        "scalar": "functional_write",
        "head": source,
        "stage": "layer_1_post_mlp",
        "role": "prediction",
        "outcome": "answer_margin",
        "competitor": "fixed_target",
        **settings,
    }
    scalars = {"it": build_scalar(ScalarSettings.model_validate(settings), context)}
    return scalar_values(circuit.decoder, circuit.flat, events, value_ids, scalars)[0]


def test_the_matching_heads_write_alone_helps_the_answer_and_passes_the_mlp_by(
    planted, planted_events
):
    """The planted MLPs are noise, so the write is read through the skip connection."""
    found = {head: written(planted, planted_events, head, planted) for head in HEADS}
    matching, others = split_off(found, planted.matching_head)
    assert (matching > 2).all()
    others.pop(planted.previous_token_head)  # without it the matching head finds nothing
    assert max(map(abs, others.values())) < 0.15 * float(matching.mean())
    whole, skip, mlp = (
        written(planted, planted_events, planted.matching_head, planted, part=part)
        for part in ("whole", "skip", "mlp")
    )
    torch.testing.assert_close(skip + mlp, whole, rtol=1e-12, atol=1e-13)
    assert (mlp.abs() < 0.05 * skip).all()


def test_the_previous_token_heads_write_is_read_through_the_matching_head(planted, planted_events):
    """Its own write at the prediction position says nothing of the answer."""
    head = planted.previous_token_head
    near = written(planted, planted_events, head, planted, stage="layer_0_post_attn")
    far = written(planted, planted_events, head, planted)
    assert abs(float(near.mean())) < 0.1 * float(far.mean())
    assert (far > 1.5).all()


def test_the_answer_comes_back_with_the_key_at_the_value(planted, planted_events):
    """Without the previous token head, as the state it wrote to is put back, and at no other."""
    at = {"scalar": "rescue", "stage": "layer_0_post_attn"}
    head = planted.previous_token_head
    value, prediction = (
        written(planted, planted_events, head, planted, role=role, **at)
        for role in ("support_value", "prediction")
    )
    assert float(value.mean()) > 2
    assert abs(float(prediction.mean())) < 0.1 * float(value.mean())


def test_the_untrained_twins_writes_are_read_as_nothing(planted, planted_events):
    """By the planted reference, over heads and seeds."""
    means = []
    for seed in range(3):
        twin = untrained_twin(planted, seed)
        means += [float(written(twin, planted_events, head, planted).mean()) for head in HEADS]
    interval = bootstrap_mean(np.array(means))
    assert interval.low < 0 < interval.high


def value_features(planted, stage):
    """A dictionary whose feature i is the token embedding of value i."""
    ids = planted.vocabulary.value_ids
    rows = planted.views["embedding.token"][ids.start : ids.stop]
    rows = rows / rows.norm(dim=1, keepdim=True)
    none = torch.zeros(len(rows), dtype=rows.dtype)
    return Dictionary(rows.T, none - 0.5, rows, torch.zeros_like(rows[0]), stage)


def fired(circuit, events, dictionary, role):
    """``feature_score`` of every single feature [F, E]."""
    value_ids, states = circuit.vocabulary.value_ids, {0: circuit.flat, 1: circuit.flat}
    context = ScalarContext(
        circuit.decoder,
        events,
        value_ids,
        {},
        states.__getitem__,
        (0, 1),
        1,
        dictionaries={"values": dictionary},
    )
    base = {"scalar": "feature_score", "dictionary": "values", "role": role}
    scalars = {
        str(i): build_scalar(ScalarSettings.model_validate({**base, "features": [i]}), context)
        for i in range(dictionary.size)
    }
    return scalar_values(circuit.decoder, circuit.flat, events, value_ids, scalars)


def test_the_feature_of_a_value_fires_where_the_matching_head_copied_it(planted, planted_events):
    """At the prediction position all are silent before layer 1's attention, and then only that of
    the answer fires.
    """
    before, after = (
        fired(planted, planted_events, value_features(planted, stage), "prediction")
        for stage in ("layer_0_post_mlp", "layer_1_post_attn")
    )
    right = planted_events.answer == torch.tensor(list(planted.vocabulary.value_ids))[:, None]
    assert not before.any()
    assert (after[right] > 2).all()
    assert (after[~right] < 0.05).all()
    written = value_features(planted, "embedding")
    assert torch.equal(fired(planted, planted_events, written, "support_value") > 0, right)


def test_features_of_values_say_nothing_of_the_answer_in_untrained_twins(planted, planted_events):
    """They fire at random there, on events with their value as on others."""
    dictionary = value_features(planted, "layer_1_post_attn")
    right = planted_events.answer == torch.tensor(list(planted.vocabulary.value_ids))[:, None]

    def more_where_right(circuit):
        found = fired(circuit, planted_events, dictionary, "prediction")
        return float(found[right].mean() - found[~right].mean())

    assert more_where_right(planted) > 2
    twins = (untrained_twin(planted, seed) for seed in range(24))
    interval = bootstrap_mean(np.array([more_where_right(twin) for twin in twins]))
    assert interval.low < 0 < interval.high
