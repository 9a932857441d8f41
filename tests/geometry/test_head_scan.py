"""The scan over heads finds the planted matching head, and nothing where nothing is planted."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from planted import untrained_twin

from circuit.errors import AnalysisError
from circuit.geometry.heads import MEASURES, correlations, growth, head_scan, select_heads
from circuit.model.tap import Tap
from circuit.task.frozen import probe_events
from circuit.task.probes import build_probe_set

HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]
RANK = 4


@pytest.fixture(scope="module")
def events(planted_benchmark):
    """A probe set as analyses use it: one read of each of 32 programs."""
    probes = build_probe_set(planted_benchmark)
    chosen = probes[probes["split"] == "validation_iid"].reset_index(drop=True)
    return probe_events(chosen, planted_benchmark.vocabulary)


def scan(circuit, states, events, rank=RANK):
    """Scan states [P] as if they were the checkpoints 0, 1, … of a run."""
    return head_scan(
        circuit.decoder, states.__getitem__, range(len(states)), events,
        circuit.vocabulary.value_ids, rank,
    )  # fmt: skip


@pytest.fixture(scope="module")
def formation(planted, untrained, events):
    """A 'run' that starts untrained and ends planted."""
    return scan(planted, [untrained.flat, planted.flat], events)


@pytest.mark.parametrize("criterion", ["qk_separation", "qk_separation_rank"])
def test_the_matching_head_wins_and_is_confirmed(formation, planted, criterion):
    chosen = select_heads(formation, criterion, (0, 1))
    assert chosen["winner"] == planted.matching_head
    assert chosen["confirmed"]
    assert chosen["unit"] == "score"
    assert chosen["ranking"][0]["head"] == chosen["winner"]
    assert {entry["head"] for entry in chosen["ranking"]} == set(HEADS)
    by = {entry["head"]: entry for entry in chosen["ranking"]}
    won = by[chosen["winner"]]["confirmation"]
    # A match and a later position: 80 nats over another key's value, less over a stale one.
    assert won > 40
    # The positional heads of layer 0 prefer some distances; that is all the others do.
    for head in {*HEADS} - {chosen["winner"]}:
        assert abs(by[head]["selection"]) < 0.1 * won
        assert abs(by[head]["confirmation"]) < 0.1 * won


def test_the_bottom_controls_growth_is_near_0_with_its_interval(formation, planted):
    chosen = select_heads(formation, "qk_separation", (0, 1))
    at = formation.set_index(["step", "head", "measure", "half"])

    def bounds(head):
        """At least a 90% interval of the growth: the ends of both steps' intervals."""
        first, last = (at.loc[(step, head, "qk_separation", "confirmation")] for step in (0, 1))
        return last["low"] - first["high"], last["high"] - first["low"]

    low, high = bounds(chosen["bottom"])
    won = bounds(chosen["winner"])[0]
    assert won > 40
    assert -0.15 * won < low <= high < 0.15 * won


def test_the_support_value_beats_every_distractor_in_the_matching_head_only(formation, planted):
    beats = formation[(formation["measure"] == "support_beats_all") & (formation["half"] == "all")]
    beats = beats.set_index(["step", "head"])["mean"]
    assert beats[1, planted.matching_head] == 1
    assert beats[1].drop(planted.matching_head).max() < 0.6
    assert beats[0].max() < 0.6


def test_nothing_is_found_between_two_untrained_networks(planted, untrained, formation, events):
    """No head's separation is near a planted one, at either end, and so no growth is.

    An untrained head prefers some positions a little, always the same ones. Its separation is
    therefore not 0, and an interval over events rightly excludes 0 for some of eight heads: such an
    interval says nothing about chance over networks. Its size is what tells it from a learned one.
    """
    other = untrained_twin(planted, seed=1)
    rows = scan(planted, [untrained.flat, other.flat], events)
    learned = growth(formation, "qk_separation", (0, 1), "all")[planted.matching_head]
    separations = rows[rows["measure"] == "qk_separation"]
    assert (separations[["low", "high"]].abs().max(axis=None)) < 0.02 * learned
    for half in ("selection", "confirmation", "all"):
        assert growth(rows, "qk_separation", (0, 1), half).abs().max() < 0.02 * learned


