"""Which scalar of a write is fit: the planted look-up head's, and none of an untrained net's."""

import numpy as np
import pytest
import torch
from planted import untrained_twin

from circuit.errors import AnalysisError
from circuit.measures.writes.fitness import (
    PARTS,
    criteria_rows,
    growth_parts,
    outcome_correlations,
    part_values,
)
from circuit.measures.writes.measured import (
    CONDITIONS,
    MODEL,
    OTHER_VALUES,
    OUTCOMES,
    SCALARS,
    UNATTENDED,
    UNSIZED,
    Progress,
    progress_rows,
    write_births,
)
from circuit.measures.writes.progress import measure_heads
from circuit.model.counting import CountingDecoder
from circuit.statistics import resamples

SHARES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
STEPS = tuple(range(0, 100 * len(SHARES), 100))
HEADS = [f"L{layer}H{head}" for layer in range(2) for head in range(4)]


def heads_of(circuit, theta, steps, events, shuffles=1, decoder=None):
    ids, decoder = circuit.vocabulary.value_ids, decoder or circuit.decoder
    return measure_heads(decoder, theta, steps, events, ids, "fixed_source", shuffles, 0)


@pytest.fixture(scope="module")
def events(planted_events):
    return planted_events.select(range(0, 171, 2))


@pytest.fixture(scope="module")
def counting(planted):
    return CountingDecoder(planted.decoder)


@pytest.fixture(scope="module")
def formed(planted, untrained, events, counting):
    """A 'run' along the straight line from untrained to planted."""
    flats = (torch.lerp(untrained.flat, planted.flat, share) for share in SHARES)
    states = dict(zip(STEPS, flats, strict=True))
    return heads_of(planted, states.__getitem__, STEPS, events, 4, counting)


@pytest.fixture(scope="module")
def judged(formed):
    return criteria_rows(formed, HEADS)


def number(rows, head, scalar, measure, half="selection", **keys):
    """The one row that is meant."""
    meant = {"against": "", "part": "", "head": head, "scalar": scalar, "measure": measure}
    for name, value in {**meant, "half": half, **keys}.items():
        rows = rows[rows[name] == value] if name in rows else rows
    [row] = rows.to_dict("records")
    return row


def test_the_planted_heads_write_is_born_specific_and_made_at_the_support_value(judged, planted):
    """It looks and it copies, on either half of the events."""
    for scalar in ("head_value_over_mean_dla", "head_value_margin_dla_fixed"):
        for half in ("selection", "confirmation"):
            at = (judged, planted.matching_head, scalar)
            assert number(*at, "growth", half)["low"] > 0
            assert number(*at, "half_way", half)["low"] > 0
            assert number(*at, "weakest_correlation", half, over="checkpoints")["low"] > 0.5
            share = {
                part: number(*at, "growth_share", half, part=part)
                for part in ("attention", "values", "shuffled", "elsewhere")
            }
            assert abs(share["shuffled"]["mean"]) < 0.1
            for part in ("shuffled", "elsewhere"):
                assert -0.2 < share[part]["low"] <= share[part]["mean"] <= share[part]["high"] < 0.2
            both = share["attention"]["mean"] + share["values"]["mean"]
            assert both == pytest.approx(1, abs=0.15)
            foreign = sum(abs(share[part]["mean"]) for part in ("shuffled", "elsewhere"))
            assert number(*at, "foreign_share", half)["mean"] == pytest.approx(foreign)


def test_no_other_head_grows_by_any_size(judged, planted):
    """Noise that is learned with the rest may rise as well; its size tells it from a write."""
    for scalar in ("head_value_over_mean_dla", "head_value_margin_dla_fixed"):
        grown = number(judged, planted.matching_head, scalar, "growth")["mean"]
        for head in HEADS:
            if head not in (planted.matching_head, planted.previous_token_head):
                assert number(judged, head, scalar, "growth")["mean"] < 0.2 * grown, head


def test_a_scalar_that_does_not_read_attention_or_has_a_moving_rival_is_told(judged, planted):
    head = planted.matching_head
    assert number(judged, head, "ov_value_margin_fixed", "moved_by_attention")["mean"] == 0
    share = number(judged, head, "ov_value_margin_fixed", "growth_share", part="attention")
    assert share["mean"] == 0
    moving = "head_value_margin_dla_moving"
    switches = {name: number(judged, head, name, "switches")["mean"] for name in SCALARS}
    assert {name for name, share in switches.items() if share > 0} == {moving}
    sized = {name for name in SCALARS if number(judged, head, name, "sees_size")["mean"] == 0}
    assert sized == set(UNSIZED)
    # With another event's values the best rival is that event's answer.
    shuffled = number(judged, head, moving, "growth", against=OTHER_VALUES)
    fixed = number(judged, head, "head_value_margin_dla_fixed", "growth")
    assert shuffled["high"] < -0.5 * fixed["mean"]


