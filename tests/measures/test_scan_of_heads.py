"""The scan over heads finds the planted matching head, and nothing where nothing is planted."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from head_pass import HEADS
from planted import untrained_twin

from circuit.errors import AnalysisError
from circuit.measures.heads.scan import (
    CRITERIA,
    EVENT_UNITS,
    MEASURES,
    correlations,
    growths,
    head_scan,
    select_heads,
)
from circuit.model.tap import Tap
from circuit.statistics import RESAMPLES, bootstrap_mean, drawn_out
from circuit.task.frozen import probe_events
from circuit.task.probes import build_probe_set

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


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_matching_head_wins_and_is_confirmed(formation, planted, criterion):
    chosen = select_heads(formation.events, criterion, (0, 1))
    assert chosen["winner"] == planted.matching_head
    assert chosen["confirmed"]
    assert chosen["unit"] == "score"
    assert chosen["ranking"][0]["head"] == chosen["winner"]
    assert {entry["head"] for entry in chosen["ranking"]} == set(HEADS)
    by = {entry["head"]: entry for entry in chosen["ranking"]}
    won = by[chosen["winner"]]
    # A match and a later position: 80 nats over another key's value, less over a stale one.
    assert won["confirmation"] > won["low"] > 40
    # The positional heads of layer 0 prefer some distances; that is all the others do.
    for head in {*HEADS} - {chosen["winner"]}:
        assert abs(by[head]["selection"]) < 0.1 * won["low"]
        assert max(-by[head]["low"], by[head]["high"]) < 0.15 * won["low"]


def test_the_bottom_control_is_the_most_inert_of_the_others(formation, planted):
    chosen = select_heads(formation.events, "qk_separation", (0, 1))
    by = {entry["head"]: entry for entry in chosen["ranking"]}
    bottom, won = by[chosen["bottom"]], by[planted.matching_head]["low"]
    others = {*HEADS} - {chosen["winner"], chosen["runner_up"]}
    assert chosen["bottom"] in others
    assert abs(bottom["selection"]) == min(abs(by[head]["selection"]) for head in others)
    assert -0.005 * won < bottom["low"] <= bottom["high"] < 0.005 * won
    # The head that shrinks most is no control: the planted positional heads change too.
    assert abs(chosen["ranking"][-1]["selection"]) > 10 * abs(bottom["selection"])


def test_the_support_value_beats_every_distractor_in_the_matching_head_only(formation, planted):
    rows = formation.rows
    beats = rows[(rows["measure"] == "support_beats_all") & (rows["half"] == "all")]
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
    rows, values = scan(planted, [untrained.flat, other.flat], events)
    learned = growths(formation.events, "qk_separation", (0, 1))[planted.matching_head].mean()
    separations = rows[rows["measure"] == "qk_separation"]
    assert (separations[["low", "high"]].abs().max(axis=None)) < 0.02 * learned
    for change in growths(values, "qk_separation", (0, 1)).values():
        assert abs(change.mean()) < 0.02 * learned
    for entry in select_heads(values, "qk_separation", (0, 1))["ranking"]:
        assert np.abs([entry[k] for k in ("selection", "low", "high")]).max() < 0.02 * learned


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


@pytest.fixture(scope="module")
def slow(planted, untrained, events):
    """By step, what every measure is on every event."""
    return [slow_measures(circuit, events) for circuit in (untrained, planted)]


def test_measures_and_halves_are_those_of_whole_patterns(formation, slow):
    rows = formation.rows[formation.rows["measure"] != "qk_separation_rank"]
    rows = rows[~rows["measure"].str.startswith("singular")]
    assert len(rows) == 3 * (len(slow[0]) + len(slow[1]))
    starts = {"selection": (0, 2), "confirmation": (1, 2), "all": (0, 1)}
    for row in rows.itertuples():
        first, every = starts[row.half]
        values = slow[row.step][row.head, row.measure][first::every]
        assert row.mean == pytest.approx(values.mean(), rel=1e-8, abs=1e-8)
        assert row.count == len(values)
        assert row.low <= row.mean <= row.high
        if row.measure == "support_beats_all":
            share = bootstrap_mean(values, share=True)
            assert (row.low, row.high) == pytest.approx((share.low, share.high))


def test_events_are_the_values_that_the_means_are_of(formation, slow, events):
    """Of the criteria only, for every head, step and event once, in whole-pattern values."""
    table = formation.events
    assert not table.duplicated(["step", "head", "measure", "event"]).any()
    assert len(table) == 2 * len(HEADS) * len(CRITERIA) * len(events)
    at = table.set_index(["step", "head", "measure", "event"])["value"].sort_index()
    means = formation.rows.set_index(["step", "head", "measure", "half"])["mean"]
    for step in (0, 1):
        for head in HEADS:
            found = at[step, head, "qk_separation"]
            assert found.index.tolist() == list(range(len(events)))
            np.testing.assert_allclose(found, slow[step][head, "qk_separation"], atol=1e-8)
            for measure in CRITERIA:
                values = at[step, head, measure].to_numpy()
                halves = {"selection": values[::2], "confirmation": values[1::2], "all": values}
                for half, part in halves.items():
                    assert means[step, head, measure, half] == pytest.approx(part.mean(), rel=1e-9)


def test_every_number_has_a_unit(formation):
    assert set(formation.rows["unit"]) == {*MEASURES.values(), "score·√d_head"}
    assert set(formation.events.select_dtypes("number")) == set(EVENT_UNITS)
    assert {MEASURES[criterion] for criterion in CRITERIA} == {EVENT_UNITS["value"]}


def test_growths_and_their_intervals_are_of_pairs_of_whole_pattern_values(formation, slow, events):
    """Change per event first, then events drawn one by one: no table, no product of counts."""
    before, after = slow
    generator = np.random.default_rng(3)
    confirming = range(1, len(events), 2)
    draws = [generator.integers(len(confirming), size=len(confirming)) for _ in range(RESAMPLES)]
    chosen = select_heads(formation.events, "qk_separation", (0, 1), seed=3)
    for entry in chosen["ranking"]:
        measure = entry["head"], "qk_separation"
        change = after[measure] - before[measure]
        mine = np.array([change[e] for e in confirming])
        means = np.array([mine[list(draw)].mean() for draw in draws])
        means = drawn_out(means, mine.mean(), len(mine))
        assert entry["count"] == len(mine) == 16
        assert entry["selection"] == pytest.approx(change[::2].mean(), rel=1e-6, abs=1e-8)
        assert entry["confirmation"] == pytest.approx(mine.mean(), rel=1e-6, abs=1e-8)
        assert entry["low"] == pytest.approx(np.quantile(means, 0.025), rel=1e-4, abs=1e-6)
        assert entry["high"] == pytest.approx(np.quantile(means, 0.975), rel=1e-4, abs=1e-6)
        bounds = scipy.stats.bootstrap((mine,), np.mean, n_resamples=20_000, method="percentile",
                                       rng=np.random.default_rng(5))  # fmt: skip
        ends = drawn_out(np.array(bounds.confidence_interval), mine.mean(), len(mine))
        for found, other in zip((entry["low"], entry["high"]), ends, strict=True):
            assert found == pytest.approx(other, abs=0.3 * bounds.standard_error)


def test_singular_values_are_those_of_w_qk(formation, planted, untrained):
    singular = formation.rows[formation.rows["measure"].str.startswith("singular_value")]
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
    rows, _ = scan(untrained, [without, untrained.flat], events, rank=d_head)
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
    rows, _ = scan(planted, states, events)
    found = correlations(rows).set_index(["head", "of"])
    every = rows[rows["half"] == "all"]
    margin = every[every["head"] == "model"].sort_values("step")["mean"]
    assert set(found["count"]) == {7}
    names = set()
    for (head, measure), part in every[every["head"] != "model"].groupby(["head", "measure"]):
        series = part.sort_values("step")["mean"]
        if series.nunique() > 1:
            names.add((head, measure))
            expected = scipy.stats.spearmanr(series, margin).statistic
            assert found.loc[(head, measure), "mean"] == pytest.approx(expected)
    assert set(found.index) == names
    assert {measure for _, measure in names} >= {*MEASURES, "singular_value_1"}


def curve_rows(**curves):
    """Rows of a scan in which a head's criterion takes the given means at steps 0, 1, …"""
    rows = [
        (step, head, "qk_separation", "all", value)
        for head, values in curves.items()
        for step, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["step", "head", "measure", "half", "mean"])


