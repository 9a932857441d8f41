"""The fixture that other tests lean on does what it says."""

import pytest
import torch
from planted import PlantedCircuit, planted_decoder

from circuit.config.benchmark import SPLITS
from circuit.model.sites import parse_head
from circuit.model.tap import Tap
from circuit.task.events import ReadEvents, read_events
from circuit.task.vocabulary import Vocabulary


def forward(circuit: PlantedCircuit, events: ReadEvents, *capture: str):
    """Logits [event, V] at the prediction positions, and the captured sites."""
    tap = Tap(capture=capture)
    logits = circuit.decoder.forward(circuit.views, events.tokens, tap)
    return logits[torch.arange(len(events)), events.prediction], tap.cache


def attention(cache, events: ReadEvents, head: str, site: str = "pattern"):
    """One head's attention, or scores, from the prediction position [event, T]."""
    layer, number = parse_head(head, 2, 4)
    return cache[f"layer_{layer}_{site}"][torch.arange(len(events)), number, events.prediction]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("split", SPLITS)
def test_every_read_of_every_split_is_answered(planted_benchmark, split, dtype):
    vocabulary = planted_benchmark.vocabulary
    events = read_events(planted_benchmark.splits[split], vocabulary)
    logits, cache = forward(planted_decoder(vocabulary, dtype=dtype), events, "layer_1_pattern")
    assert logits.dtype == dtype
    assert (logits.argmax(1) == events.answer).all()
    assert (logits.softmax(1).gather(1, events.answer[:, None]) > 0.95).all()
    mass = attention(cache, events, "L1H2").gather(1, events.support_value[:, None])
    assert (mass > 0.98).all()


@pytest.mark.parametrize(("attribute", "back"), [("previous_token_head", 1), ("op_head", 2)])
def test_positional_heads_attend_a_fixed_number_of_tokens_back(
    planted, planted_events, attribute, back
):
    _, cache = forward(planted, planted_events, "layer_0_pattern")
    layer, head = parse_head(getattr(planted, attribute), 2, 4)
    assert layer == 0
    assert (cache["layer_0_pattern"][:, head].diagonal(-back, 1, 2) > 0.999).all()


def test_layer_0_writes_the_previous_key_and_the_write_flag(planted, planted_events):
    _, cache = forward(planted, planted_events, "layer_0_post_attn")
    state = cache["layer_0_post_attn"]
    rows = torch.arange(len(planted_events))
    at_support = state[rows, planted_events.support_value]
    keys = torch.nn.functional.one_hot(planted_events.query_key_id - 10, 4).double()
    torch.testing.assert_close(at_support @ planted.bases["previous_key"], keys, rtol=0, atol=0.05)
    flag = (state @ planted.bases["write_flag"])[..., 0]
    assert (flag[rows, planted_events.support_value] > 0.95).all()
    assert (flag[planted_events.value_distractors] > 0.95).all()
    assert (flag[planted_events.prior_answers].abs() < 0.05).all()


def test_scores_of_the_matching_head_are_the_strengths(planted, planted_events):
    """A match is worth 80 to 96 nats, a write 80, and a token of recency 1."""
    _, cache = forward(planted, planted_events, "layer_1_scores")
    scores = attention(cache, planted_events, planted.matching_head, "scores")
    support = scores.gather(1, planted_events.support_value[:, None])
    position = torch.arange(scores.shape[1]) - planted_events.support_value[:, None]
    recent = scores - position * planted.strengths.slope
    stale = planted_events.stale_value
    assert ((support - recent)[stale].abs() < 5).all()
    other = planted_events.value_distractors & ~stale
    matched = (support - recent)[other]
    assert ((matched > 75) & (matched < 101)).all()
    by_flag = (support - recent)[planted_events.prior_answers]
    assert (by_flag > 60).all()


def test_the_untrained_twin_knows_nothing(untrained, planted, planted_events):
    assert untrained.decoder is planted.decoder
    assert untrained.flat.dtype == planted.flat.dtype
    logits, cache = forward(untrained, planted_events, "layer_1_pattern")
    assert (logits.argmax(1) == planted_events.answer).double().mean() < 0.2
    mass = attention(cache, planted_events, untrained.matching_head)
    assert mass.gather(1, planted_events.support_value[:, None]).mean() < 0.2


def test_two_heads_of_the_second_network_write_the_value_and_the_third_takes_half_of_it_back(
    redundant, planted_events
):
    logits, cache = forward(redundant, planted_events, "layer_1_z", "layer_2_z", "layer_2_pattern")
    assert (logits.argmax(1) == planted_events.answer).all()
    value = redundant.bases["token_value"]
    written = {}
    for name in (redundant.matching_head, redundant.second_head, redundant.anti_head):
        layer, head = parse_head(name, 3, 4)
        z = cache[f"layer_{layer}_z"][torch.arange(len(planted_events)), planted_events.prediction]
        write = z[:, head] @ redundant.views[f"layer_{layer}.attn.W_O"][head]
        written[name] = write @ value
    one, other, back = written.values()
    torch.testing.assert_close(one, other, rtol=0, atol=0.2)
    assert (one.norm(dim=1) > redundant.strengths.answer * 0.95).all()
    torch.testing.assert_close(back, -(one + other) / 2, rtol=0, atol=0.2)
    own = cache["layer_2_pattern"][:, parse_head(redundant.anti_head, 3, 4)[1]]
    assert (own.diagonal(0, 1, 2) > 0.999).all()


def test_blocks_are_orthonormal_and_fill_the_residual_stream(planted):
    basis = torch.cat(list(planted.bases.values()), 1)
    torch.testing.assert_close(basis.T @ basis, torch.eye(64, dtype=torch.float64))


def test_layernorm_has_nothing_to_centre(planted):
    for name in ("embedding.token", "embedding.position"):
        assert planted.views[name].mean(1).abs().max() < 1e-12


@pytest.mark.parametrize(("n_keys", "n_values"), [(6, 21), (12, 32)])
def test_other_numbers_of_keys_and_values(n_keys, n_values):
    vocabulary = Vocabulary(n_keys, n_values)
    circuit = planted_decoder(vocabulary, seed=3)
    program = vocabulary.ids("<bos> W K05 V019 W K00 V001 W K05 V000 W K03 V008 R K05")
    logits = circuit.decoder.forward(circuit.views, torch.tensor([program]))
    assert logits[0, -1].argmax() == vocabulary.value_id(0)
