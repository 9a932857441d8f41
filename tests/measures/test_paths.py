"""Paths partition the logit, agree with independent ways to the same number, and find L1H2."""

from dataclasses import replace
from itertools import pairwise
from operator import attrgetter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
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
from circuit.measures.paths.second_order import (
    WHOLE,
    chord_slope,
    key_composition,
    most_adding_head,
    split_sources,
    summed,
    terms,
)
from circuit.model.sites import stages
from circuit.model.tap import Tap
from circuit.scalars.base import pick
from circuit.scalars.routing import qk_separation
from circuit.scalars.value import head_value_margin_dla

MARGIN = TARGETS.index("value_margin")


def by_chain(found):
    return summed(found, attrgetter("chain"))


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(torch.arange(0, 171, 9)).crop()


@pytest.fixture(scope="module")
def passes(planted, untrained, events):
    """Passes of three models, by name, with readout and terms."""
    words, found = planted.vocabulary, {}
    for name, model in {
        "planted": (planted.decoder, planted.flat),
        "untrained": (untrained.decoder, untrained.flat),
        "three layers": three_layers(words),
    }.items():
        seen, read = whole_pass(*model, events, words)
        found[name] = seen, read, terms(seen, read)
    return found


@pytest.mark.parametrize("model", ["planted", "untrained", "three layers"])
def test_direct_paths_sum_to_the_models_own_value(passes, model):
    seen, read, _ = passes[model]
    total = direct_paths(seen, read).values.sum(-1)
    assert float((total - read.whole).abs().max()) < 1e-10 * float(read.whole.abs().max())
    logits = seen.decoder.forward(seen.params, seen.events.tokens)
    at = pick(logits, seen.events.prediction)
    torch.testing.assert_close(read.whole[:, 0], pick(at, seen.events.answer))
    torch.testing.assert_close(read.whole, read.targets.values(at))


def test_writers_sum_to_the_stream_at_every_position_and_stage(passes):
    seen, _, _ = passes["three layers"]
    every = writers(seen)
    for order, stage in enumerate(stages(3)[:-1]):
        total = torch.stack([w.states for w in every if w.order <= order]).sum(0)
        torch.testing.assert_close(total, seen.sites[stage], rtol=1e-12, atol=1e-12)


def test_rivals_are_the_best_wrong_value_the_best_wrong_token_and_the_latest_stale_value(passes):
    seen, read, _ = passes["three layers"]
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
    seen, read, _ = passes["three layers"]
    direct = direct_paths(seen, read)
    rival = read.targets.rivals[0] - seen.value_ids.start
    for layer in range(3):
        measured = head_value_margin_dla((layer, 1), rival)(seen)
        mine = direct.values[:, MARGIN, direct.names.index(f"L{layer}H1")]
        torch.testing.assert_close(mine, measured, rtol=1e-10, atol=1e-12)


def test_the_last_mlps_path_is_what_its_neurons_removal_costs_under_a_frozen_scale(passes):
    seen, read, _ = passes["three layers"]
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
    seen, read, _ = passes["three layers"]
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
    seen, read, _ = passes["untrained"]
    state = pick(seen.sites["layer_0_post_attn"], seen.events.prediction)
    logits = seen.decoder.unembed(seen.params, seen.decoder.final_norm(seen.params, state))
    mine = stage_readout(seen, read)["layer_0_post_attn", "own"]
    torch.testing.assert_close(mine, read.targets.values(logits))


def test_the_matching_heads_path_carries_the_planted_margin(passes, planted):
    seen, read, _ = passes["planted"]
    direct = direct_paths(seen, read)
    mean = dict(zip(direct.names, direct.values[:, MARGIN].mean(0).tolist(), strict=True))
    whole = float(read.whole[:, MARGIN].mean())
    assert whole > 1
    assert mean.pop(planted.matching_head) > 0.9 * whole
    assert max(abs(value) for value in mean.values()) < 0.05 * whole
    own = stage_readout(seen, read)
    right_before = own["layer_0_post_mlp", "own"][:, MARGIN].mean()
    assert float(right_before) < 0.2 * whole


