"""What one pass over the probe events says: identities, slow oracles, and the planted circuit."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from circuit.experiments.edits import components
from circuit.measures.sweep.behaviour import COARSE
from circuit.measures.sweep.event_pass import (
    KEYS,
    answer_direction,
    component_writes,
    event_rows,
    event_sites,
    event_states,
    rank_correlation,
    stage_states,
)
from circuit.model.counting import CountingDecoder
from circuit.model.sites import stages
from circuit.model.tap import Tap
from circuit.scalars.base import look, pick
from circuit.statistics import bootstrap_means

STAGES = stages(2)


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 171, 2)).crop()


def measured(circuit, events, previous=None, reference=None, baseline="mean"):
    ids = circuit.vocabulary.value_ids
    if reference is None:
        reference = event_states(circuit.decoder, circuit.flat, events, ids)
    args = (circuit.decoder, circuit.flat, events, ids, baseline, previous, reference)
    return event_rows(*args)


@pytest.fixture(scope="module")
def alone(planted, untrained, events):
    """What one checkpoint shows by itself; every pass is made once."""
    circuits = {"planted": planted, "untrained": untrained}
    return cache(lambda name, baseline="mean": measured(circuits[name], events, baseline=baseline))


@pytest.fixture(scope="module")
def found(planted, events, alone):
    """The planted circuit as the checkpoint that comes after its untrained twin."""
    _, before = alone("untrained")
    return measured(planted, events, before, before.states)[0]


def captured(circuit, events):
    """Everything a plain pass with a tap at every site of interest leaves, and its logits."""
    extra = {f"layer_{n}_{s}" for n in (0, 1) for s in ("pattern", "head_write", "mlp_write")}
    tap = Tap(capture={*STAGES, *extra, "final_norm_scale"})
    logits = circuit.decoder.forward(circuit.views, events.tokens, tap)
    return tap.cache, pick(logits, events.prediction)


@pytest.fixture(scope="module", params=["planted", "untrained"])
def case(request, events, alone):
    """A circuit, what is said of it alone, and what a plain pass leaves."""
    circuit = request.getfixturevalue(request.param)
    sites, logits = captured(circuit, events)
    tables = alone(request.param)[0]
    return SimpleNamespace(circuit=circuit, tables=tables, sites=sites, logits=logits)


def of(table, measure, role="prediction"):
    """A measure's rows at a role, by stage or component."""
    chosen = table[(table["measure"] == measure) & (table["role"] == role)]
    return chosen.set_index(table.columns[0])


def seen_of(circuit, events):
    sites = event_sites(circuit.decoder.settings.n_layers)
    return look(circuit.decoder, circuit.flat, events, circuit.vocabulary.value_ids, sites)


def value_margins(logits, ids, events):
    found = []
    for row, answer in zip(logits, events.answer.tolist(), strict=True):
        found.append(row[answer] - max(row[v] for v in ids if v != answer))
    return torch.stack(found)


def test_stage_states_are_those_a_tap_captures(case, events):
    states = stage_states(seen_of(case.circuit, events))
    for i, stage in enumerate(STAGES):
        for j, role in enumerate(("prediction", "support_value")):
            expected = pick(case.sites[stage], events.role_position(role))
            torch.testing.assert_close(states[i, j], expected, rtol=1e-10, atol=1e-10)


def test_q_r_w_are_those_of_the_best_head_in_the_whole_patterns(case, planted, events):
    found = case.tables["rows"]
    assert list(found["measure"]) == list(COARSE)
    found = found.set_index("measure")
    patterns = torch.cat([case.sites["layer_0_pattern"], case.sites["layer_1_pattern"]], 1)
    rows = patterns[torch.arange(len(events)), :, events.prediction]
    for measure, at in (("q", events.prediction), ("r", events.support_value)):
        by_head = rows[torch.arange(len(events)), :, at].mean(0)
        assert found.loc[measure, "mean"] == pytest.approx(float(by_head.max()), rel=1e-9)
    margins = value_margins(case.logits, case.circuit.vocabulary.value_ids, events)
    assert found.loc["w", "mean"] == pytest.approx(float(margins.mean()), rel=1e-9)
    if case.circuit is planted:
        assert found.loc["r", "low"] > 0.99
        assert found.loc["w", "low"] > 5
    else:
        # At best twice what even attention over the shortest prefix would give.
        assert found.loc["r", "high"] < 2 / int(events.length.min())
        assert found.loc["w", "high"] < 0