def test_correlations_leave_out_what_never_changes_and_average_ties():
    rows = curve_rows(L0H0=[1, 1, 1, 1], L0H1=[1, 2, 2, 3])
    target = curve_rows(model=[0.1, 0.4, 0.3, 0.9]).assign(measure="answer_margin")
    found = correlations(pd.concat([rows, target]))
    expected = scipy.stats.spearmanr([1, 2, 2, 3], [0.1, 0.4, 0.3, 0.9]).statistic
    told = found[["head", "of", "mean", "count"]].to_dict("records")
    mean = pytest.approx(expected)
    assert told == [{"head": "L0H1", "of": "qk_separation", "mean": mean, "count": 4}]


def curve_events(**curves):
    """Events of a scan: head → steps → value of events 0, 1, …; a second measure is in the way."""
    rows = [
        (step, head, measure, event, value if measure == "qk_separation" else -value)
        for measure in CRITERIA
        for head, steps in curves.items()
        for step, values in enumerate(steps)
        for event, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["step", "head", "measure", "event", "value"])


def grown(**growth):
    """Events in which each head grows as given on the selection and the confirmation half."""
    return curve_events(**{head: ([0] * 6, [s, c] * 3) for head, (s, c) in growth.items()})


def chosen_from(events, window=(0, 1), **options):
    return select_heads(events, "qk_separation", window, **options)