def slow_measures(circuit, events):
    """Per event and head, from whole score and pattern matrices; [event] per (head, measure)."""
    layers = range(2)
    sites = [f"layer_{n}_{kind}" for n in layers for kind in ("scores", "pattern", "v")]
    tap = Tap(capture=sites)
    logits = circuit.decoder.forward(circuit.views, events.tokens, tap).numpy()
    embedding = circuit.views["embedding.token"].numpy()
    gain, bias = (circuit.views[f"final_norm.{part}"].numpy() for part in ("gain", "bias"))
    found: dict[tuple[str, str], list[float]] = {}
    for e in range(len(events)):
        at, support = int(events.prediction[e]), int(events.support_value[e])
        distractors = events.value_distractors[e].nonzero()[:, 0].tolist()
        answer = int(events.answer[e])
        wrong = np.delete(logits[e, at], answer)
        found.setdefault(("model", "answer_margin"), []).append(logits[e, at, answer] - wrong.max())
        for layer in layers:
            for number in range(4):
                scores = tap.cache[f"layer_{layer}_scores"][e, number, at].tolist()
                others = [scores[d] for d in distractors]
                value = tap.cache[f"layer_{layer}_v"][e, support, number].numpy()
                image = value @ circuit.views[f"layer_{layer}.attn.W_O"][number].numpy()
                image = (image - image.mean()) / math.sqrt(image.var() + 1e-5) * gain + bias
                lens = {v: image @ embedding[v] for v in circuit.vocabulary.value_ids}
                mine = lens.pop(answer)
                values = {
                    "qk_separation": scores[support] - sum(others) / len(others),
                    "support_beats_all": float(scores[support] > max(others)),
                    "support_attention": float(
                        tap.cache[f"layer_{layer}_pattern"][e, number, at, support]
                    ),
                    "ov_value_margin": mine - max(lens.values()),
                }
                for measure, one in values.items():
                    found.setdefault((f"L{layer}H{number}", measure), []).append(one)
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("step", [0, 1])
def test_measures_and_halves_are_those_of_whole_patterns(
    formation, planted, untrained, events, step
):
    slow = slow_measures((untrained, planted)[step], events)
    rows = formation[(formation["step"] == step) & (formation["measure"] != "qk_separation_rank")]
    rows = rows[~rows["measure"].str.startswith("singular")]
    assert len(rows) == 3 * len(slow)
    starts = {"selection": (0, 2), "confirmation": (1, 2), "all": (0, 1)}
    for row in rows.itertuples():
        first, every = starts[row.half]
        values = slow[row.head, row.measure][first::every]
        assert row.mean == pytest.approx(values.mean(), rel=1e-8, abs=1e-8)
        assert row.count == len(values)
        assert values.min() - 1e-9 <= row.low <= row.mean <= row.high <= values.max() + 1e-9


def test_singular_values_are_those_of_w_qk(formation, planted, untrained):
    singular = formation[formation["measure"].str.startswith("singular_value")]
    assert len(singular) == 2 * 8 * RANK
    assert set(singular["half"]) == {"all"}
    at = singular.set_index(["step", "head", "measure"])["mean"]
    for step, circuit in enumerate((untrained, planted)):
        for head in HEADS:
            layer, number = int(head[1]), int(head[3])
            w = circuit.views[f"layer_{layer}.attn.W_QKV"].numpy()
            values = np.linalg.svd(w[0, number].T @ w[1, number], compute_uv=False)
            for i in range(RANK):
                assert at[step, head, f"singular_value_{i + 1}"] == pytest.approx(values[i])


def test_at_full_rank_only_the_query_bias_separates_rank_limited_from_full_scores(
    untrained, events
):
    """A key's bias adds the same to every position, and a separation is a difference."""
    d_head = untrained.decoder.settings.d_head
    without = untrained.flat.clone()
    for layer in range(2):
        untrained.decoder.layout.views(without)[f"layer_{layer}.attn.b_QKV"][0] = 0
    rows = scan(untrained, [without, untrained.flat], events, rank=d_head)
    rows = rows[(rows["half"] == "all") & rows["measure"].str.startswith("qk_separation")]
    table = rows.pivot(index=["step", "head"], columns="measure", values="mean")
    gap = (table["qk_separation"] - table["qk_separation_rank"]).abs()
    assert gap[0].max() < 1e-9
    assert table["qk_separation"][0].abs().min() > 1e-5
    assert gap[1].min() > 1e-4


