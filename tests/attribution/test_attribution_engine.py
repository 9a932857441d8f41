import numpy as np
import pytest
import torch
from scalar_cases import CASES
from tiny_steps import attribute, scalars_along, updates_of

from circuit.attribution.engine import PATH_RULES, Engine
from circuit.attribution.products import grouped
from circuit.config.terms import COMPONENTS, GROUPINGS
from circuit.scalars.base import Measure
from circuit.scalars.evaluate import Evaluator, scalar_values
from circuit.training.checkpoints import initial_state
from circuit.training.replay import ReplayedStep

RULES = ("trapezoid", "left", "simpson")
SUMMANDS = len(COMPONENTS)
REBINDINGS = ("basis_motion", "rank_cut_jump", "branch_switch")


@pytest.fixture(scope="module")
def results(world, steps, scalars):
    """Every scalar over six steps under every rule."""
    return attribute(world, steps[:6], scalars, RULES)


def engine_of(world, scalars, rules=RULES, evaluate=None):
    evaluate = evaluate or Evaluator(world.decoder, world.events, world.value_ids)
    return Engine(world.decoder.layout, evaluate, scalars, rules)


def polynomial(world, degree):
    """A scalar that is a polynomial in the parameters, and reads no site."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(world.decoder.layout.size, generator=generator, dtype=torch.float64)

    def value(seen):
        theta = world.decoder.layout.flatten(seen.params)
        return (weights @ theta**degree).expand(len(seen.events)) * 1.0

    return Measure("1", frozenset(), value)


# --- What sums to what ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def means(world, steps, scalars):
    """Mean of every scalar at each of the six steps' states, from passes of their own [7, S].

    The scalars hold no choice here, as the engine's do within a step.
    """
    states = (world.states[step.step] for step in steps[:7])
    where = (world.events, world.value_ids)
    found = [scalar_values(world.decoder, theta, *where, scalars) for theta in states]
    return torch.stack(found).mean(-1)


@pytest.mark.parametrize("rule", RULES)
def test_components_terms_and_residual_sum_to_the_growth(results, means, rule):
    """Growth of the unbound scalar, measured anew from the two states."""
    for number, result in enumerate(results):
        before, after = means[number], means[number + 1]
        total = (
            result.by_rule[rule][:, :SUMMANDS].sum(-1)
            + sum(result.rebound.values())
            + result.residual(rule, SUMMANDS)
        )
        scale = before.abs().clamp(min=1)
        assert ((total - (after - before)).abs() <= 1e-12 * scale).all()


def test_terms_are_booked_by_the_scalars_that_make_choices_and_by_no_others(scalars, results):
    assert set(results[0].rebound) == set(REBINDINGS)
    booked = {term: sum(abs(r.rebound[term]) for r in results) for term in REBINDINGS}
    for row, (name, scalar) in enumerate(scalars.items()):
        for term in REBINDINGS:
            assert term in scalar.terms or booked[term][row] == 0, (name, term)
    # Steps are large here, so that bases turn and rivals are overtaken.
    assert booked["basis_motion"][list(scalars).index("qk_separation rank 3 source")] > 1e-6
    assert booked["branch_switch"][list(scalars).index("answer_margin moving")] > 1e-6


def test_a_switch_of_rivals_lowers_a_margin(scalars, results):
    """The new rival is the better one, at the state where it replaces the old one."""
    others = ("qk_ov_product", "score of")
    margins = [row for row, name in enumerate(scalars) if not name.startswith(others)]
    for result in results:
        assert (result.rebound["branch_switch"][margins] <= 1e-12).all()


def test_each_attribution_is_the_mean_gradient_times_the_component(world, steps, scalars, results):
    """Gradients taken separately, at the nodes that the definitions name."""
    nodes = {
        "left": [(0.0, 1.0)],
        "trapezoid": [(0.0, 0.5), (1.0, 0.5)],
        "simpson": [(0.0, 1 / 6), (0.5, 2 / 3), (1.0, 1 / 6)],
    }
    step, result = steps[3], results[3]
    before, update = step.before.theta, step.components.update
    for row, (name, scalar) in enumerate(scalars.items()):
        bound = scalar.at(before)
        at = {u: world.gradient(bound, before + u * update) for u in (0.0, 0.5, 1.0)}
        for rule, weights in nodes.items():
            mean = sum(weight * at[u] for u, weight in weights)
            expected = [float(mean @ part) for part in updates_of(step)]
            found = result.by_rule[rule][row].tolist()
            assert found == pytest.approx(expected, rel=1e-8, abs=1e-10), (name, rule)


@pytest.mark.parametrize(
    "name", ["qk_separation", "qk_separation rank 3 own", "answer_margin fixed_source"]
)
def test_along_the_whole_chord_components_sum_to_the_growth(world, steps, scalars, name):
    """The integral itself, by Gauss-Legendre quadrature: nothing is left over."""
    scalar, step = scalars[name], steps[5]
    nodes, weights = np.polynomial.legendre.leggauss(10)
    before, update = step.before.theta, step.components.update
    gradient = sum(
        w / 2 * world.gradient(scalar, before + (u + 1) / 2 * update)
        for u, w in zip(nodes, weights, strict=True)
    )
    total = sum(float(gradient @ part) for part in step.components.stacked())
    growth = float((world.values(scalar, step.after.theta) - world.values(scalar, before)).mean())
    assert total == pytest.approx(growth, rel=1e-9)


def test_atoms_sum_to_the_first_rules_attribution(results, world, scalars):
    for result in results:
        assert result.atoms.shape == (len(scalars), SUMMANDS + 2, len(world.decoder.layout.atoms))
        torch.testing.assert_close(
            result.atoms.sum(-1), result.by_rule["trapezoid"], rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_every_grouping_sums_to_the_attribution(results, world, grouping):
    groups = grouped(world.decoder.layout, [grouping])[grouping]
    for result in results:
        torch.testing.assert_close(
            groups.sum(result.atoms).sum(-1), result.by_rule["trapezoid"], rtol=1e-9, atol=1e-12
        )


def test_atoms_are_split_under_the_first_rule(world, steps, scalars):
    few = {"it": scalars["qk_separation"]}
    for rule in RULES:
        others = tuple(r for r in RULES if r != rule)
        (result,) = attribute(world, steps[:1], few, (rule, *others))
        torch.testing.assert_close(result.atoms.sum(-1), result.by_rule[rule])


def test_parameters_after_the_last_site_have_no_share(results, world, scalars):
    row = list(scalars).index("qk_separation in layer 0")
    grouping = grouped(world.decoder.layout, ["layer"])["layer"]
    shares = dict(zip(grouping.groups, grouping.sum(results[2].atoms)[row, 0], strict=True))
    assert shares["layer_1"] == shares["final_norm"] == 0
    assert shares["layer_0"] != 0


def test_comparators_are_no_summands(results):
    """With them, the sum would not be the growth."""
    for result in results[3:]:
        everything = result.by_rule["simpson"].sum(-1)
        assert ((everything - result.growth).abs() > 10 * result.residual("simpson", 4).abs()).any()


# --- Path rules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", PATH_RULES)
def test_weights_sum_to_one_at_nodes_on_the_chord(rule):
    assert sum(PATH_RULES[rule].values()) == pytest.approx(1.0)
    assert all(0 <= node <= 1 for node in PATH_RULES[rule])


@pytest.mark.parametrize(
    ("rule", "degree"), [("left", 1), ("trapezoid", 2), ("simpson", 4), ("boole", 6)]
)
def test_a_rule_is_exact_up_to_its_degree_and_no_further(world, rule, degree):
    """Of the scalar, one more than of its gradient; over a step as large as the parameters."""
    before = world.states[0]
    after = before + before.flip(0)
    engine = engine_of(world, {str(n): polynomial(world, n) for n in range(1, 8)}, (rule,))
    result = engine.step(before, after, (after - before)[None])
    relative = (result.residual(rule, 1) / result.growth).abs()
    assert (relative[:degree] < 1e-11).all()
    assert relative[degree] > 1e-3


SMOOTH = [
    "correct_value_logit",
    "negative_answer_loss",
    "support_attention",
    "qk_separation",
    "attention_separation probabilities",
    "answer_margin fixed_source",
    "answer_margin fixed_target",
    "ov_value_margin fixed_source",
    "support_mass_ov_value_margin fixed_source",
    "qk_ov_product fixed_source",
    "head_value_margin_dla fixed_source",
    "head_margin_dla_fixed_readout fixed_target",
    "qk_separation rank 3 own",
    "qk_separation rank 3 source",
    "qk_separation rank 3 final",
]


def test_residuals_shrink_by_orders_from_left_to_trapezoid_to_simpson(world, steps):
    """Summed over a window of large steps, for scalars without kinks."""
    scalars = scalars_along(world, {name: CASES[name] for name in SMOOTH})
    results = attribute(world, steps, scalars, RULES)
    size = {
        rule: sum(result.residual(rule, SUMMANDS).abs() for result in results) for rule in RULES
    }
    assert (size["trapezoid"] < 0.2 * size["left"]).all()
    assert (size["simpson"] < 0.02 * size["trapezoid"]).all()
    moved = sum(result.growth.abs() for result in results)
    assert (size["trapezoid"] < 0.05 * moved).all()
    assert (size["simpson"] < 1e-3 * moved).all()


def test_attributions_join_over_a_window(results, means):
    """Growth of steps adds up to the window's, for scalars that are bound anew at each as well."""
    total = sum(result.growth for result in results)
    torch.testing.assert_close(total, means[-1] - means[0], rtol=1e-9, atol=1e-11)


