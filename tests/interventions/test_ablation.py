"""Removing a component: three ways to the same answer, in float64."""

import pytest
import torch
from planted import PlantedCircuit

from circuit.errors import AnalysisError
from circuit.interventions.ablation import ablated_logits, components, removal_sites
from circuit.interventions.edits import Where, edits, mean, zero
from circuit.model.counting import CountingDecoder
from circuit.model.tap import Tap
from circuit.scalars.base import Seen, look, pick
from circuit.task.events import ReadEvents


@pytest.fixture(scope="module")
def seen(planted: PlantedCircuit, planted_events: ReadEvents) -> Seen:
    decoder = planted.decoder
    events = planted_events.select(range(24)).crop()
    sites = removal_sites(decoder.settings.n_layers)
    return look(decoder, planted.flat, events, planted.vocabulary.value_ids, sites)


def answers(seen: Seen, params: dict[str, torch.Tensor], tap: Tap | None = None) -> torch.Tensor:
    logits = seen.decoder.forward(params, seen.events.tokens, tap)
    assert logits is not None
    return pick(logits, seen.events.prediction)


def test_zero_ablation_equals_a_tap_and_equals_editing_the_weights(seen: Seen) -> None:
    names = components(seen.decoder.settings)
    found = ablated_logits(seen, names, "zero")
    for name in names:
        layer = int(name[1])
        params = {key: value.clone() for key, value in seen.params.items()}
        if name.endswith("MLP"):
            where = Where(f"layer_{layer}_mlp_write")
            params[f"layer_{layer}.mlp.W_out"].zero_()
            params[f"layer_{layer}.mlp.b_out"].zero_()
        else:
            where = Where(f"layer_{layer}_z", heads=(int(name[3]),))
            params[f"layer_{layer}.attn.W_O"][int(name[3])].zero_()
        tapped = answers(seen, dict(seen.params), Tap(edits=edits((where, zero()))))
        torch.testing.assert_close(found[name], tapped, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found[name], answers(seen, params), rtol=1e-10, atol=1e-10)


def test_mean_ablation_equals_a_tap_and_equals_biases_that_write_the_mean(seen: Seen) -> None:
    for name in components(seen.decoder.settings):
        layer = int(name[1])
        params = {key: value.clone() for key, value in seen.params.items()}
        if name.endswith("MLP"):
            where = Where(f"layer_{layer}_mlp_write")
        else:
            where = Where(f"layer_{layer}_z", heads=(int(name[3]),))
        source = seen.sites[where.site][seen.events.causal_prefix].mean(0)
        if name.endswith("MLP"):
            params[f"layer_{layer}.mlp.W_out"].zero_()
            params[f"layer_{layer}.mlp.b_out"].copy_(source)
        else:
            w_o, head = params[f"layer_{layer}.attn.W_O"], int(name[3])
            params[f"layer_{layer}.attn.b_O"] += source[head] @ w_o[head]
            w_o[head].zero_()
        tapped = answers(seen, dict(seen.params), Tap(edits=edits((where, mean(source)))))
        found = ablated_logits(seen, [name], "mean")[name]
        torch.testing.assert_close(found, tapped, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found, answers(seen, params), rtol=1e-10, atol=1e-10)


def test_only_the_planted_heads_matter(planted: PlantedCircuit, seen: Seen) -> None:
    right = answers(seen, dict(seen.params)).argmax(-1) == seen.events.answer
    assert right.all()
    found = ablated_logits(seen, components(seen.decoder.settings), "zero")
    accuracy = {
        name: float((logits.argmax(-1) == seen.events.answer).double().mean())
        for name, logits in found.items()
    }
    planted_heads = {planted.previous_token_head, planted.op_head, planted.matching_head}
    assert {name for name, value in accuracy.items() if value < 0.9} <= planted_heads
    assert accuracy[planted.matching_head] < 0.2


def test_only_the_layers_after_a_component_run_again(seen: Seen) -> None:
    counting = CountingDecoder(seen.decoder)
    watched = seen._replace(decoder=counting)
    ablated_logits(watched, components(seen.decoder.settings), "zero")
    assert counting.passes.whole == 0
    heads, events = seen.decoder.settings.n_heads, len(seen.events)
    assert counting.passes.program_layers == events * (heads * 1.5 + 1 + heads * 0.5)


def test_an_unknown_component_is_refused(seen: Seen) -> None:
    with pytest.raises(AnalysisError, match="L7MLP"):
        ablated_logits(seen, ["L7MLP"], "zero")