def test_a_lens_does_not_see_the_size_of_a_write_and_direct_logits_do(planted, events):
    """Doubling what the matching head writes, at the same final scale."""
    doubled = planted.flat.clone()
    planted.decoder.layout.views(doubled)["layer_1.attn.W_O"][2] *= 2
    # The lens has LayerNorm's epsilon in it, which is nothing beside a planted write.
    once, twice = (
        heads_of(planted, lambda _, flat=flat: flat, STEPS[:3], events)
        .of_heads([planted.matching_head]).real[0, 0].mean(-1)
        for flat in (planted.flat, doubled)
    )  # fmt: skip
    ratio = dict(zip(SCALARS, twice / once, strict=True))
    for scalar in SCALARS:
        if scalar in UNSIZED:
            assert ratio[scalar] == pytest.approx(1, abs=1e-3), scalar
        else:
            assert ratio[scalar] > 1.05, scalar  # the final scale grows with it


def test_between_two_untrained_networks_growths_are_nothing(planted, untrained, events, formed):
    """Beside a planted one."""
    other = untrained_twin(planted, seed=1).flat
    states = {0: untrained.flat, 100: torch.lerp(untrained.flat, other, 0.5), 200: other}
    progress = heads_of(planted, states.__getitem__, tuple(states), events, 4)
    found, planted_parts = growth_parts(progress), growth_parts(formed)
    for head in HEADS:
        for scalar in (name for name in SCALARS if name.startswith("head")):
            grown = number(found, head, scalar, "growth", "all")["mean"]
            limit = number(planted_parts, planted.matching_head, scalar, "growth", "all")["mean"]
            assert abs(grown) < 0.2 * abs(limit), (head, scalar)


def test_one_forward_pass_serves_a_checkpoint(formed, counting):
    assert (counting.passes.whole, counting.passes.continued) == (len(STEPS), 0)


def test_parts_sum_to_the_growth_of_every_event(formed):
    values = part_values(formed)
    whole = len(PARTS)
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
        found = found[found["scalar"] == "head_value_over_mean_dla"].set_index(["measure", "part"])
        share = found.loc[("growth_share", part)]
        assert share[["mean", "low", "high"]].tolist() == pytest.approx([1, 1, 1])
        rest = found.loc["growth_part"].drop(part)
        np.testing.assert_allclose(rest["mean"], 0, atol=1e-12)


def test_correlations_equal_their_slow_computation(formed):
    found = outcome_correlations(formed).set_index(["head", "scalar", "outcome", "over"])
    counts = resamples(formed.values.shape[-1], 0)
    head, scalar, outcome = "L1H2", "head_value_over_mean_dla", "answer_margin"
    x = formed.real[:, formed.heads.index(head), list(SCALARS).index(scalar)]
    y = formed.outcomes[:, list(OUTCOMES).index(outcome)]

    def slow(weights, over):
        if over == "events":
            total = weights.sum()
            a, b = (part[-1] - part[-1] @ weights / total for part in (x, y))
            return (a * b) @ weights / np.sqrt((a * a) @ weights * ((b * b) @ weights))
        curves = [(part @ weights) / weights.sum() for part in (x, y)]
        curves = [np.diff(curve) for curve in curves] if over == "intervals" else curves
        return np.corrcoef(*curves)[0, 1]

    for over, count in (
        ("checkpoints", len(STEPS)), ("intervals", len(STEPS) - 1), ("events", x.shape[1]),
    ):  # fmt: skip
        row = found.loc[(head, scalar, outcome, over)]
        assert row["mean"] == pytest.approx(slow(np.ones(x.shape[1]), over), abs=1e-9)
        drawn = [slow(weights, over) for weights in counts]
        np.testing.assert_allclose(
            row[["low", "high"]].astype(float), np.quantile(drawn, [0.025, 0.975]), atol=1e-9
        )
        assert row["count"] == count