def test_a_rank_that_no_head_has_is_refused(planted, events):
    with pytest.raises(AnalysisError, match=r"rank 17 is too large for W_QK .*expected: 1 to 16"):
        scan(planted, [planted.flat], events, rank=17)


def test_correlations_over_checkpoints_are_spearmans(planted, untrained, events):
    states = [torch.lerp(untrained.flat, planted.flat, float(u)) for u in np.linspace(0, 1, 7)]
    rows = scan(planted, states, events)
    found = correlations(rows).set_index(["head", "measure"])
    every = rows[rows["half"] == "all"]
    margin = every[every["head"] == "model"].sort_values("step")["mean"]
    assert set(found["count"]) == {7}
    names = set()
    for (head, measure), part in every[every["head"] != "model"].groupby(["head", "measure"]):
        series = part.sort_values("step")["mean"]
        if series.nunique() > 1:
            names.add((head, measure))
            expected = scipy.stats.spearmanr(series, margin).statistic
            assert found.loc[(head, measure), "correlation"] == pytest.approx(expected)
    assert set(found.index) == names
    assert {measure for _, measure in names} >= {*MEASURES, "singular_value_1"}


def curve_rows(**curves):
    """Rows of a scan in which a head's criterion takes the given values at steps 0, 1, …"""
    rows = [
        (step, head, "qk_separation", half, value)
        for head, halves in curves.items()
        for half, values in zip(("selection", "confirmation"), halves, strict=True)
        for step, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["step", "head", "measure", "half", "mean"])


def test_correlations_leave_out_what_never_changes_and_average_ties():
    rows = curve_rows(L0H0=([1, 1, 1, 1], []), L0H1=([1, 2, 2, 3], []))
    target = curve_rows(model=([0.1, 0.4, 0.3, 0.9], [])).assign(measure="answer_margin")
    found = correlations(pd.concat([rows, target]).assign(half="all"))
    expected = scipy.stats.spearmanr([1, 2, 2, 3], [0.1, 0.4, 0.3, 0.9]).statistic
    assert found.to_dict("records") == [
        {
            "head": "L0H1",
            "measure": "qk_separation",
            "correlation": pytest.approx(expected),
            "count": 4,
        }
    ]


def test_heads_of_equal_growth_are_ranked_by_name():
    same = ([0.0, 2.0], [0.0, 2.0])
    chosen = select_heads(curve_rows(L1H0=same, L0H1=same, L0H0=same), "qk_separation", (0, 1))
    assert [entry["head"] for entry in chosen["ranking"]] == ["L0H0", "L0H1", "L1H0"]
    assert chosen["confirmed"]
    assert (chosen["winner"], chosen["runner_up"], chosen["bottom"]) == ("L0H0", "L0H1", "L1H0")


def test_a_winner_that_the_other_half_would_not_choose_is_not_confirmed():
    rows = curve_rows(L0H0=([0, 5], [0, 1]), L0H1=([0, 4], [0, 2]), L0H2=([0, -3], [0, -3]))
    chosen = select_heads(rows, "qk_separation", (0, 1))
    assert not chosen["confirmed"]
    assert chosen["winner"] == "L0H0"
    assert chosen["ranking"][0] == {"head": "L0H0", "selection": 5, "confirmation": 1}
    assert chosen["bottom"] == "L0H2"


def test_growth_is_the_change_over_the_window_and_no_more():
    """L0H0 is higher throughout and grows most over the run; L0H1 grows most in the window."""
    rows = curve_rows(L0H0=([0, 8, 9], [0, 8, 9]), L0H1=([0, 1, 4], [0, 1, 4]))
    assert select_heads(rows, "qk_separation", (1, 2))["winner"] == "L0H1"
    assert select_heads(rows, "qk_separation", (0, 2))["winner"] == "L0H0"
    assert growth(rows, "qk_separation", (1, 2), "selection").to_dict() == {"L0H0": 1, "L0H1": 3}