# --- Forward mode --------------------------------------------------------------------------------


def forward_engine(world, scalars, rules):
    return Engine(
        world.decoder.layout,
        Evaluator(world.decoder, world.events, world.value_ids),
        scalars,
        rules,
        wanted="events",
    )


def test_forward_mode_gives_the_numbers_of_reverse_mode(world, steps, scalars):
    """Of every scalar, those that choose among them, over consecutive steps and all rules."""
    rules = ("midpoint", *RULES)
    engine = forward_engine(world, scalars, rules)
    expected = attribute(world, steps[:2], scalars, rules)
    for step, reverse in zip(steps[:2], expected, strict=True):
        found = engine.step(step.before.theta, step.after.theta, updates_of(step))
        for rule in rules:
            for row, name in enumerate(scalars):
                torch.testing.assert_close(
                    found.by_rule[rule][row],
                    reverse.by_rule[rule][row],
                    rtol=1e-9,
                    atol=1e-9 * float(reverse.by_rule[rule][row].abs().max()) + 1e-14,
                    msg=lambda text, name=name, rule=rule: f"{name}, {rule}: {text}",
                )
            torch.testing.assert_close(
                found.by_rule[rule][:, :SUMMANDS].sum(-1)
                + sum(found.rebound.values())
                + found.residual(rule, SUMMANDS),
                found.growth,
                rtol=1e-12,
                atol=1e-13,
            )
        assert set(found.rebound) == set(reverse.rebound)
        for term, booked in reverse.rebound.items():
            torch.testing.assert_close(found.rebound[term], booked, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found.growth, reverse.growth, rtol=1e-9, atol=1e-12)
        assert torch.equal(found.atoms[..., 0], found.by_rule[rules[0]])
        assert reverse.events.numel() == 0