def test_the_lens_ends_in_the_models_own_answer(case, events):
    circuit, stages_table = case.circuit, case.tables["stages"]
    ids = circuit.vocabulary.value_ids
    rows = of(stages_table, "lens_margin")["mean"]
    own = float(value_margins(case.logits, ids, events).mean())
    for stage in STAGES[-2:]:
        assert rows[stage] == pytest.approx(own, rel=1e-9)
    early = pick(case.sites["layer_0_post_attn"], events.prediction)
    read = circuit.decoder.unembed(circuit.views, circuit.decoder.final_norm(circuit.views, early))
    margins = value_margins(read, ids, events)
    assert rows["layer_0_post_attn"] == pytest.approx(float(margins.mean()), rel=1e-9)
    accuracy = of(stages_table, "lens_accuracy")["mean"]
    assert accuracy["layer_0_post_attn"] == pytest.approx(float((margins > 0).double().mean()))


def test_contributions_of_all_writes_add_up_to_the_answer_over_the_mean_of_the_others(case, events):
    circuit = case.circuit
    seen = seen_of(circuit, events)
    final = pick(seen.sites["layer_1_post_mlp"], events.prediction)
    direction, written = answer_direction(seen, final), component_writes(seen, "prediction")
    contributions = of(case.tables["components"], "answer_contribution")
    assert list(contributions.index) == list(components(circuit.decoder.settings))
    by_component = torch.einsum("ecd,ed->ec", written, direction)
    by_hand = by_component.mean(0)
    np.testing.assert_allclose(contributions["mean"], by_hand, rtol=1e-9, atol=1e-12)

    views, ids = circuit.views, circuit.vocabulary.value_ids
    embedded = pick(seen.sites["embedding"], events.prediction)
    b_o = sum(views[f"layer_{n}.attn.b_O"] for n in (0, 1))
    direct = by_component.sum(1) + ((embedded + b_o) * direction).sum(-1)
    values = views["embedding.token"][ids.start : ids.stop]
    right = events.answer - ids.start
    others = (values.sum(0) - values[right]) / (len(values) - 1)
    direct = direct + (values[right] - others) @ views["final_norm.bias"]
    logits = case.logits[:, ids.start : ids.stop]
    own = pick(logits, right)
    expected = own - (logits.sum(-1) - own) / (len(values) - 1)
    torch.testing.assert_close(direct, expected, rtol=1e-9, atol=1e-9)


def test_writes_are_those_of_the_sites(alone, untrained, events):
    sites, _ = captured(untrained, events)
    rows = alone("untrained")[0]["components"]
    for role in ("prediction", "support_value"):
        norms = of(rows, "write_norm", role)["mean"]
        at = events.role_position(role)
        heads = pick(sites["layer_1_head_write"], at).norm(dim=-1).mean(0)
        for h in range(4):
            assert norms[f"L1H{h}"] == pytest.approx(float(heads[h]), rel=1e-9)
        mlp = pick(sites["layer_0_mlp_write"], at).norm(dim=-1).mean()
        assert norms["L0MLP"] == pytest.approx(float(mlp), rel=1e-9)


def test_drift_is_the_distance_relative_to_the_other_state(found, planted, untrained, events):
    now, then = (captured(circuit, events)[0] for circuit in (planted, untrained))
    for measure in ("drift_previous", "drift_reference"):
        for role in ("prediction", "support_value"):
            rows, at = of(found["stages"], measure, role), events.role_position(role)
            assert list(rows.index) == list(STAGES)
            for stage in STAGES:
                x, other = (pick(sites[stage], at) for sites in (now, then))
                moved = (x - other).norm(dim=-1) / other.norm(dim=-1)
                mean, low, high = (float(part[0]) for part in bootstrap_means(moved[:, None]))
                row = rows.loc[stage]
                np.testing.assert_allclose(
                    row[["mean", "low", "high"]].astype(float), [mean, low, high], rtol=1e-9
                )


def test_a_checkpoint_has_no_drift_to_itself_and_the_first_none_to_a_previous(
    planted, events, alone
):
    first, kept = alone("planted")
    assert (of(first["stages"], "drift_reference")["mean"] == 0).all()
    assert not first["stages"]["measure"].eq("drift_previous").any()
    assert not first["components"]["measure"].str.startswith("rank").any()
    again, _ = measured(planted, events, kept)
    assert (of(again["stages"], "drift_previous")[["mean", "high"]] == 0).all(axis=None)
    ranks = again["components"][again["components"]["measure"].str.startswith("rank")]
    several = ranks["component"] == "heads"
    np.testing.assert_allclose(ranks.loc[several, ["mean", "low", "high"]], 1)
    assert ranks.loc[~several, "mean"].isna().all(), "two MLPs have no order to compare"
    assert list(zip(ranks["component"], ranks["measure"], strict=True)) == [
        ("heads", "rank_correlation_ablation"),
        ("mlps", "rank_correlation_ablation"),
        ("heads", "rank_correlation_support"),
    ]


