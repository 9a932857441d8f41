"""Direct paths sum to the logit, agree with independent ways to the same number, and find L1H2."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from path_models import three_layers, whole_pass

from circuit.errors import AnalysisError
from circuit.experiments.changes import Where, edits, freeze, zero
from circuit.measures.paths.direct import (
    TARGETS,
    direct_paths,
    readout,
    stage_readout,
    writers,
)
from circuit.model.sites import stages
from circuit.model.tap import Tap
from circuit.scalars.base import pick
from circuit.scalars.value import head_value_margin_dla

MARGIN = TARGETS.index("value_margin")


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(torch.arange(0, 171, 4)).crop()


@pytest.fixture(scope="module")
def passes(planted, untrained, events):
    """Passes of three models, by name."""
    words = planted.vocabulary
    models = {
        "planted": (planted.decoder, planted.flat),
        "untrained": (untrained.decoder, untrained.flat),
        "three layers": three_layers(words),
    }
    return {name: whole_pass(*model, events, words) for name, model in models.items()}


@pytest.mark.parametrize("model", ["planted", "untrained", "three layers"])
def test_direct_paths_sum_to_the_models_own_value(passes, model):
    seen, read = passes[model]
    total = direct_paths(seen, read).values.sum(-1)
    assert float((total - read.whole).abs().max()) < 1e-10 * float(read.whole.abs().max())
    logits = seen.decoder.forward(seen.params, seen.events.tokens)
    at = pick(logits, seen.events.prediction)
    torch.testing.assert_close(read.whole[:, 0], pick(at, seen.events.answer))
    torch.testing.assert_close(read.whole, read.targets.values(at))


def test_writers_sum_to_the_stream_at_every_position_and_stage(passes):
    seen, _ = passes["three layers"]
    every = writers(seen)
    for order, stage in enumerate(stages(3)[:-1]):
        total = torch.stack([w.states for w in every if w.order <= order]).sum(0)
        torch.testing.assert_close(total, seen.sites[stage], rtol=1e-12, atol=1e-12)


def test_rivals_are_the_best_wrong_value_the_best_wrong_token_and_the_latest_stale_value(passes):
    seen, read = passes["three layers"]
    words = seen.value_ids
    state = pick(seen.sites["final_norm"], seen.events.prediction)
    logits = seen.decoder.unembed(seen.params, state)
    for e in range(len(seen.events)):
        answer, row = int(seen.events.answer[e]), logits[e].tolist()
        wrong = [t for t in range(len(row)) if t != answer]
        stale = seen.events.stale_value[e].nonzero()[:, 0].tolist()
        assert [int(rival[e]) for rival in read.targets.rivals] == [
            max((t for t in wrong if t in words), key=row.__getitem__),
            max(wrong, key=row.__getitem__),
            int(seen.events.tokens[e, stale[-1]]),
        ]


def test_a_heads_path_is_its_direct_logit_attribution(passes):
    seen, read = passes["three layers"]
    direct = direct_paths(seen, read)
    rival = read.targets.rivals[0] - seen.value_ids.start
    for layer in range(3):
        measured = head_value_margin_dla((layer, 1), rival)(seen)
        mine = direct.values[:, MARGIN, direct.names.index(f"L{layer}H1")]
        torch.testing.assert_close(mine, measured, rtol=1e-10, atol=1e-12)


def test_the_last_mlps_path_is_what_its_neurons_removal_costs_under_a_frozen_scale(passes):
    seen, read = passes["three layers"]
    scale = seen.sites["final_norm_scale"]
    tap = Tap(
        edits=edits((Where("layer_2_neurons"), zero()), (Where("final_norm_scale"), freeze(scale)))
    )
    logits = seen.decoder.forward(seen.params, seen.events.tokens, tap)
    lost = read.whole - read.targets.values(pick(logits, seen.events.prediction))
    direct = direct_paths(seen, read)
    mine = direct.values[:, :, direct.names.index("L2MLP")]
    torch.testing.assert_close(mine, lost, rtol=1e-10, atol=1e-10)


def test_consecutive_stages_differ_by_the_paths_between_them_and_end_at_the_value(passes):
    seen, read = passes["three layers"]
    found, direct = stage_readout(seen, read), direct_paths(seen, read)
    orders = [w.order for w in writers(seen, seen.events.prediction)]
    names = stages(3)[:-1]
    for order, (before, after) in enumerate(pairwise(names), 1):
        between = [i for i, at in enumerate(orders) if at == order]
        difference = found[after, "frozen"] - found[before, "frozen"]
        torch.testing.assert_close(difference, direct.values[..., between].sum(-1))
    for scale in ("own", "frozen"):
        torch.testing.assert_close(found[names[-1], scale], read.whole)


def test_the_logit_lens_is_the_final_norm_and_unembedding_of_the_stage(passes):
    seen, read = passes["untrained"]
    state = pick(seen.sites["layer_0_post_attn"], seen.events.prediction)
    logits = seen.decoder.unembed(seen.params, seen.decoder.final_norm(seen.params, state))
    mine = stage_readout(seen, read)["layer_0_post_attn", "own"]
    torch.testing.assert_close(mine, read.targets.values(logits))


def test_the_matching_heads_path_carries_the_planted_margin(passes, planted):
    seen, read = passes["planted"]
    direct = direct_paths(seen, read)
    mean = dict(zip(direct.names, direct.values[:, MARGIN].mean(0).tolist(), strict=True))
    whole = float(read.whole[:, MARGIN].mean())
    assert whole > 1
    assert mean.pop(planted.matching_head) > 0.9 * whole
    assert max(abs(value) for value in mean.values()) < 0.05 * whole
    own = stage_readout(seen, read)
    right_before = own["layer_0_post_mlp", "own"][:, MARGIN].mean()
    assert float(right_before) < 0.2 * whole


def test_no_path_of_the_untrained_twin_is_near_a_planted_one(passes, planted):
    whole = float(passes["planted"][1].whole[:, MARGIN].mean())
    seen, read = passes["untrained"]
    direct = direct_paths(seen, read)
    heads = [i for i, kind in enumerate(direct.kinds) if kind == "attention"]
    assert float(direct.values[:, MARGIN, heads].mean(0).abs().max()) < 0.05 * whole


def test_a_read_without_a_stale_value_is_refused(passes):
    seen, _ = passes["planted"]
    none = seen.events.stale_value.clone()
    none[3] = False
    events = replace(seen.events, stale_value=none)
    with pytest.raises(AnalysisError, match=f"{events.sample_id[3]}.* has no stale value"):
        readout(seen._replace(events=events))
