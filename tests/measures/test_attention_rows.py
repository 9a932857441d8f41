"""Attention, scores, OV images and direct logits of every head, against a slow loop over reads.

The oracle runs one read at a time, finds its roles by going through the words, and takes scores,
patterns and writes from the whole forward pass.
"""

import math

import numpy as np
import pytest
import torch
from head_pass import HEADS, pass_of
from program_text import reads_of

from circuit.errors import AnalysisError
from circuit.measures.heads.attention import MEASURES, ROLES, attention_geometry
from circuit.measures.heads.chain import LINKS
from circuit.measures.heads.maps import PATTERN_UNITS, pattern_labels, pictured_patterns
from circuit.model.counting import CountingDecoder
from circuit.model.tap import Tap
from circuit.task.events import read_events

STEPS = (0, 40)
PICTURES = 5


@pytest.fixture(scope="module")
def programs(planted_benchmark):
    return planted_benchmark.splits["heldout_pairs"].head(10)


@pytest.fixture(scope="module")
def reads(programs, planted_benchmark):
    return list(reads_of(programs, planted_benchmark.vocabulary))


@pytest.fixture(scope="module")
def events(programs, planted):
    return read_events(programs, planted.vocabulary)


@pytest.fixture(scope="module")
def counting(planted):
    return CountingDecoder(planted.decoder)


@pytest.fixture(scope="module")
def found(counting, planted, untrained, events):
    """Everything about a 'run' that starts untrained and ends planted."""
    theta = dict(zip(STEPS, (untrained.flat, planted.flat), strict=True)).__getitem__
    chain, words = ("L1H2", "L1H0"), planted.vocabulary
    return attention_geometry(counting, theta, STEPS, events, words, chain, PICTURES, 2, 3)


def pictured(circuit, events, head, pictures):
    """Pictures alone, of one state."""
    labels = pattern_labels(events, circuit.vocabulary, pictures)
    return pictured_patterns(pass_of(circuit, events), head, labels)


@pytest.fixture(scope="module")
def whole(planted, untrained, reads):
    """Every site of one forward pass per read and state, at the prediction position."""
    sites = [f"layer_{n}_{s}" for n in range(2) for s in ("pattern", "scores", "head_write")]
    seen = {}
    for step, circuit in zip(STEPS, (untrained, planted), strict=True):
        for number, read in enumerate(reads):
            tap = Tap(capture=(*sites, "final_norm_scale"))
            prefix = circuit.vocabulary.ids(" ".join(read.words[: read.prediction + 1]))
            circuit.decoder.forward(circuit.views, torch.tensor([prefix]), tap)
            for layer in range(2):
                for head in range(4):
                    seen[step, number, f"L{layer}H{head}"] = {
                        "pattern": tap.cache[f"layer_{layer}_pattern"][0, head, -1].tolist(),
                        "scores": tap.cache[f"layer_{layer}_scores"][0, head, -1].tolist(),
                        "write": tap.cache[f"layer_{layer}_head_write"][0, -1, head],
                        "scale": tap.cache["final_norm_scale"][0, -1],
                    }
    return seen


def value_logits(circuit, state):
    ids = circuit.vocabulary.value_ids
    return (circuit.views["embedding.token"][ids.start : ids.stop] @ state).tolist()


def over_best(logits, right):
    return logits[right] - max(v for i, v in enumerate(logits) if i != right)


def slow(circuit, read, seen):
    """Every measure of one head on one read."""
    scores, pattern, write = seen["scores"], seen["pattern"], seen["write"]
    (support,) = read.roles["support_value"]
    others = [scores[at] for at in read.roles["value_distractors"]]
    right = int(read.answer[1:])
    lens = value_logits(circuit, circuit.decoder.final_norm(circuit.views, write))
    direct = (write - write.mean()) / seen["scale"] * circuit.views["final_norm.gain"]
    direct = value_logits(circuit, direct)
    rest = [v for i, v in enumerate(direct) if i != right]
    return {
        ("support_value", "qk_separation"): scores[support] - sum(others) / len(others),
        ("support_value", "qk_best_margin"): scores[support] - max(others),
        ("causal_prefix", "entropy"): -sum(p * math.log(p) for p in pattern if p > 0),
        ("causal_prefix", "ov_value_margin_attended"): over_best(lens, right),
        ("prediction", "head_value_margin_dla"): over_best(direct, right),
        ("prediction", "head_value_over_mean_dla"): direct[right] - sum(rest) / len(rest),
    }