def roles(chosen):
    return chosen["winner"], chosen["runner_up"], chosen["bottom"]


def test_a_winner_that_the_other_half_would_not_choose_is_not_confirmed():
    chosen = chosen_from(grown(L0H0=(5, 1), L0H1=(4, 2), L0H2=(-3, -3)))
    assert not chosen["confirmed"]
    assert chosen["winner"] == "L0H0"
    assert chosen["ranking"][0] == {
        "head": "L0H0", "selection": 5, "confirmation": 1, "low": 1, "high": 1, "count": 3,
    }  # fmt: skip
    assert chosen_from(grown(L0H0=(5, 2), L0H1=(4, 1), L0H2=(-3, -3)))["confirmed"]


@pytest.mark.parametrize(
    ("growth", "expected"),
    [
        # Equal growth: by name.
        ([(2, 2), (2, 2), (2, 2), (2, 2)], (0, 1, 2)),
        # The bottom control changed least in size, on the half that chooses, and need not be last.
        ([(5, 5), (2, 2), (-0.5, 9), (0.6, 0), (-8, 0)], (0, 1, 2)),
        ([(5, 5), (2, 2), (-0.7, 0), (0.6, 0), (-8, 0)], (0, 1, 3)),
        # Neither winner nor runner-up is the control, however little they change.
        ([(5, 5), (0, 0), (-3, -3)], (0, 1, 2)),
        ([(0, 0), (-1, 0), (-4, 0), (-3, 0)], (0, 1, 3)),
    ],
)
def test_winner_runner_up_and_bottom_control(growth, expected):
    named = [(f"L0H{i}", pair) for i, pair in enumerate(growth)]
    chosen = chosen_from(grown(**dict(named[::-1])))
    assert roles(chosen) == tuple(f"L0H{i}" for i in expected)


@pytest.mark.parametrize("heads", [1, 2])
def test_fewer_than_three_heads_have_no_control(heads):
    with pytest.raises(AnalysisError) as caught:
        chosen_from(grown(**{f"L0H{i}": (i, i) for i in range(heads)}))
    assert str(caught.value) == (
        f"{heads} heads are too few for a winner, a runner-up and a control — where: head scan — "
        "expected: at least three heads — what to do: scan a model with more heads"
    )


def test_growth_is_the_change_over_the_window_and_no_more():
    """L0H0 is higher throughout and grows most over the run; L0H1 grows most in the window."""
    events = curve_events(
        L0H0=([0, 0], [8, 8], [9, 9]), L0H1=([0, 0], [1, 1], [4, 4]), L0H2=([0, 0], [0, 0], [0, 1])
    )
    assert chosen_from(events, (1, 2))["winner"] == "L0H1"
    assert chosen_from(events, (0, 2))["winner"] == "L0H0"
    found = growths(events, "qk_separation", (1, 2))
    assert {head: change.tolist() for head, change in found.items()} == {
        "L0H0": [1, 1], "L0H1": [3, 3], "L0H2": [0, 1],
    }  # fmt: skip
    assert growths(events, "qk_separation_rank", (1, 2))["L0H1"].tolist() == [-3, -3]


def wobbling(count=60):
    """Three heads whose events lie far apart at both steps and grow by nearly the same."""
    rng = np.random.default_rng(0)
    heads = {}
    for i, head in enumerate(("L0H0", "L0H1", "L0H2")):
        start = 100 * rng.standard_normal(count)
        heads[head] = (start, start + 2 - i + 0.1 * rng.standard_normal(count))
    return curve_events(**heads)


def test_an_interval_of_growth_is_paired():
    """How far events lie apart is no doubt about a growth that they share."""
    for entry in chosen_from(wobbling())["ranking"]:
        width = entry["high"] - entry["low"]
        assert entry["low"] < entry["confirmation"] < entry["high"]
        assert width == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(30), rel=0.4)


def test_the_order_of_the_rows_does_not_matter_and_the_seed_only_to_the_intervals():
    events = wobbling()
    chosen = chosen_from(events)
    assert chosen_from(events.sample(frac=1, random_state=0)) == chosen == chosen_from(events)
    other = chosen_from(events, seed=1)
    assert roles(other) == roles(chosen)
    for a, b in zip(chosen["ranking"], other["ranking"], strict=True):
        assert a["low"] != b["low"]
        assert a["confirmation"] == b["confirmation"]