def test_forward_mode_splits_parts_over_events(world, steps, scalars):
    """An event's part is that of the scalar on this event alone."""
    name = "answer_margin fixed_target"
    step = steps[2]
    inputs = (step.before.theta, step.after.theta, updates_of(step))
    found = forward_engine(world, {name: scalars[name]}, ("trapezoid",)).step(*inputs)
    torch.testing.assert_close(found.events.mean(-1), found.by_rule["trapezoid"])
    for event in (0, 3):
        alone = world._replace(events=world.events.select([event]))
        one = scalars_along(alone, {name: CASES[name]})
        expected = attribute(alone, [step], one, ("trapezoid",))[0].by_rule["trapezoid"]
        torch.testing.assert_close(found.events[..., event], expected, rtol=1e-9, atol=1e-12)


def test_the_engine_takes_the_mode_that_costs_less(world, steps, scalars):
    """Of few scalars reverse mode, of 500 forward mode, where no atoms are wanted."""
    few = {name: scalars[name] for name in ("score of one feature", "drive of features")}
    many = {f"{name} {copy}": scalar for copy in range(250) for name, scalar in few.items()}
    step = steps[0]
    inputs = (step.before.theta, step.after.theta, updates_of(step))
    expected = attribute(world, [step], few, ("midpoint",))[0].by_rule["midpoint"]
    for chosen, forward in ((few, False), (many, True)):
        evaluate = Evaluator(world.decoder, world.events, world.value_ids)
        engine = Engine(world.decoder.layout, evaluate, chosen, ("midpoint",), wanted="sums")
        assert engine.forward(SUMMANDS) is forward
        assert not engine_of(world, chosen, ("midpoint",)).forward(SUMMANDS)
        found = engine.step(*inputs)
        assert (found.events.numel() > 0) is forward
        times = len(chosen) // len(few)
        torch.testing.assert_close(
            found.by_rule["midpoint"], expected.repeat(times, 1), rtol=1e-9, atol=1e-12
        )