def levels_of(geometry):
    rows = geometry.rows
    return rows[(rows["quantity"] == "level") & (rows["against"] == "")]


def test_role_attention_equals_a_slow_loop_on_ten_programs(found, programs, reads, whole):
    assert len(programs) == 10
    masses = levels_of(found)
    masses = masses[masses["measure"] == "attention_mass"]
    at = masses.set_index(["step", "head", "role"])
    assert len(at) == len(STEPS) * (len(HEADS) + 1) * len(ROLES)
    for step in STEPS:
        for head in HEADS:
            for role in ROLES:
                total = 0.0
                for number, read in enumerate(reads):
                    for position in read.roles[role]:
                        total += whole[step, number, head]["pattern"][position]
                row = at.loc[(step, head, role)]
                assert row["mean"] == pytest.approx(total / len(reads), rel=1e-10, abs=1e-13)
                assert row["low"] <= row["mean"] <= row["high"]
                assert row["count"] == len(reads)


def test_every_other_measure_equals_its_slow_computation(found, reads, whole, planted, untrained):
    at = levels_of(found).set_index(["step", "head", "role", "measure"])["mean"]
    for step, circuit in zip(STEPS, (untrained, planted), strict=True):
        for head in HEADS:
            values = [
                slow(circuit, read, whole[step, number, head]) for number, read in enumerate(reads)
            ]
            for key in values[0]:
                mean = np.mean([value[key] for value in values])
                assert at[(step, head, *key)] == pytest.approx(mean, rel=1e-9, abs=1e-11), key


def test_the_even_head_spreads_its_attention(found, reads):
    at = levels_of(found).set_index(["step", "head", "role"])
    for role in ROLES:
        share = np.mean([len(read.roles[role]) / (read.prediction + 1) for read in reads])
        assert at.loc[(40, "even", role), "mean"] == pytest.approx(share, rel=1e-12)
    entropy = np.mean([math.log(read.prediction + 1) for read in reads])
    assert at.loc[(40, "even", "causal_prefix"), "mean"] == pytest.approx(entropy, rel=1e-12)


def test_changes_are_between_neighbouring_checkpoints_and_paired(found):
    keys = ["head", "role", "measure"]
    levels = levels_of(found)
    first, last = (levels[levels["step"] == at].set_index(keys)["mean"] for at in STEPS)
    change = found.rows[found.rows["quantity"] == "change"]
    assert set(change["step"]) == {40}
    change = change.set_index(keys)
    np.testing.assert_allclose(change["mean"], (last - first)[change.index], atol=1e-12)
    assert (change["low"] <= change["mean"] + 1e-12).all()
    assert (change["mean"] <= change["high"] + 1e-12).all()
    still = change.xs("even")
    assert (still[["mean", "low", "high"]] == 0).all(axis=None)


def test_what_masses_have_beyond_even_attention_is_paired(found):
    keys = ["step", "head", "role"]
    excess = found.rows[found.rows["against"] == "excess"].query("role != ''").set_index(keys)
    levels = levels_of(found).query("measure == 'attention_mass'").set_index(keys)["mean"]
    assert len(excess) == len(STEPS) * len(HEADS) * len(ROLES)
    for (step, head, role), row in excess.iterrows():
        beyond = levels[step, head, role] - levels[step, "even", role]
        assert row["mean"] == pytest.approx(beyond, abs=1e-12)
    # Where a head puts nothing, what it lacks varies as even attention does, and no more.
    sure = excess.loc[(40, "L1H2", "support_value")]
    assert sure["high"] - sure["low"] < 0.05


def test_one_forward_pass_serves_a_checkpoint(found, counting):
    assert (counting.passes.whole, counting.passes.continued) == (len(STEPS), 0)


def test_only_the_planted_head_has_the_whole_chain_and_the_untrained_twin_none(planted_found):
    """L1H2 finds the support value, attends to it, reads the answer there and writes it.

    Untrained, at most one of five links of any head, by chance: value margins start below 0.
    """
    links = chain_of(planted_found, 40)
    assert [head for head in HEADS if links[head].all()] == ["L1H2"]
    assert max(present.sum() for present in chain_of(planted_found, 0).values()) <= 1