def test_a_scalar_that_never_varies_has_no_correlation_and_does_not_follow():
    rng = np.random.default_rng(1)
    mass = np.full((4, 12), 0.5)
    still = synthetic(np.ones((4, 4, 12)), mass, rng.normal(size=(4, 3, 12)))
    assert outcome_correlations(still)[["mean", "low", "high"]].isna().all(axis=None)
    rows = criteria_rows(still, ["L0H0"])
    for scalar in SCALARS:
        for measure in ("half_way", "growth_share", "weakest_correlation"):
            keys = {"part": "shuffled"} if measure == "growth_share" else {}
            keys |= {"over": "checkpoints"} if measure == "weakest_correlation" else {}
            assert np.isnan(number(rows, "L0H0", scalar, measure, **keys)["mean"])
        assert number(rows, "L0H0", scalar, "moved_by_attention")["mean"] == 0


def test_the_excess_growth_is_paired(formed, planted):
    values = part_values(formed)
    at = formed.heads.index(planted.matching_head), 0
    expected = values[(*at, -1)] - values[(*at, PARTS.index("shuffled"))]
    name = next(iter(SCALARS))
    found = number(
        growth_parts(formed), planted.matching_head, name, "growth", "all", against="excess"
    )
    assert found["mean"] == pytest.approx(expected.mean())


def test_the_weakest_correlation_is_the_lowest_and_halves_share_out_events(judged, formed):
    over = outcome_correlations(formed)
    over = over[(over["over"] == "checkpoints") & (over["head"] == "L1H2")]
    lowest = over.loc[over.groupby("scalar")["low"].idxmin()].set_index("scalar")
    for scalar in SCALARS:
        keys = {"half": "all", "over": "checkpoints"}
        row = number(judged, "L1H2", scalar, "weakest_correlation", **keys)
        assert (row["mean"], row["outcome"]) == tuple(lowest.loc[scalar, ["mean", "outcome"]])
    counts = judged[judged["measure"] == "growth"].groupby("half")["count"].first()
    assert counts["selection"] + counts["confirmation"] == formed.values.shape[-1]


def test_rows_have_every_scalar_under_every_condition_and_the_outcomes(formed):
    rows = progress_rows(formed)
    assert len(rows) == len(STEPS) * (len(HEADS) * len(SCALARS) * len(CONDITIONS) + len(OUTCOMES))
    assert (rows["low"] <= rows["mean"] + 1e-12).all()
    assert (rows["mean"] <= rows["high"] + 1e-12).all()
    at = rows.set_index(["step", "head", "scalar", "attention", "against"])["mean"]
    for place, (attention, values) in enumerate(CONDITIONS):
        against = "" if values == "real" else OTHER_VALUES
        found = at[(STEPS[3], "L1H2", "ov_value_margin_fixed", attention, against)]
        scalar = list(SCALARS).index("ov_value_margin_fixed")
        expected = formed.values[3, formed.heads.index("L1H2"), scalar, place].mean()
        assert found == pytest.approx(expected)
    margin = at[STEPS[-1], MODEL, "answer_margin", "real", ""]
    assert margin == pytest.approx(formed.outcomes[-1, 0].mean())


def test_births_are_of_scalars_as_they_are(formed):
    rows = progress_rows(formed)
    births = write_births(rows, 0)
    named = births[births["measure"] == "half_way"].set_index(["head", "scalar"])
    assert len(named) == len(HEADS) * len(SCALARS) + len(OUTCOMES)
    row = named.loc[("L1H2", "head_value_over_mean_dla")]
    curve = rows[(rows["head"] == "L1H2") & (rows["scalar"] == "head_value_over_mean_dla")]
    curve = curve[(curve["attention"] == "real") & (curve["against"] == "")]
    curve = curve.set_index("step")["mean"]
    half = (curve.iloc[0] + curve.iloc[-1]) / 2
    assert row["unit"] == "step"
    assert (curve[curve.index >= row["mean"]] >= half).all()
    assert curve[curve.index < row["mean"]].iloc[-1] < half
    level = births[(births["measure"] == "half_way_level") & (births["head"] == "L1H2")]
    assert level.set_index("scalar").loc["head_value_over_mean_dla", "mean"] == pytest.approx(half)


def test_two_checkpoints_are_too_few(planted, events):
    with pytest.raises(AnalysisError, match="2 checkpoints are too few for correlations"):
        heads_of(planted, lambda _: planted.flat, (0, 1), events)
