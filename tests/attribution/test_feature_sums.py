"""Growth of very many scalars: sums over a stretch, exact, and the same in both modes."""

import pandas as pd
import pytest
import torch
from scalar_cases import DICTIONARIES, World, random_dictionary
from tiny_steps import attribute, updates_of

from circuit.attribution.engine import Engine
from circuit.attribution.growth import StretchSums
from circuit.attribution.sources import OptimizerStep
from circuit.config.scalar import ScalarSettings
from circuit.config.terms import COMPARATORS, COMPONENTS
from circuit.model.sites import parse_head
from circuit.scalars.evaluate import Evaluator
from circuit.scalars.features import Dictionary, each_feature
from circuit.scalars.registry import ScalarContext, build_scalar

RULES = ("midpoint", "trapezoid")


def drives(world, role, dictionary):
    """The drive of every feature, by name."""
    asked = ScalarSettings(scalar="feature_drive", dictionary="it", features="every", role=role)
    every = each_feature({"born": asked}, {"it": dictionary})
    context = ScalarContext(
        world.decoder,
        world.events,
        world.value_ids,
        {},
        world.states.__getitem__,
        (0, 12),
        12,
        {"it": dictionary},
    )
    return {name: build_scalar(settings, context) for name, settings in every.items()}


def summed(world, steps, scalars, told=()):
    evaluate = Evaluator(world.decoder, world.events, world.value_ids)
    engine = Engine(world.decoder.layout, evaluate, scalars, RULES, "events")
    sums = StretchSums(engine, OptimizerStep.parts, OptimizerStep.summands, told)
    for step in steps:
        interval = (step.step, step.step + 1)
        sums.attribute(interval, step.before.theta, step.after.theta, updates_of(step))
    return sums.tables()


@pytest.fixture(scope="module")
def tables(world, steps):
    scalars = drives(world, "support_value", DICTIONARIES["shared"])
    return summed(world, steps[:5], scalars, ("born 4", "born 1"))


def test_sums_are_those_of_every_step_in_reverse_mode(world, steps, tables):
    scalars = drives(world, "support_value", DICTIONARIES["shared"])
    results = attribute(world, steps[:5], scalars, RULES)
    sums = tables["sums"].set_index(["path_rule", "component", "scalar"])
    for rule in RULES:
        parts = torch.stack([result.by_rule[rule] for result in results])
        for column, (component, _) in enumerate(OptimizerStep.parts):
            found = sums.loc[(rule, component)]
            of = parts[:, :, column]
            for name, expected in (("attribution", of.sum(0)), ("sizes", of.abs().sum(0))):
                assert found[name].to_numpy() == pytest.approx(expected, rel=1e-9, abs=1e-14)
        rest = sum(result.residual(rule, len(COMPONENTS)) for result in results)
        assert sums.loc[(rule, "residual"), "attribution"].to_numpy() == pytest.approx(
            rest, abs=1e-12
        )


def test_parts_and_residual_sum_to_the_growth_between_the_ends(world, steps, tables):
    sums = tables["sums"]
    assert set(zip(sums["step"], sums["stop"], strict=True)) == {(0, 5)}
    booked = sums[~sums["component"].isin([*COMPARATORS, "growth"])]
    found = booked.groupby(["path_rule", "scalar"], sort=False)["attribution"].sum()
    scalars = drives(world, "support_value", DICTIONARIES["shared"])
    for name, scalar in scalars.items():
        ends = [float(world.values(scalar, world.states[step]).mean()) for step in (0, 5)]
        for rule in RULES:
            assert found[rule, name] == pytest.approx(ends[1] - ends[0], rel=1e-9, abs=1e-12)


def test_told_events_have_the_parts_of_the_first_rule(tables):
    events = tables["event_parts"]
    assert list(dict.fromkeys(events["scalar"])) == ["born 4", "born 1"]
    means = events.groupby(["scalar", "component"])["attribution"].mean()
    sums = tables["sums"]
    sums = sums[sums["path_rule"] == "midpoint"].set_index(["scalar", "component"])
    expected = sums.loc[means.index, "attribution"]
    pd.testing.assert_series_equal(means, expected, check_names=False, rtol=1e-9, atol=1e-12)


def test_of_a_state_that_is_linear_in_the_parameters_parts_are_known_and_nothing_is_left(
    world, steps
):
    """Token plus position embedding: a part is its own product with the feature's direction."""
    it = random_dictionary(world.decoder.settings.d_model, stage="embedding")
    found = summed(world, steps[:1], drives(world, "prediction", it))["sums"]
    found = found[found["path_rule"] == "midpoint"].set_index(["component", "scalar"])
    events, step = world.events, steps[0]
    at = events.prediction
    token = events.tokens[torch.arange(len(at)), at]
    for (component, _), update in zip(OptimizerStep.parts, updates_of(step), strict=True):
        views = world.decoder.layout.views(update)
        moved = views["embedding.token"][token] + views["embedding.position"][at]
        expected = (moved @ it.W_enc).mean(0)
        parts = found.loc[component, "attribution"].to_numpy()
        assert parts == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert found.loc["residual", "attribution"].abs().max() < 1e-12


def test_the_planted_output_map_builds_the_features_of_answers(planted, planted_events):
    """Restored beside a change of another head's, it is the cause of what each value's gained."""
    decoder, value_ids = planted.decoder, planted.vocabulary.value_ids
    rows = planted.views["embedding.token"][value_ids.start : value_ids.stop]
    none = torch.zeros(len(rows), dtype=rows.dtype)
    values = Dictionary(rows.T, none, rows, torch.zeros_like(rows[0]), "layer_1_post_attn")
    events = planted_events.select(range(0, 171, 9))
    after = planted.flat
    updates = torch.zeros((2, len(after)), dtype=after.dtype)
    layer, head = parse_head(planted.matching_head, 3, 4)
    restored, other = (decoder.layout.views(part)[f"layer_{layer}.attn.W_O"] for part in updates)
    restored[head] = planted.views[f"layer_{layer}.attn.W_O"][head]
    other[0] = 0.1
    before = after - updates.sum(0)
    world = World(decoder, {0: before, 12: after}, events, value_ids)
    scalars = drives(world, "prediction", values)
    evaluate = Evaluator(decoder, events, value_ids)
    engine = Engine(decoder.layout, evaluate, scalars, ("midpoint",), "events")
    sums = StretchSums(engine, [("restored", ""), ("other", "")], 2, list(scalars))
    sums.attribute((0, 12), before, after, updates)
    tables = sums.tables()
    booked = tables["sums"].pivot(index="scalar", columns="component", values="attribution")
    assert booked["residual"].abs().max() < 1e-9  # the state is affine in the output maps
    parts = tables["event_parts"].pivot(
        index=["scalar", "event"], columns="component", values="attribution"
    )
    number = parts.index.get_level_values("scalar").str.removeprefix("born ").astype(int)
    answer = events.answer.numpy()[parts.index.get_level_values("event")]
    right = number + value_ids.start == answer
    assert parts.loc[right, "restored"].min() > 2
    assert parts.loc[right, "other"].abs().max() < 0.5
    assert parts.loc[~right, "restored"].max() < 0.5