def test_a_read_without_a_stale_value_is_refused(passes):
    seen, _, _ = passes["planted"]
    none = seen.events.stale_value.clone()
    none[3] = False
    events = replace(seen.events, stale_value=none)
    with pytest.raises(AnalysisError, match=f"{events.sample_id[3]}.* has no stale value"):
        readout(seen._replace(events=events))


@pytest.mark.parametrize("model", ["planted", "three layers"])
def test_chains_sum_to_the_value_and_terms_to_each_modules_direct_path(passes, model):
    seen, read, found = passes[model]
    bound = 1e-10 * float(read.whole.abs().max())
    assert float((sum(by_chain(found).values()) - read.whole).abs().max()) < bound
    direct = direct_paths(seen, read)
    modules = summed((t for t in found if t.through != "logit"), attrgetter("through"))
    kinds = zip(direct.names, direct.kinds, strict=True)
    assert set(modules) == {name for name, kind in kinds if kind in ("attention", "MLP")}
    for name, value in modules.items():
        own = direct.values[:, :, direct.names.index(name)]
        assert float((value - own).abs().max()) < bound


def test_every_chain_of_the_partition_is_there(passes):
    _, _, found = passes["three layers"]
    kinds = ("embedding", "attention", "MLP", "biases")
    chains = {f"{kind} → {last}" for kind in kinds for last in ("attention", "MLP")}
    chains |= {f"{kind} → MLP → attention" for kind in kinds} | {"embedding", "biases"}
    assert set(by_chain(found)) == chains - {"MLP → attention"}


def test_a_source_through_a_head_is_what_the_head_loses_without_it(passes):
    """Recomputed by hand: the source taken from the stream, scale and pattern as they were."""
    seen, read, found = passes["three layers"]
    params, layer, h = seen.params, 2, 1
    source = next(w for w in writers(seen) if w.name == "L0H1").states
    x = seen.sites["layer_1_post_mlp"]
    w, b = (params[f"layer_{layer}.attn.{name}"][2, h] for name in ("W_QKV", "b_QKV"))

    def written(stream):
        centred = stream - stream.mean(-1, keepdim=True)
        normed = (
            centred / seen.sites[f"layer_{layer}_ln1_scale"] * params[f"layer_{layer}.ln1.gain"]
        )
        values = (normed + params[f"layer_{layer}.ln1.bias"]) @ w.T + b
        z = torch.stack(
            [
                seen.sites[f"layer_{layer}_pattern"][e, h, at] @ values[e]
                for e, at in enumerate(seen.events.prediction.tolist())
            ]
        )
        return z @ params[f"layer_{layer}.attn.W_O"][h]

    lost = written(x) - written(x - source)
    expected = (read.direction * lost[:, None]).sum(-1)
    mine = summed(found, attrgetter("source", "through"))["L0H1", "L2H1"]
    torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-12)


def test_a_source_through_an_mlp_is_the_integral_of_its_gradient(passes):
    """Integrated gradients by quadrature, through autograd, from the biases alone."""
    seen, read, found = passes["three layers"]
    params, name = seen.params, "layer_1"
    at = seen.events.prediction
    source = pick(next(w for w in writers(seen) if w.name == "L0H0").states, at)
    scale = pick(seen.sites[f"{name}_ln2_scale"], at)
    start = params[f"{name}.mlp.W_in"] @ params[f"{name}.ln2.bias"] + params[f"{name}.mlp.b_in"]
    end = pick(seen.sites[f"{name}_neurons_pre"], at)
    centred = source - source.mean(-1, keepdim=True)
    part = (centred / scale * params[f"{name}.ln2.gain"]) @ params[f"{name}.mlp.W_in"].T
    nodes, weights = np.polynomial.legendre.leggauss(60)
    gradient = torch.zeros_like(end)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        pre = (start + node * (end - start)).requires_grad_()
        gradient += weight * torch.autograd.grad(F.gelu(pre).sum(), pre)[0]
    written = (gradient * part) @ params[f"{name}.mlp.W_out"]
    expected = (read.direction * written[:, None]).sum(-1)
    mine = next(t for t in found if (t.source, t.through) == ("L0H0", "L1MLP"))
    torch.testing.assert_close(mine.values, expected, rtol=1e-9, atol=1e-11)