# --- Evaluations ---------------------------------------------------------------------------------


class Counted:
    """An evaluation that notes which scalars it was asked for, and where."""

    def __init__(self, world):
        self.inner = Evaluator(world.decoder, world.events, world.value_ids)
        self.values = self.inner.values
        self.calls = []

    def __call__(self, theta, scalars):
        self.calls.append((theta.clone(), tuple(scalars)))
        return self.inner(theta, scalars)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (("left",), 6),
        (("trapezoid",), 6),
        (("trapezoid", "left"), 6),
        (("simpson",), 11),
        (("trapezoid", "left", "simpson"), 11),
        (("midpoint",), 5),
    ],
)
def test_end_points_are_carried_over(world, steps, scalars, rules, expected):
    """Five steps cost N + 1 gradients, 2 N + 1 with the middle, N of the middle alone."""
    count = Counted(world)
    engine = engine_of(world, {"it": scalars["qk_separation"]}, rules, count)
    for step in steps[:5]:
        engine.step(step.before.theta, step.after.theta, updates_of(step))
    assert len(count.calls) == expected


def test_one_pass_at_each_end_serves_scalars_as_they_were_bound_and_bound_anew(
    world, steps, scalars
):
    """A basis that moved costs one more gradient, not one more forward pass."""
    count = Counted(world)
    mixed = {
        "still": scalars["qk_separation"],
        "source": scalars["qk_separation rank 3 source"],
        "own": scalars["qk_separation rank 3 own"],
    }
    engine = engine_of(world, mixed, ("trapezoid",), count)
    for step in steps[:5]:
        engine.step(step.before.theta, step.after.theta, updates_of(step))
    names = [name for _, name in count.calls]
    assert names == [tuple(mixed)] + 5 * [(*mixed, "source basis_motion")]