def test_rank_correlation_is_spearmans_of_the_means():
    rng = np.random.default_rng(4)
    now = rng.normal(size=(50, 9)) + np.arange(9)
    before = rng.normal(size=(50, 9)) + rng.permutation(9)
    before[:, 3] = before[:, 5]  # a tie
    mean, low, high, count = rank_correlation(now, before)
    expected = spearmanr(now.mean(0), before.mean(0)).statistic
    assert mean == pytest.approx(expected, rel=1e-12)
    assert low <= high
    assert count == 50
    assert rank_correlation(now, now)[1] == 1
    for pair in ((now[:, :1], before[:, :1]), (now, np.zeros_like(now))):
        mean, _, _, count = rank_correlation(*pair)
        assert (np.isnan(mean), count) == (True, 0)


def test_every_row_is_there_once_with_its_interval(found, events):
    for table, keys in KEYS.items():
        rows = found[table]
        assert set(rows.columns) == {*keys, "against", "mean", "low", "high", "count", "noun"}
        assert not rows.duplicated(list(keys)).any()
        averages = rows[~rows["measure"].str.startswith("rank")]
        assert (averages["count"] == len(events)).all()
        assert (averages["low"] <= averages["mean"] + 1e-12).all()
        assert (averages["mean"] <= averages["high"] + 1e-12).all()


def test_one_whole_pass_and_continued_ones_are_all_it_takes(planted, events):
    decoder = CountingDecoder(planted.decoder)
    ids = planted.vocabulary.value_ids
    reference = event_states(planted.decoder, planted.flat, events, ids)
    event_rows(decoder, planted.flat, events, ids, "mean", None, reference)
    assert (decoder.passes.whole, decoder.passes.programs) == (1, len(events))
    # Ten ablations from the tokens on would be eleven passes.
    assert decoder.passes.equivalent(len(events), 2) < 6.1


@pytest.mark.parametrize("baseline", ["mean", "zero"])
def test_the_lookup_is_lost_without_its_two_heads_and_nothing_else_matters(
    planted, alone, baseline
):
    effects = of(alone("planted", baseline)[0]["components"], "ablation_effect")
    needed = [planted.previous_token_head, planted.matching_head]
    assert (effects.loc[needed, "low"] > 5).all()
    assert (effects.drop(index=needed)[["low", "high"]].abs() < 0.5).all(axis=None)


def test_the_matching_head_alone_looks_at_the_support_value_and_writes_the_answer(found, planted):
    attention = of(found["components"], "attention_support_value")
    contribution = of(found["components"], "answer_contribution")
    head = planted.matching_head
    assert attention.loc[head, "low"] > 0.99
    assert contribution.loc[head, "low"] > 7
    assert attention["high"].drop(head).max() < 0.05
    assert contribution[["low", "high"]].drop(index=head).abs().max(axis=None) < 0.01
    assert of(found["components"], "attention_query_key").loc[head, "high"] < 1e-6


def test_the_lens_reads_the_answer_only_after_the_matching_head(found):
    accuracy = of(found["stages"], "lens_accuracy")
    after = ["layer_1_post_attn", "layer_1_post_mlp", "final_norm"]
    assert (accuracy.loc[after, "mean"] == 1).all()
    assert (accuracy.drop(index=after)["mean"] < 0.1).all()
    assert (of(found["stages"], "lens_margin").drop(index=after)["high"] < 0).all()


def test_the_untrained_twin_shows_nothing_beyond_its_interval(alone, events):
    """A guess among 32 values, even attention, and contributions on both sides of zero."""
    untrained_found, _ = alone("untrained")
    accuracy = of(untrained_found["stages"], "lens_accuracy")
    assert (accuracy["low"] <= 1 / 32).all()
    contribution = of(untrained_found["components"], "answer_contribution")
    assert (contribution["low"] < 0).all()
    assert (contribution["high"] > 0).all()
    even = float((1 / events.length.double()).mean())
    for role in ("query_key", "support_value"):
        attention = of(untrained_found["components"], f"attention_{role}")["mean"]
        assert attention.between(0.7 * even, 1.3 * even).all()


@pytest.mark.parametrize("baseline", ["mean", "zero"])
def test_no_head_of_the_untrained_twin_is_needed_as_the_planted_ones_are(planted, alone, baseline):
    """Removing any part of a network moves its margin a little, on all events alike."""
    now, twin = (
        of(alone(name, baseline)[0]["components"], "ablation_effect")
        for name in ("planted", "untrained")
    )
    needed = now.loc[[planted.previous_token_head, planted.matching_head], "low"].min()
    heads = twin[twin.index.str.contains("H")]
    assert heads[["low", "high"]].abs().max(axis=None) < 0.05 * needed
    assert twin[["low", "high"]].abs().max(axis=None) < 0.2 * needed
