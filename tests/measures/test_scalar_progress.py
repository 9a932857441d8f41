"""Which scalar of a write is fit: the planted look-up head's, and none of an untrained net's."""

import numpy as np
import pandas as pd
import pytest
import torch
from planted import untrained_twin

from circuit.errors import AnalysisError
from circuit.measures.writes.agreement import CORRELATION_UNITS, outcome_correlations
from circuit.measures.writes.fitness import VERDICT_UNITS, Bounds, verdicts
from circuit.measures.writes.measured import ROW_UNITS, Progress, progress_rows, write_births
from circuit.measures.writes.names import (
    CONDITIONS,
    CRITERIA,
    MODEL,
    OUTCOMES,
    PARTS,
    SCALARS,
    UNATTENDED,
    UNSIZED,
)
from circuit.measures.writes.parts import PART_UNITS, growth_parts, part_values
from circuit.measures.writes.progress import measure_heads
from circuit.model.counting import CountingDecoder
from circuit.statistics import resamples

SHARES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
STEPS = tuple(range(0, 100 * len(SHARES), 100))
BOUNDS = Bounds(0.5, 0.2, 0.2)
HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]


def followed(circuit, first, last, events, decoder=None):
    """A 'run' along the straight line between two states."""
    states = dict(zip(STEPS, (torch.lerp(first, last, u) for u in SHARES), strict=True))
    return measure_heads(
        decoder or circuit.decoder,
        states.__getitem__,
        STEPS,
        events,
        circuit.vocabulary.value_ids,
        "fixed_source",
        4,
        0,
    )


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 171, 2))


@pytest.fixture(scope="module")
def counting(planted):
    return CountingDecoder(planted.decoder)


@pytest.fixture(scope="module")
def formed(planted, untrained, events, counting):
    return followed(planted, untrained.flat, planted.flat, events, counting)


@pytest.fixture(scope="module")
def judged(formed):
    table = verdicts(formed, HEADS, BOUNDS)
    return table.set_index(["head", "scalar", "half"]).sort_index()


def test_the_planted_heads_scalars_are_fit_and_confirmed(judged, planted):
    """It looks and it copies: what it writes is born, specific, and made at the support value."""
    for scalar in ("head_value_over_mean_dla", "head_value_margin_dla_fixed"):
        for half in ("selection", "confirmation", "all"):
            row = judged.loc[(planted.matching_head, scalar, half)]
            assert row[list(CRITERIA)].all(), (scalar, half)
            assert row["growth_low"] > 0
            assert abs(row["shuffled"]) < 0.1 * row["growth"]
            assert row["attention_share"] + row["values_share"] == pytest.approx(1, abs=0.15)
    chosen = judged[judged["chosen"]].index.get_level_values("head")
    assert planted.matching_head in chosen


def test_no_other_head_has_a_fit_scalar_of_any_size(judged, planted):
    """Noise that is learned with the rest may rise as well; its size tells it from a write."""
    grown = judged.loc[planted.matching_head, "growth"].unstack("half")["all"]
    for (head, scalar, _), row in judged[judged["fit"]].iterrows():
        if head != planted.matching_head:
            assert row["growth"] < 0.05 * grown[scalar], (head, scalar)


def test_a_scalar_that_does_not_read_attention_or_has_a_moving_rival_is_not_fit(judged, planted):
    at = judged.xs("all", level="half").loc[planted.matching_head]
    assert not at.loc["ov_value_margin_fixed", "sees_attention"]
    assert at.loc["ov_value_margin_fixed", "attention_share"] == 0
    moving = at.loc["head_value_margin_dla_moving"]
    assert moving["switches"] > 0
    assert not moving["smooth"]
    # With another event's values the best rival is that event's answer.
    assert moving["shuffled_high"] < -0.5 * at.loc["head_value_margin_dla_fixed", "growth"]
    assert not moving["specific"]
    fixed = at.drop("head_value_margin_dla_moving")
    assert (fixed["switches"] == 0).all()


def test_a_lens_does_not_see_the_size_of_a_write_and_direct_logits_do(planted, events):
    """Doubling what the matching head writes, at the same final scale."""
    doubled = planted.flat.clone()
    planted.decoder.layout.views(doubled)["layer_1.attn.W_O"][2] *= 2
    # The lens has LayerNorm's epsilon in it, which is nothing beside a planted write.
    once, twice = (
        measure_heads(
            planted.decoder, lambda _, flat=flat: flat, STEPS[:3], events,
            planted.vocabulary.value_ids, "fixed_source", 1, 0,
        ).of_heads([planted.matching_head]).real[0, 0].mean(-1)
        for flat in (planted.flat, doubled)
    )  # fmt: skip
    ratio = dict(zip(SCALARS, twice / once, strict=True))
    for scalar in SCALARS:
        if scalar in UNSIZED:
            assert ratio[scalar] == pytest.approx(1, abs=1e-3), scalar
        else:
            assert ratio[scalar] > 1.05, scalar  # the final scale grows with it