def test_an_mlp_below_is_split_into_parts_that_sum_to_its_write(passes):
    seen, _, _ = passes["three layers"]
    every, parts = writers(seen), split_sources(seen, writers(seen))
    for layer in (0, 1):
        name = f"L{layer}MLP"
        whole = next(w for w in every if w.name == name).states
        split = [w.states for w in parts if w.name.endswith(name)]
        assert len(split) == (3 if layer == 0 else 4)
        torch.testing.assert_close(torch.stack(split).sum(0), whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("length", [0.0, 1e-12, 1e-7, 2e-6, 1e-3, 2.0, -5.0])
def test_the_chords_slope_times_its_length_is_the_difference(length):
    start = torch.linspace(-3, 3, 13, dtype=torch.float64)
    slope = chord_slope(start, start + length)
    actual = F.gelu(start + length) - F.gelu(start)
    torch.testing.assert_close(slope * length, actual, rtol=1e-9, atol=1e-15)
    tangent = torch.func.vmap(torch.func.grad(F.gelu))(start)
    torch.testing.assert_close(slope, tangent, rtol=0, atol=max(1e-9, abs(length)))


def test_the_value_written_at_the_support_value_reaches_the_margin_through_the_matching_head(
    passes, planted
):
    _, read, found = passes["planted"]
    whole = float(read.whole[:, MARGIN].mean())
    size = {
        (t.source, t.through, t.positions): float(t.values[:, MARGIN].mean())
        for t in found
        if t.through != "logit"
    }
    path = "token_embedding", planted.matching_head, "support_value"
    assert size.pop(path) > 0.9 * whole
    assert max(abs(value) for value in size.values()) < 0.1 * whole
    chains = {name: float(value[:, MARGIN].mean()) for name, value in by_chain(found).items()}
    assert max(chains, key=chains.get) == "embedding → attention"
    assert most_adding_head(found) == planted.matching_head


def test_heads_that_only_help_to_look_have_no_path_but_are_in_the_score(passes, planted):
    """The previous-token and op heads act through keys: paths through values do not show them."""
    seen, read, found = passes["planted"]
    whole = float(read.whole[:, MARGIN].mean())
    rows = key_composition(seen, planted.matching_head).set_index("source")["separation"]
    for head in (planted.previous_token_head, planted.op_head):
        through = [t for t in found if t.source == head]
        assert all(abs(float(t.values[:, MARGIN].mean())) < 0.1 * whole for t in through)
    assert rows[planted.previous_token_head] > 0.5 * rows[WHOLE]
    others = rows.drop([WHOLE, planted.previous_token_head])
    assert others.abs().max() < 0.5 * rows[planted.previous_token_head]


@pytest.mark.parametrize("model", ["planted", "three layers"])
def test_what_was_written_at_the_keys_sums_to_the_separation(passes, model):
    seen, _, _ = passes[model]
    rows = key_composition(seen, "L1H1").set_index("source")["separation"]
    assert rows[WHOLE] == pytest.approx(float(qk_separation((1, 1))(seen).mean()), rel=1e-12)
    assert rows.drop(WHOLE).sum() == pytest.approx(rows[WHOLE], rel=1e-10, abs=1e-12)


def test_the_untrained_twin_has_no_path_near_the_planted_one(passes):
    whole = float(passes["planted"][1].whole[:, MARGIN].mean())
    through_heads = [t for t in passes["untrained"][2] if t.chain.endswith("→ attention")]
    assert max(abs(float(t.values[:, MARGIN].mean())) for t in through_heads) < 0.05 * whole
