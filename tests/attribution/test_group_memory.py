"""Which data an update came from, against every past gradient kept and summed by hand."""

from dataclasses import replace

import pytest
import torch
from tiny_run import tiny_recipe, tiny_trajectory
from tiny_steps import float64_steps

from circuit.attribution.data_labels import GROUPINGS, label_batch, label_programs
from circuit.attribution.group_gradients import group_gradients
from circuit.attribution.sources import GroupMemory
from circuit.config.terms import BEFORE_WINDOW, COMPARATORS
from circuit.errors import AnalysisError
from circuit.training.checkpoints import initial_state
from circuit.training.optimizers import gains
from circuit.training.replay import ReplayedStep

OPTIMIZERS = ("adamw", "sgd", "sgd_momentum")
WINDOW = 20


@pytest.fixture(scope="module", params=OPTIMIZERS)
def run(request, planted_benchmark):
    """Sixty float64 steps under each optimizer."""
    return float64_steps(tiny_trajectory(planted_benchmark, tiny_recipe(request.param)), 60)


def memory_of(planted_benchmark, steps, data="lag", memory=100):
    programs, vocabulary = planted_benchmark.splits["train"], planted_benchmark.vocabulary
    labels = label_programs(programs, vocabulary, data)
    trajectory = steps[0].trajectory
    return GroupMemory(trajectory.decoder, trajectory.recipe.optimizer, labels, memory)


def slopes(step):
    """Stand-ins for the scalars' gradients at a step's start; the first decides who supports.

    It is at right angles to the batch's gradient, so some programs support and some oppose.
    """
    generator = torch.Generator().manual_seed(step.step)
    gradient = step.taken.clipped.gradient
    drawn = torch.randn(2, len(gradient), generator=generator, dtype=torch.float64)
    return drawn - (drawn @ gradient)[:, None] * gradient / (gradient @ gradient)


def assert_same(found, expected):
    """To 1e-9 of their size (the issue asks for 1e-6).

    Key biases have no gradient but its rounding, which AdamW divides by little more than ε, so
    single entries cannot be compared.
    """
    assert float((found - expected).norm()) <= 1e-9 * float(expected.norm())


def named(memory, parts):
    return dict(zip(memory.parts, parts, strict=True))


@pytest.mark.parametrize("data", GROUPINGS)
def test_parts_sum_to_the_update(run, planted_benchmark, data):
    memory = memory_of(planted_benchmark, run, data)
    for step in run[:5]:
        parts = memory.split(step, slopes(step) if memory.by_gradient else None)
        whole = step.components
        update = step.after.theta - step.before.theta
        assert parts.dtype == torch.float64
        assert parts.shape == (len(memory.parts), len(update))
        size = float(update.abs().max())
        miss = (parts[: memory.summands].sum(0) - update).abs()
        assert float(miss.max()) < 1e-13 * size
        assert (miss <= 1e-15 * parts[: memory.summands].abs().sum(0)).all()
        for component in ("current_gradient", "momentum", "weight_decay"):
            rows = [i for i, (name, _) in enumerate(memory.parts) if name == component]
            expected = getattr(whole, component)
            # Groups may cancel, so what is left is rounding of the groups, not of their sum.
            error = (parts[rows].sum(0) - expected).abs()
            assert (error <= 1e-12 * (size + parts[rows].abs().sum(0))).all(), component
        rounding = named(memory, parts)["rounding", ""].abs()
        assert (rounding <= 1e-12 * (size + parts[: memory.summands].abs().sum(0))).all()


@pytest.mark.parametrize("data", ["lag", "sample", "supports_opposes"])
def test_comparators_split_too_and_are_no_summands(run, planted_benchmark, data):
    memory = memory_of(planted_benchmark, run, data)
    step = run[3]
    parts = memory.split(step, slopes(step))
    assert {name for name, _ in memory.parts[memory.summands :]} == set(COMPARATORS)
    for comparator in COMPARATORS:
        rows = [i for i, (name, _) in enumerate(memory.parts) if name == comparator]
        torch.testing.assert_close(
            parts[rows].sum(0), step.comparators[comparator], rtol=1e-10, atol=1e-15
        )


@pytest.fixture(scope="module")
def gradients(run, planted_benchmark):
    """Every clipped group gradient of the run, each from a run of its own and none a remainder."""
    memory = memory_of(planted_benchmark, run)
    return [
        step.taken.clipped.coefficient
        * group_gradients(
            memory.decoder,
            step.before.theta,
            step.taken.batch,
            memory.labels.of(step.taken.batch),
            len(memory.labels.groups),
        )
        for step in run[:-1]
    ]


def by_hand(run, gradients, first):
    """Momentum of every group at the last step: all gradients since ``first``, with weights."""
    optimizer, last = run[0].trajectory.recipe.optimizer, len(gradients)
    keep, take = {
        "adamw": (optimizer.betas[0], 1 - optimizer.betas[0]),
        "sgd_momentum": (optimizer.momentum, 1.0),
        "sgd": (0.0, 0.0),
    }[optimizer.kind]
    ages = range(last - 1 - first, -1, -1)
    total = sum(keep**age * take * g for age, g in zip(ages, gradients[first:], strict=True))
    return gains(optimizer, run[last].after.moments, last).momentum * total


@pytest.mark.parametrize("start", [0, WINDOW])
def test_momentum_of_groups_is_that_of_all_past_gradients(run, gradients, planted_benchmark, start):
    """Over a run of sixty steps; from its start, and with a window that starts later."""
    memory = memory_of(planted_benchmark, run)
    for step in run[start:-1]:
        memory.remember(step, None)
    found = named(memory, memory.split(run[-1], None))
    expected = by_hand(run, gradients, start)
    for group, vector in zip(memory.labels.groups, expected, strict=True):
        assert_same(found["momentum", group], vector)
    rest = found["momentum", BEFORE_WINDOW]
    assert_same(expected.sum(0) + rest, run[-1].components.momentum)
    assert bool(rest.any()) == (start > 0 and memory.optimizer.kind != "sgd")