def test_scalars_that_are_bound_anew_keep_their_place_and_their_own_binding(world, steps, scalars):
    mixed = {
        "a": scalars["qk_separation"],
        "source": scalars["qk_separation rank 3 source"],
        "b": scalars["negative_answer_loss"],
        "moving": scalars["answer_margin moving"],
    }
    engine = engine_of(world, mixed)
    for step in steps[:4]:
        result = engine.step(step.before.theta, step.after.theta, updates_of(step))
        for row, scalar in enumerate(mixed.values()):
            # An engine that knows nothing of the steps before, and a scalar that stays bound.
            bound = scalar.at(step.before.theta)
            held = Measure(bound.unit, bound.sites, bound)
            alone = engine_of(world, {"it": held}).step(
                step.before.theta, step.after.theta, updates_of(step)
            )
            for rule in RULES:
                torch.testing.assert_close(result.by_rule[rule][row], alone.by_rule[rule][0])
            torch.testing.assert_close(result.atoms[row], alone.atoms[0])
            torch.testing.assert_close(
                result.after[row], world.values(scalar, step.after.theta), rtol=1e-9, atol=1e-12
            )
            booked = sum(float(term[row]) for term in result.rebound.values())
            assert booked == pytest.approx(float(result.growth[row] - alone.growth[0]), abs=1e-11)


def test_basis_motion_is_the_own_attribution_less_the_frozen_one(world, steps):
    """The definition by integrals agrees with the one by values, up to their residuals."""
    names = ("qk_separation rank 3 own", "qk_separation rank 3 source")
    both = scalars_along(world, {name: CASES[name] for name in names})
    for result in attribute(world, steps, both, ("gauss_8",)):
        own, frozen = result.by_rule["gauss_8"][:, :SUMMANDS].sum(-1)
        if float(result.rebound["rank_cut_jump"].abs().max()) == 0:
            motion = float(result.rebound["basis_motion"][1])
            assert float(own - frozen) == pytest.approx(motion, abs=1e-9)


def test_a_step_that_does_not_join_the_last_is_evaluated_anew(world, steps, scalars):
    """As after a replay within a tolerance, or over a window with a hole."""
    few = {"it": scalars["qk_separation"]}
    count = Counted(world)
    engine = engine_of(world, few, RULES, count)
    for number in (0, 1, 5):
        step = steps[number]
        result = engine.step(step.before.theta, step.after.theta, updates_of(step))
        (alone,) = attribute(world, [step], few, RULES)
        for rule in RULES:
            torch.testing.assert_close(result.by_rule[rule], alone.by_rule[rule])
        torch.testing.assert_close(result.before, alone.before)
    assert len(count.calls) == 5 + 3


def test_a_state_that_is_updated_in_place_does_not_confuse_the_engine(world, steps, scalars):
    """Replay hands out the same tensor for every state after a step; end points still carry."""
    few = {"it": scalars["qk_separation"]}
    expected = attribute(world, steps[:3], few, ("trapezoid",))
    count = Counted(world)
    engine, theta = engine_of(world, few, ("trapezoid",), count), steps[0].after.theta.clone()
    for step, result in zip(steps[:3], expected, strict=True):
        theta.copy_(step.after.theta)
        found = engine.step(step.before.theta, theta, updates_of(step))
        assert torch.equal(found.by_rule["trapezoid"], result.by_rule["trapezoid"])
    assert len(count.calls) == 4


def test_float32_runs_close_to_their_own_precision(world, scalars, curved):
    """The update's parts are float64, gradients and values float32."""
    state = initial_state(curved.decoder, curved.recipe, curved.seed)
    few = {name: scalars[name] for name in ("qk_separation", "answer_margin fixed_source")}
    engine = engine_of(world, few, ("simpson",))
    for number in range(8):
        before = state.clone()
        step = ReplayedStep(curved, number, before, state, curved.take_step(state))
        result = engine.step(before.theta, state.theta, updates_of(step))
        residual = result.residual("simpson", SUMMANDS).abs()
        assert (residual < 2e-6 + 1e-3 * result.growth.abs()).all()
        assert result.by_rule["simpson"].dtype == torch.float64