@pytest.fixture(scope="module")
def planted_found(planted, untrained, planted_events):
    states = dict(zip(STEPS, (untrained.flat, planted.flat), strict=True))
    return attention_geometry(
        planted.decoder,
        states.__getitem__,
        STEPS,
        planted_events.select(range(0, 171, 2)),
        planted.vocabulary,
        ["L1H2"],
        1,
        1,
        1,
    )


def chain_of(geometry, step):
    """By head, whether each link lies beyond 0 (mass: beyond even attention) with its interval."""
    at = levels_of(geometry).query(f"step == {step}").set_index(["head", "role", "measure"])
    even = at.loc[("even", "support_value", "attention_mass"), "high"]
    return {
        head: np.array(
            [
                at.loc[(head, *link), "low"] > (even if link[1] == "attention_mass" else 0)
                for link in LINKS.values()
            ]
        )
        for head in HEADS
    }


def test_pictures_hold_whole_patterns_up_to_the_prediction(found, reads, whole):
    assert set(found.patterns["event"]) == set(range(PICTURES))
    for (step, event), part in found.patterns.groupby(["step", "event"]):
        assert part["position"].tolist() == list(range(reads[event].prediction + 1))
        pattern = whole[step, event, "L1H2"]["pattern"]
        np.testing.assert_allclose(part["attention"], pattern, rtol=1e-9, atol=1e-15)
        assert part["attention"].sum() == pytest.approx(1)
        assert set(part["sample_id"]) == {reads[event].sample_id}


def test_pictured_positions_carry_their_token_and_first_role(found, reads):
    """Stale values are distractors too; a picture calls them stale."""
    shown = ("support_value", "query_key", "stale_value", "value_distractors", "key_distractors")
    seen = set()
    for row in found.patterns.itertuples():
        read = reads[row.event]
        assert row.token == read.words[row.position]
        roles = [r for r in (*shown, "prior_answers") if row.position in read.roles[r]]
        assert row.role == (roles[0] if roles else "other")
        seen.add(row.role)
    assert seen == {*shown, "prior_answers", "other"}


def test_another_head_is_another_head_and_more_pictures_than_events_are_all(
    planted, events, whole, reads
):
    patterns = pictured(planted, events, (1, 0), len(reads) + 3)
    assert set(patterns["event"]) == set(range(len(reads)))
    first = patterns.loc[patterns["event"] == 0, "attention"]
    np.testing.assert_allclose(first, whole[40, 0, "L1H0"]["pattern"], rtol=1e-9)


def test_a_head_that_does_not_exist_is_refused(planted, events):
    with pytest.raises(AnalysisError, match="head 'L2H0' does not exist"):
        attention_geometry(
            planted.decoder, lambda _: planted.flat, STEPS, events, planted.vocabulary, ["L2H0"],
            1, 1, 1,
        )  # fmt: skip


def test_every_number_has_a_unit(found):
    assert set(found.patterns.select_dtypes("number")) == set(PATTERN_UNITS)
    assert set(MEASURES) < set(found.rows["measure"])
    units = found.rows.drop_duplicates("measure").set_index("measure")["unit"]
    assert units[list(MEASURES)].to_dict() == MEASURES
    assert units["half_way"] == "step"


def test_earlier_heads_that_look_back_to_the_key_have_intervals_that_hold_at_once(planted_found):
    found = planted_found.rows.query("measure == 'support_value_to_its_key'")
    assert set(found["head"]) == {*HEADS[:4], "even"}
    beyond = found[found["against"] == "excess"].set_index("head")
    assert beyond["mean"].idxmax() == "L0H1"
    assert beyond.loc["L0H1", "low"] > 0.8
    one = planted_found.maps.query(
        "query_role == 'support_value' and key_role == 'support_key' and step == 40 and "
        "against == 'excess'"
    ).set_index("head")
    np.testing.assert_allclose(beyond["mean"], one.loc[beyond.index, "mean"], atol=1e-12)
    width = beyond["high"] - beyond["low"]
    assert (width > (one["high"] - one["low"])[beyond.index] * 0.99).all()