def test_what_came_before_the_window_fades_by_its_moment(run, planted_benchmark):
    """In the window's first step it is the whole momentum; then it shrinks by β a step."""
    memory = memory_of(planted_benchmark, run)
    settings = run[0].trajectory.recipe.optimizer
    first = named(memory, memory.split(run[WINDOW], None))
    torch.testing.assert_close(
        first["momentum", BEFORE_WINDOW], run[WINDOW].components.momentum, rtol=1e-12, atol=0
    )
    for group in memory.labels.groups:
        assert not first["momentum", group].any()
    for step in run[WINDOW + 1 : WINDOW + 6]:
        found = named(memory, memory.split(step, None))["momentum", BEFORE_WINDOW]
    if settings.kind == "sgd":
        assert not found.any()
        return
    name = {"adamw": "exp_avg", "sgd_momentum": "momentum_buffer"}[settings.kind]
    keep = settings.betas[0] if settings.kind == "adamw" else settings.momentum
    gain = gains(settings, step.after.moments, step.step).momentum
    expected = gain * keep**5 * run[WINDOW].before.moments[name]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


def test_warming_up_gives_what_splitting_every_step_gives(run, planted_benchmark):
    """A job that begins in the middle remembers first; a step that was remembered is not lost."""
    split, warmed = (memory_of(planted_benchmark, run) for _ in range(2))
    for step in run[:WINDOW]:
        split.split(step, None)
        warmed.remember(step, None)
    for step in run[WINDOW : WINDOW + 3]:
        assert torch.equal(split.split(step, None), warmed.split(step, None))


def test_a_short_warm_up_forgets_only_what_has_faded(planted_benchmark):
    """Gradients older than the warm-up are in before_window, weighted by β to their age."""
    run = float64_steps(tiny_trajectory(planted_benchmark, tiny_recipe()), 41)
    whole, short = (memory_of(planted_benchmark, run) for _ in range(2))
    for step in run[:40]:
        whole.remember(step, None)
        if step.step >= 10:
            short.remember(step, None)
    expected, found = whole.split(run[40], None), short.split(run[40], None)
    miss = float((found - expected)[: len(short.labels.groups) * 2].norm())
    assert 0 < miss < 0.9**30 * 3 * float(run[40].components.momentum.norm())


def test_supporters_are_remembered_by_whom_they_supported_then(run, planted_benchmark):
    memory = memory_of(planted_benchmark, run, "supports_opposes")
    for step in run[:4]:
        parts = memory.split(step, slopes(step))
        labels = label_batch(
            memory.labels,
            memory.decoder,
            step.before.theta,
            step.taken.batch,
            slopes(step)[0],
        )
        gradients = group_gradients(memory.decoder, step.before.theta, step.taken.batch, labels, 2)
        along = -gradients @ slopes(step)[0]
        assert along[0] > 0 > along[1]
        found = named(memory, parts)
        gain = gains(memory.optimizer, step.after.moments, step.step).gradient
        for name, gradient in zip(memory.labels.groups, gradients, strict=True):
            expected = gain * step.taken.clipped.coefficient * gradient
            assert_same(found["current_gradient", name], expected)


def test_float32_runs_leave_their_rounding_in_a_part_of_its_own(planted_benchmark):
    trajectory = tiny_trajectory(planted_benchmark, tiny_recipe())
    state = initial_state(trajectory.decoder, trajectory.recipe, trajectory.seed)
    memory = None
    for number in range(30):
        before = state.clone()
        step = ReplayedStep(trajectory, number, before, state, trajectory.take_step(state))
        memory = memory or memory_of(planted_benchmark, [step], "query_key")
        parts = memory.split(step, None)
        update = state.theta.double() - before.theta.double()
        total = parts[: memory.summands].sum(0)
        assert float((total - update).abs().max()) < 1e-15 * float(update.abs().max())
        rounding = named(memory, parts)["rounding", ""]
        assert float(rounding.norm()) < 3e-4 * float(update.norm())


def test_memory_does_not_grow_with_the_number_of_steps(run, planted_benchmark):
    memory = memory_of(planted_benchmark, run)
    sizes = set()
    for step in run[:12]:
        memory.split(step, None)
        kept = [v for v in vars(memory).values() if isinstance(v, torch.Tensor)]
        sizes.add(sum(tensor.untyped_storage().nbytes() for tensor in kept))
    size = 8 * memory.decoder.layout.size
    assert sizes == {size * (len(memory.labels.groups) + 1)}


def test_nothing_is_remembered_for_an_optimizer_without_a_moment(planted_benchmark, run):
    memory = memory_of(planted_benchmark, run)
    assert memory.memory == (0 if memory.optimizer.kind == "sgd" else 100)


def test_a_step_that_was_left_out_is_refused(run, planted_benchmark):
    memory = memory_of(planted_benchmark, run)
    memory.split(run[4], None)
    with pytest.raises(AnalysisError, match="step 6 follows step 4"):
        memory.split(run[6], None)


def test_who_supports_cannot_be_remembered_without_a_scalar(run, planted_benchmark):
    memory = memory_of(planted_benchmark, run, "supports_opposes")
    assert memory.by_gradient
    if memory.optimizer.kind == "sgd":
        return
    with pytest.raises(AnalysisError, match="without a scalar's gradient"):
        memory.remember(replace(run[0]), None)
