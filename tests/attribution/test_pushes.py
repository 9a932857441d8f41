"""Pushes of single targets in forward mode, against backward passes."""

import pytest
import torch

from circuit.attribution.data_labels import label_batch, label_programs
from circuit.attribution.pushes import motion
from circuit.errors import AnalysisError
from circuit.scalars.routing import qk_separation
from circuit.training.optimizers import gains
from circuit.training.trajectory import batch_gradient


@pytest.fixture(scope="module")
def step(steps):
    return steps[6]


@pytest.fixture(scope="module")
def here(step):
    """Decoder, parameters and batch at the step's start."""
    return step.trajectory.decoder, step.before.theta, step.taken.batch


@pytest.fixture(scope="module")
def direction(world, step):
    """The gradient of a scalar at the step's start."""
    return world.gradient(qk_separation((1, 0)), step.before.theta)


def program_pushes(decoder, theta, batch, direction):
    return motion(decoder, theta, batch.tokens[:, :-1], direction).pushes(batch.targets)


def test_pushes_sum_to_the_derivative_of_the_loss(here, direction):
    decoder, theta, batch = here
    pushes = program_pushes(*here, direction)
    gradient = batch_gradient(decoder, theta, batch).gradient
    assert float(pushes.sum()) == pytest.approx(float(gradient @ direction), rel=1e-12)
    assert pushes.shape == batch.targets.shape
    assert not pushes[batch.targets < 0].any()


def test_each_push_is_the_derivative_of_its_targets_loss(here, direction):
    decoder, theta, batch = here
    pushes = program_pushes(*here, direction)
    count = int((batch.targets >= 0).sum())
    for row, place in ((0, 0), (3, 11), (15, 20)):
        lone = torch.full_like(batch.targets, -100)
        lone[row, place] = batch.targets[row, place]
        gradient = batch_gradient(decoder, theta, batch._replace(targets=lone)).gradient / count
        assert float(pushes[row, place]) == pytest.approx(float(gradient @ direction), rel=1e-10)


def test_programs_are_taken_in_any_portions(here, direction, monkeypatch):
    whole = program_pushes(*here, direction)
    monkeypatch.setattr("circuit.attribution.pushes._PROGRAMS", 3)
    again = program_pushes(*here, direction)
    torch.testing.assert_close(again, whole, rtol=1e-10, atol=1e-15)


def test_float32_runs_push_alike(here, direction):
    decoder, theta, batch = here
    exact = program_pushes(*here, direction)
    single = program_pushes(decoder, theta.float(), batch, direction)
    assert single.dtype == torch.float32
    torch.testing.assert_close(
        single.double(), exact, rtol=1e-3, atol=1e-5 * float(exact.abs().max())
    )


def test_motion_keeps_probabilities_summing_to_one(step, direction):
    found = motion(
        step.trajectory.decoder, step.before.theta, step.taken.batch.tokens[:, :-1], direction
    )
    rate = (found.log_probability.exp() * found.rate).sum(-1)
    torch.testing.assert_close(rate, torch.zeros_like(rate), rtol=0, atol=1e-13)


def test_programs_sum_to_the_attribution_of_the_current_gradient(world, step, here):
    """⟨a c Ḡ, g⟩ over programs, with Ḡ of any path rule: forward mode and the components agree."""
    scalar, optimizer = qk_separation((1, 0)), step.trajectory.recipe.optimizer
    ends = (world.gradient(scalar, at.theta) for at in (step.before, step.after))
    mean = sum(ends) / 2
    gain = gains(optimizer, step.after.moments, step.step).gradient
    direction = gain * step.taken.clipped.coefficient * mean
    pushes = program_pushes(*here, direction)
    expected = float(mean @ step.components.current_gradient)
    assert float(pushes.sum(1).sum()) == pytest.approx(expected, rel=1e-11)


def test_who_supports_a_scalar_is_told_by_its_own_gradient(step, here, planted_benchmark):
    """Program by program, with a backward pass each; along a direction that divides them."""
    generator = torch.Generator().manual_seed(1)
    gradient = step.taken.clipped.gradient
    direction = torch.randn(len(gradient), generator=generator, dtype=torch.float64)
    direction -= (direction @ gradient) * gradient / (gradient @ gradient)
    decoder, theta, batch = here
    programs, vocabulary = planted_benchmark.splits["train"], planted_benchmark.vocabulary
    labels = label_programs(programs, vocabulary, "supports_opposes")
    found = label_batch(labels, decoder, theta, batch, direction)
    assert torch.equal(found >= 0, batch.targets >= 0)
    for row in range(len(batch.rows)):
        lone = batch._replace(
            tokens=batch.tokens[row : row + 1], targets=batch.targets[row : row + 1]
        )
        push = -float(batch_gradient(decoder, theta, lone).gradient @ direction)
        name = labels.groups[int(found[row, 0])]
        assert name == ("supports" if push > 0 else "opposes")
    assert set(found.unique().tolist()) == {-1, 0, 1}


def test_labels_known_beforehand_need_no_gradient_and_others_do(here, planted_benchmark):
    programs, vocabulary = planted_benchmark.splits["train"], planted_benchmark.vocabulary
    known = label_programs(programs, vocabulary, "lag")
    assert torch.equal(label_batch(known, *here, None), known.of(here[-1]))
    with pytest.raises(AnalysisError, match="not defined without a scalar's gradient"):
        label_batch(label_programs(programs, vocabulary, "supports_opposes"), *here, None)
