"""Effects per answer value: means by hand, and variance between values against known cases."""

import numpy as np
import pandas as pd
import pytest
from planted import untrained_twin

from circuit.config.scalar import ScalarSettings
from circuit.errors import AnalysisError
from circuit.measures.writes.per_value import (
    EXCHANGED,
    Observations,
    effects_per_value,
    variance_shares,
)
from circuit.scalars.evaluate import scalar_values
from circuit.scalars.registry import ScalarContext, build_scalar, resolve_write
from circuit.task.events import read_events

ANSWER = ScalarSettings(
    scalar="functional_write",
    head="L1H2",
    stage="layer_1_post_attn",
    role="prediction",
    gradient="integrated",
)


@pytest.fixture(scope="module")
def events(planted_benchmark):
    programs = planted_benchmark.splits["validation_iid"]
    return read_events(programs, planted_benchmark.vocabulary)


def measured(planted, events, states):
    decoder, words, theta = planted.decoder, planted.vocabulary, states.__getitem__
    ids = words.value_ids

    def context(some):
        return ScalarContext(decoder, some, ids, {}, theta, (0, 1), 1)

    def writes_of(some):
        return {"answer": resolve_write(ANSWER, context(some))}

    found = effects_per_value(decoder, theta, (0, 1), events, words, writes_of, 0)
    scalar = {"it": build_scalar(ANSWER, context(events))}
    return found, scalar_values(decoder, states[1], events, ids, scalar)[0]


@pytest.fixture(scope="module")
def formed(planted, events):
    return measured(planted, events, {0: untrained_twin(planted).flat, 1: planted.flat})


def values(found, step):
    """Effects by value."""
    rows = found[(found["step"] == step) & (found["measure"] == "value_effect")]
    return rows.set_index("value")


def spread_of(rows):
    """The numbers of all values, by measure, and what 95% of exchanges stay below."""
    own = rows[(rows["against"] == "") & (rows["measure"] != "value_effect")]
    [control] = rows.loc[rows["against"] == EXCHANGED, "high"]
    return {**own.set_index("measure")["mean"], "by_chance": control}


def test_every_value_gets_the_mean_over_programs(formed, planted, events):
    found, effects = formed
    table = pd.DataFrame(
        {
            "program": events.sample_id,
            "value": [planted.vocabulary.tokens[i] for i in events.answer.tolist()],
            "effect": effects.numpy(),
        }
    )
    by_hand = table.groupby(["program", "value"])["effect"].mean().groupby("value")
    now = values(found, 1)
    np.testing.assert_allclose(now["mean"], by_hand.mean().loc[now.index], rtol=1e-9)
    assert (now["count"] == by_hand.size().loc[now.index]).all()
    assert (now["low"] <= now["mean"]).all()
    assert (now["mean"] <= now["high"]).all()


def test_the_planted_copy_helps_every_value(formed):
    """V000 and V001 lie on the weakest axis, the last two on the strongest."""
    found, _ = formed
    now = values(found, 1)
    assert (now["low"] > 1).all()
    rows = found[found["step"] == 1]
    assert spread_of(rows)["values"] == len(now)
    [observed] = rows.loc[rows["measure"] == "within_values", "count"]
    assert observed == now["count"].sum()


def test_the_untrained_twin_helps_no_value(formed):
    found, _ = formed
    start, end = (values(found, step) for step in (0, 1))
    assert start["mean"].abs().max() < 0.1 * end["mean"].min()


def observations(programs, values):
    """Every program has every value."""
    held = np.ones((programs, values), dtype=np.int64)
    program, value = np.nonzero(held)
    return Observations(tuple(f"V{i}" for i in range(values)), program, value, held)


def test_known_variances_are_found():
    rng = np.random.default_rng(0)
    means = rng.normal(0, 2, 60)
    told = spread_of(observations(200, 60).spread(means + rng.normal(0, 3, (200, 60)), 0, "logit"))
    assert told["between_values"] == pytest.approx(means.std(ddof=1), rel=0.05)
    assert told["within_values"] == pytest.approx(3, rel=0.02)
    assert told["value_share"] == pytest.approx(
        means.var(ddof=1) / (means.var(ddof=1) + 9), rel=0.06
    )
    assert told["exchanges_that_reach_it"] == 0


def test_values_that_do_nothing_stay_below_chance():
    above = 0
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0, 1, (30, 12))
        told = spread_of(observations(30, 12).spread(noise, seed, "logit"))
        above += told["value_share"] > told["by_chance"]
    assert above <= 3  # 1 of 20 is expected


def test_the_analysis_of_variance_is_scipys():
    from scipy.stats import f_oneway

    rng = np.random.default_rng(1)
    groups = [rng.normal(i, 2, n) for i, n in enumerate((4, 7, 3, 9))]
    belongs = np.eye(4)[np.repeat(np.arange(4), [len(g) for g in groups])]
    between, within, share = variance_shares(np.concatenate(groups)[None], belongs)
    sizes = np.array([len(g) for g in groups])
    typical = (sizes.sum() - (sizes**2).sum() / sizes.sum()) / 3
    statistic = f_oneway(*groups).statistic
    assert 1 + typical * between[0] / within[0] == pytest.approx(statistic, rel=1e-12)
    assert share[0] == between[0] / (between[0] + within[0])


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_nothing_to_compare_is_refused(shape):
    with pytest.raises(AnalysisError, match="raise programs"):
        observations(*shape).spread(np.ones(shape), 0, "logit")