def test_between_two_untrained_networks_no_scalar_is_fit(planted, untrained, events, formed):
    """Growths are nothing beside a planted one, and where there is growth it is not specific."""
    other = untrained_twin(planted, seed=1)
    progress = followed(planted, untrained.flat, other.flat, events)
    table = verdicts(progress, HEADS, BOUNDS)
    assert not table[table["half"] == "all"]["chosen"].any()
    both = table[table["half"] != "all"].groupby(["head", "scalar"])["fit"].all()
    assert not both.any()
    planted_growth = growth_parts(formed).set_index(["head", "scalar", "part"])["mean"]
    for (head, scalar), row in growth_parts(progress).set_index(["head", "scalar"]).iterrows():
        if row["part"] == "growth" and scalar.startswith("head"):
            limit = 0.2 * planted_growth[planted.matching_head, scalar, "growth"]
            assert abs(row["mean"]) < abs(limit), (head, scalar)


def test_one_forward_pass_serves_a_checkpoint(formed, counting):
    assert (counting.passes.whole, counting.passes.continued) == (len(STEPS), 0)


def test_parts_sum_to_the_growth_of_every_event(formed):
    values = part_values(formed)
    whole = PARTS.index("growth")
    np.testing.assert_allclose(
        np.delete(values, whole, axis=2).sum(2), values[:, :, whole], rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(values[:, :, whole], formed.real[-1] - formed.real[0])
    blind = [list(SCALARS).index(name) for name in UNATTENDED]
    assert (values[:, blind, PARTS.index("attention")] == 0).all()
    product = list(SCALARS).index("support_mass_ov_value_margin_fixed")
    assert np.abs(values[:, product, PARTS.index("elsewhere")]).max() < 1e-12


def synthetic(values, mass, outcomes):
    """One head, with all scalars alike; arrays [S, C, E], [S, E], [S, O, E]."""
    steps = len(values)
    stacked = np.repeat(values[:, None, None], len(SCALARS), axis=2)
    rival = np.zeros((steps, 1, values.shape[-1]), dtype=int)
    return Progress(tuple(range(steps)), ("L0H0",), stacked, mass[:, None], rival, outcomes)


def test_growth_by_looking_alone_is_attentions_and_by_reading_alone_the_values():
    rng = np.random.default_rng(0)
    rises, level = np.linspace(0, 1, 5)[:, None], rng.uniform(1, 3, (1, 30))
    nothing, outcomes = np.zeros((5, 30)), rng.normal(size=(5, 3, 30))
    for *factors, part in (
        (rises, level, "attention"),
        (level * 0 + 0.4, 2 * rises, "values"),
    ):
        mass, offered = (np.broadcast_to(each, (5, 30)) for each in factors)
        values = np.stack([mass * offered, nothing, offered, nothing], axis=1)
        found = growth_parts(synthetic(values, mass, outcomes))
        found = found[found["scalar"] == "head_value_over_mean_dla"].set_index("part")
        assert found.loc[part, "share"] == pytest.approx(1)
        rest = found.drop([part, "growth"])
        np.testing.assert_allclose(rest["mean"], 0, atol=1e-12)


def test_correlations_equal_their_slow_computation(formed):
    found = outcome_correlations(formed).set_index(["head", "scalar", "outcome", "over"])
    counts = resamples(formed.values.shape[-1], 0)
    head, scalar, outcome = "L1H2", "head_value_over_mean_dla", "answer_margin"
    x = formed.real[:, formed.heads.index(head), list(SCALARS).index(scalar)]
    y = formed.outcomes[:, list(OUTCOMES).index(outcome)]

    def slow(weights, over):
        if over == "events":
            drawn = np.repeat(np.arange(len(weights)), weights.astype(int))
            return np.corrcoef(x[-1, drawn], y[-1, drawn])[0, 1]
        curves = [(part @ weights) / weights.sum() for part in (x, y)]
        curves = [np.diff(curve) for curve in curves] if over == "intervals" else curves
        return np.corrcoef(*curves)[0, 1]

    for over, count in (
        ("checkpoints", len(STEPS)), ("intervals", len(STEPS) - 1), ("events", x.shape[1]),
    ):  # fmt: skip
        row = found.loc[(head, scalar, outcome, over)]
        assert row["correlation"] == pytest.approx(slow(np.ones(x.shape[1]), over), abs=1e-9)
        drawn = [slow(weights, over) for weights in counts]
        np.testing.assert_allclose(
            row[["low", "high"]].astype(float), np.quantile(drawn, [0.025, 0.975]), atol=1e-9
        )
        assert row["count"] == count


def test_a_scalar_that_never_varies_has_no_correlation_and_does_not_follow():
    rng = np.random.default_rng(1)
    mass = np.full((4, 12), 0.5)
    still = synthetic(np.ones((4, 4, 12)), mass, rng.normal(size=(4, 3, 12)))
    assert outcome_correlations(still)[["correlation", "low", "high"]].isna().all(axis=None)
    table = verdicts(still, ["L0H0"], BOUNDS)
    assert not table[["born", "follows", "sees_attention", "fit", "chosen"]].any(axis=None)


def test_the_choice_is_the_selecting_halfs_and_of_least_foreign_growth(judged):
    for head in HEADS:
        part = judged.loc[head]
        choosing = part.xs("selection", level="half")
        fit = choosing[choosing["fit"]]
        expected = {fit["foreign_share"].idxmin()} if len(fit) else set()
        assert set(part.index[part["chosen"]].get_level_values("scalar")) == expected
        halves = part.groupby(level="half")["count"].first()
        assert halves["selection"] + halves["confirmation"] == halves["all"]


def test_bounds_decide(formed, planted):
    at = (planted.matching_head, "head_value_over_mean_dla")

    def criterion(name, **changes):
        table = verdicts(formed, [at[0]], BOUNDS._replace(**changes))
        return table[table["half"] == "all"].set_index(["head", "scalar"]).loc[at, name]

    assert criterion("follows")
    assert not criterion("follows", follows=0.9999)
    assert criterion("at_support")
    assert not criterion("at_support", elsewhere=1e-9)


def test_rows_have_every_scalar_under_every_condition_and_the_outcomes(formed):
    rows = progress_rows(formed)
    assert len(rows) == len(STEPS) * (len(HEADS) * len(SCALARS) * len(CONDITIONS) + len(OUTCOMES))
    assert (rows["low"] <= rows["mean"] + 1e-12).all()
    assert (rows["mean"] <= rows["high"] + 1e-12).all()
    at = rows.set_index(["step", "head", "scalar", "attention", "values"])["mean"]
    for place, condition in enumerate(CONDITIONS):
        found = at[(STEPS[3], "L1H2", "ov_value_margin_fixed", *condition)]
        scalar = list(SCALARS).index("ov_value_margin_fixed")
        expected = formed.values[3, formed.heads.index("L1H2"), scalar, place].mean()
        assert found == pytest.approx(expected)
    margin = at[STEPS[-1], MODEL, "answer_margin", "real", "real"]
    assert margin == pytest.approx(formed.outcomes[-1, 0].mean())


def test_births_are_of_scalars_as_they_are(formed):
    rows = progress_rows(formed)
    births = write_births(rows, 0)
    named = births[births["method"] == "threshold"].set_index(["head", "scalar"])
    assert len(named) == len(HEADS) * len(SCALARS) + len(OUTCOMES)
    row = named.loc[("L1H2", "head_value_over_mean_dla")]
    curve = rows[(rows["head"] == "L1H2") & (rows["scalar"] == "head_value_over_mean_dla")]
    curve = curve[(curve["attention"] == "real") & (curve["values"] == "real")]
    curve = curve.set_index("step")["mean"]
    half = (curve.iloc[0] + curve.iloc[-1]) / 2
    assert row["found"]
    assert (curve[curve.index >= row["step"]] >= half).all()
    assert curve[curve.index < row["step"]].iloc[-1] < half


def test_every_number_has_a_unit(formed):
    tables = {
        "rows": (progress_rows(formed), ROW_UNITS),
        "parts": (growth_parts(formed), PART_UNITS),
        "correlations": (outcome_correlations(formed), CORRELATION_UNITS),
        "verdicts": (verdicts(formed, HEADS[:1], BOUNDS), VERDICT_UNITS),
    }
    for name, (table, units) in tables.items():
        numeric = [c for c in table if pd.api.types.is_numeric_dtype(table[c])]
        bare = [c for c in numeric if not pd.api.types.is_bool_dtype(table[c])]
        assert set(bare) == set(units), name


def test_two_checkpoints_are_too_few(planted, events):
    with pytest.raises(AnalysisError, match="2 checkpoints are too few for correlations"):
        measure_heads(
            planted.decoder, lambda _: planted.flat, (0, 1), events,
            planted.vocabulary.value_ids, "fixed_source", 1, 0,
        )  # fmt: skip
