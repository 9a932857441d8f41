"""Where states come to know the key and the answer, in a network in which that is known.

Two 'checkpoints': the untrained twin (0) and the planted circuit (1). The planted matching head is
L1H2; L1H0, a head of noise, is the bottom control.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from program_text import reads_of

from circuit.errors import AnalysisError
from circuit.kinds.contextual_geometry.settings import Settings
from circuit.measures.states.contextual import contextual_geometry
from circuit.measures.states.grouped_states import role_states
from circuit.measures.states.head_views import places, token_rows
from circuit.measures.states.tables import RANDOM, SHOWN, SHUFFLED
from circuit.measures.sweep.behaviour import SplitReads
from circuit.model.counting import CountingDecoder

HEADS = {"winner": (1, 2), "runner_up": (0, 1), "bottom": (1, 0)}
PROGRAMS = 160
MATCHED = {
    "qk_query": "query_key",
    "qk_key": "query_key",
    "ov_input": "answer",
    "ov_output": "answer",
}


def settings(**changes):
    chosen = {"kind": "contextual_geometry", "heads": "head_scan", "draws": 20, **changes}
    return Settings.model_validate(chosen)


def split_of(benchmark, programs=PROGRAMS):
    return SplitReads(benchmark.splits["train"], benchmark.vocabulary, programs)


def look(circuit, states, split, chosen, heads=HEADS):
    decoder = CountingDecoder(circuit.decoder)
    about = split, circuit.vocabulary, heads, chosen, chosen.rank, chosen.shrinkage
    found = contextual_geometry(decoder, states.__getitem__, range(len(states)), *about)
    return found, decoder.passes


@pytest.fixture(scope="module")
def found(planted, untrained, planted_benchmark):
    states = [untrained.flat, planted.flat]
    return look(planted, states, split_of(planted_benchmark), settings())


def beside(rows, keys):
    """Estimates with their controls as columns: ``shuffled``, ``shuffled_low``, …"""
    found = rows[rows["against"] == ""].set_index(keys)[["mean", "low", "high", "count"]]
    for name, against in (("shuffled", SHUFFLED), ("random", RANDOM)):
        part = rows[rows["against"] == against].set_index(keys)
        names = {"mean": name, "low": f"{name}_low", "high": f"{name}_high"}
        found = found.join(part[list(names)].rename(columns=names))
    return found.sort_index()


@pytest.fixture(scope="module")
def probe(found):
    """Rows of the probe in the whole space, by step, role, group and site."""
    rows = found[0].rows
    full = rows[(rows["head"] == "") & (rows["measure"] == "probe_accuracy")]
    return beside(full, ["step", "role", "group", "site"])


@pytest.fixture(scope="module")
def share(found):
    """Share of the variance between the groups that a side should see, by step, chosen, side."""
    rows = found[0].rows
    rows = rows[(rows["matched"] == "yes") & (rows["measure"] == "variance_share")]
    assert (rows["group"] == rows["side"].map(MATCHED)).all()
    return beside(rows, ["step", "chosen", "side"])


def test_the_answer_appears_at_prediction_only_once_the_matching_head_has_written(probe):
    rows = probe.loc[(1, "prediction", "answer")]
    for site in ("embedding", "layer_0_post_attn", "layer_0_post_mlp"):
        assert rows.loc[site, "low"] < rows.loc[site, "shuffled_high"]
    for site in ("layer_1_post_attn", "layer_1_post_mlp", "final_norm"):
        assert rows.loc[site, "mean"] == 1


def test_the_written_key_reaches_the_value_with_the_previous_token_head(probe):
    rows = probe.loc[(1, "support_value", "query_key")]
    assert rows.loc["embedding", "low"] < rows.loc["embedding", "shuffled_high"]
    assert rows.loc["layer_0_post_attn", "mean"] == 1
    untrained = probe.loc[(0, "support_value", "query_key", "layer_0_post_attn")]
    assert untrained["high"] < 0.7


def test_what_the_token_names_is_known_from_the_embedding_on_even_untrained(probe):
    for role, group in (("prediction", "query_key"), ("support_value", "answer")):
        assert (probe.loc[(0, role, group), "mean"] == 1).all()
        assert probe.loc[(0, role, group), "shuffled_high"].max() < 0.5


@pytest.mark.parametrize("side", ["qk_query", "qk_key", "ov_input"])
def test_the_matching_head_sees_its_groups_beyond_random_and_shuffled_labels(share, side):
    row = share.loc[(1, "winner", side)]
    assert row["low"] > max(row["random_high"], row["shuffled_high"])


def test_what_the_matching_head_writes_is_the_answer(share):
    """By then answers are nearly all that varies, so shuffled labels vary along them too."""
    row = share.loc[(1, "winner", "ov_output")]
    assert row["low"] > 2 * row["random_high"]
    assert row["mean"] > row["shuffled"]


def test_the_query_side_holds_nearly_all_of_the_keys_variance(share):
    """Four keys span three directions, and the planted W_QK reads them all."""
    assert share.loc[(1, "winner", "qk_query"), "low"] > 0.95
    assert share.loc[(1, "winner", "qk_key"), "low"] > 0.95


@pytest.mark.parametrize("where", [(1, "bottom"), (0,)])
def test_neither_the_bottom_head_nor_the_untrained_twin_sees_a_group(share, where):
    rows = share.loc[where]
    assert (rows["low"] <= rows[["random_high", "shuffled_high"]].max(axis=1)).all()


def test_the_untrained_twin_does_not_know_the_answer(probe):
    rows = probe.loc[(0, "prediction", "answer")]
    assert (rows["low"] < rows["shuffled_high"]).all()


def test_between_share_of_what_is_not_known_is_what_shuffled_labels_give(found):
    """The key at hand says which values are held out; the control has that too."""
    rows = found[0].rows
    chosen = (rows["head"] == "") & (rows["measure"] == "between_share")
    at = beside(rows[chosen & (rows["site"] == "embedding")], ["step", "role", "group"])
    for step in (0, 1):
        for cell in (("prediction", "answer"), ("support_value", "query_key")):
            row = at.loc[(step, *cell)]
            assert row["low"] < row["shuffled_high"]
            assert row["high"] > row["shuffled_low"]


def test_one_pass_per_checkpoint(found):
    passes = found[1]
    assert (passes.whole, passes.continued) == (2, 0)
    assert passes.equivalent(PROGRAMS, 2) == 2


def test_static_embeddings_are_as_the_head_sees_them(planted):
    theta = planted.flat.clone()
    gain = planted.decoder.layout.views(theta)["layer_1.ln1.gain"]
    gain.copy_(torch.linspace(0.5, 2, 64, dtype=torch.float64))
    sites = ("layer_1_attn_input", "layer_1_post_attn")
    found = token_rows(planted.decoder.layout.views(theta), planted.vocabulary, sites)
    values = planted.views["embedding.token"][list(planted.vocabulary.value_ids)]
    values = values - values.mean(0)
    torch.testing.assert_close(found["layer_1_post_attn", "values"], values)
    normed = torch.nn.functional.layer_norm(values, (64,), eps=0) * gain
    seen = found["layer_1_attn_input", "values"]
    # LayerNorm's scale only stretches them.
    torch.testing.assert_close(
        seen / seen.norm(dim=1, keepdim=True), normed / normed.norm(dim=1, keepdim=True)
    )


def test_each_side_is_measured_where_it_acts():
    found = places({"winner": (1, 2)}, ["prediction", "support_key", "support_value"])
    assert [(p.side, p.site, p.role) for p in found] == [
        ("qk_query", "layer_1_attn_input", "prediction"),
        ("qk_key", "layer_1_attn_input", "support_key"),
        ("qk_key", "layer_1_attn_input", "support_value"),
        ("ov_input", "layer_1_attn_input", "support_key"),
        ("ov_input", "layer_1_attn_input", "support_value"),
        ("ov_output", "layer_1_post_attn", "prediction"),
    ]
    assert (found[0].head, found[0].chosen) == ("L1H2", "winner")


def test_groups_are_those_of_the_programs_words(planted_benchmark):
    """A state of a support write counts once, however many reads ask for it."""
    programs, vocabulary = planted_benchmark.splits["train"].head(20), planted_benchmark.vocabulary
    split = SplitReads(programs, vocabulary)
    found = role_states(split, vocabulary, settings(draws=2))
    told = list(reads_of(programs, vocabulary))
    at = found["prediction"]
    groups = at.groups["query_key"]
    assert [groups.names[c] for c in groups.codes] == [r.words[r.prediction] for r in told]
    assert groups.program.tolist() == [r.program for r in told]
    groups = at.groups["answer"]
    assert [groups.names[c] for c in groups.codes] == [r.answer for r in told]
    writes = {}
    for r in told:
        (place,) = r.roles["support_value"]
        writes.setdefault((r.program, place), (r.words[place], r.words[r.prediction]))
    assert len(writes) < len(told)
    support = found["support_value"]
    values, keys = (support.groups[g] for g in ("answer", "query_key"))
    named = [
        (values.names[v], keys.names[k]) for v, k in zip(values.codes, keys.codes, strict=True)
    ]
    assert named == list(writes.values())


def test_shuffles_hand_values_round_among_writes_to_the_same_key(planted_benchmark):
    split = split_of(planted_benchmark, 40)
    at = role_states(split, planted_benchmark.vocabulary, settings(draws=5))["prediction"]
    keys, values = at.groups["query_key"], at.groups["answer"]
    writes = split.reads.row * 1000 + split.reads.support_value
    for draw in values.shuffled:
        assert not torch.equal(draw, values.codes)
        for key in range(len(keys.names)):
            chosen = keys.codes == key
            of_writes = dict(
                zip(writes[chosen].tolist(), values.codes[chosen].tolist(), strict=True)
            )
            drawn = dict(zip(writes[chosen].tolist(), draw[chosen].tolist(), strict=True))
            assert sorted(of_writes.values()) == sorted(drawn.values())


def test_rows_are_whole_and_beside_the_controls_that_make_sense(found):
    rows = found[0].rows
    rows = rows[rows["unit"] != "step"]
    assert np.isfinite(rows[["mean", "low", "high"]].to_numpy()).all()
    assert (rows["low"] <= rows["mean"] + 1e-9).all()
    assert (rows["mean"] <= rows["high"] + 1e-9).all()
    keys = ["step", "site", "role", "group", "head", "side", "compared", "measure"]
    assert not rows.duplicated([*keys, "against"]).any()
    every = beside(rows, keys).reset_index()
    assert every["random"].notna().eq(every["head"] != "").all()
    labelled = (every["compared"] == "") | (every["compared"] == "group means")
    untrained = every["measure"].eq("clearest_probe_accuracy") & every["step"].eq(0)
    assert every["shuffled"].notna().eq(labelled & ~untrained).all()
    scored = every[every["compared"] == ""].set_index("measure")["count"]
    assert scored["probe_accuracy"].max() < scored["between_share"].min()


def test_the_clearest_stage_is_the_first_that_reaches_the_best(found, probe):
    rows = found[0].rows
    told = rows[(rows["role"] == "prediction") & (rows["group"] == "answer")]
    onset = told[told["measure"] == "separates_from"]
    assert (onset["site"].item(), onset["mean"].item()) == ("layer_1_post_attn", 1)
    last = told[(told["measure"] == "clearest_probe_accuracy") & (told["step"] == 1)]
    assert set(last["site"]) == {"layer_1_post_attn"}
    assert set(last["against"]) == {"", SHUFFLED}
    before = told[told["measure"] == "accuracy_one_stage_before"].set_index("against")["mean"]
    assert before[""] == probe.loc[(1, "prediction", "answer", "layer_0_post_mlp"), "mean"]


def test_an_interval_of_the_clearest_stage_holds_all_stages_at_once(planted, planted_benchmark):
    """Half-way between noise and circuit, stages have intervals of some width."""
    flat = planted.flat + 0.4 * torch.randn(
        len(planted.flat), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    split = split_of(planted_benchmark, 60)
    rows = look(planted, [flat], split, settings(draws=3))[0].rows
    rows = rows[(rows["against"] == "") & (rows["head"] == "")]
    keys = ["role", "group", "site"]
    single = rows[rows["measure"] == "probe_accuracy"].set_index(keys)
    every = rows[rows["measure"] == "clearest_probe_accuracy"].set_index(keys)
    width = every["high"] - every["low"]
    wide = width[every["mean"] < 0.9]
    assert len(wide)
    assert (wide > (single["high"] - single["low"])[wide.index]).all()


def test_pairs_are_apart_where_the_circuit_put_them_apart(found):
    pairs = found[0].pairwise.set_index(["step", "role", "group"])
    before, after = (pairs.loc[(step, "prediction", "answer")] for step in (0, 1))
    assert len(after) == 32 * 31 / 2
    assert after["distance"].min() > after["shuffled"].max()
    assert np.abs(before["distance"].mean() - before["shuffled"].mean()) < 0.05
    ends = {
        (a, b) for a, b in zip(after["a"], after["b"], strict=True) if b == f"V{int(a[1:]) ^ 1:03d}"
    }
    opposite = [(a, b) in ends for a, b in zip(after["a"], after["b"], strict=True)]
    # Values at both ends of an axis are 2 apart, all others √2.
    apart = after["distance"][opposite].mean() / after["distance"][np.logical_not(opposite)].mean()
    assert apart == pytest.approx(np.sqrt(2), rel=0.05)


def test_projections_show_odd_programs_of_the_largest_groups(found):
    shown = found[0].projections
    assert (shown["program"] % 2 == 1).all()
    assert shown.groupby(["role", "group"])["member"].nunique().max() <= SHOWN
    after = shown[(shown["step"] == 1) & (shown["role"] == "prediction")]
    after = after[after["group"] == "answer"]
    within = after.groupby("member")[["x", "y"]].std().to_numpy().max()
    assert after[["x", "y"]].std().min() > 5 * within


def test_the_same_question_has_the_same_answer(planted, planted_benchmark):
    split, chosen = split_of(planted_benchmark, 24), settings(draws=3, rank=2)
    one, two = (look(planted, [planted.flat], split, chosen)[0] for _ in range(2))
    for a, b in zip(one, two, strict=True):
        pd.testing.assert_frame_equal(a, b)


def test_one_role_and_one_group_are_enough(planted, planted_benchmark):
    split = split_of(planted_benchmark, 24)
    chosen = settings(roles=["support_value"], groups=["answer"], draws=2)
    found, _ = look(planted, [planted.flat], split, chosen)
    assert set(found.rows["side"]) == {"qk_key", "ov_input", ""}
    assert set(found.rows["group"]) == {"answer", ""}


@pytest.mark.parametrize(
    ("programs", "changes", "message"),
    [(1, {}, "look at more programs"), (8, {"rank": 17}, "rank 17 is too large")],
)
def test_states_without_groups_and_ranks_without_heads_are_refused(
    planted, planted_benchmark, programs, changes, message
):
    with pytest.raises(AnalysisError, match=message):
        look(planted, [planted.flat], split_of(planted_benchmark, programs), settings(**changes))
