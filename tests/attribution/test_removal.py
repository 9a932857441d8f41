"""Taking a share of a data group out of one step, and what the attribution says of it."""

import pytest
import torch
from tiny_run import tiny_recipe, tiny_trajectory
from tiny_steps import float64_steps

from circuit.attribution.data_labels import label_programs
from circuit.attribution.removal import (
    FULL,
    HELD,
    _gradient_without,
    _step,
    push_update,
    removal_oracle,
)
from circuit.attribution.sources import GroupMemory
from circuit.scalars.behaviour import answer_margin
from circuit.scalars.routing import qk_separation
from circuit.training.checkpoints import TrainState, initial_state
from circuit.training.optimizers import advance, clip
from circuit.training.trajectory import batch_gradient

SHARES = (1e-3, 1e-2, 1e-1)
OPTIMIZERS = ("adamw", "sgd", "sgd_momentum")
AT = 12


@pytest.fixture(scope="module", params=[(o, c) for o in OPTIMIZERS for c in (1.0, 0.05, None)])
def run(request, planted_benchmark):
    """Steps whose gradient is clipped a little, a lot, or not at all."""
    kind, most = request.param
    recipe = tiny_recipe(kind, optimizer={"clip": most})
    return float64_steps(tiny_trajectory(planted_benchmark, recipe), AT + 1)


@pytest.fixture(scope="module")
def labels(planted_benchmark):
    programs, vocabulary = planted_benchmark.splits["train"], planted_benchmark.vocabulary
    return {
        data: label_programs(programs, vocabulary, data)
        for data in ("lag", "token", "supports_opposes")
    }


@pytest.fixture(scope="module")
def scalars():
    return {"looking": qk_separation((0, 1)), "margin": answer_margin(None)}


@pytest.fixture(scope="module", params=["lag", "token", "supports_opposes"])
def rows(request, run, labels, scalars, world):
    where = (scalars, world.events, world.value_ids)
    trajectory, state = run[AT].trajectory, run[AT].before
    return removal_oracle(trajectory, state, labels[request.param], SHARES, *where)


def missed(rows, redone):
    """What the prediction missed of the parameters."""
    return rows[(rows["measure"] == "parameters_missed") & (rows["redone"] == redone)]


def changes(rows, redone):
    """Predicted and actual changes of the scalar that is smooth, by group and share."""
    part = rows[(rows["scalar"] == "looking") & (rows["redone"] == redone)]
    return part.pivot(index=["data_group", "share"], columns="measure", values="mean")


def test_with_everything_held_the_parameters_move_as_attributed(rows):
    """To rounding (of θ', far larger than its change): the update is linear in the gradient."""
    assert (missed(rows, HELD)["mean"] < 1e-6).all()


def test_what_is_missed_vanishes_with_the_share(rows):
    """Error over share goes to nothing: the prediction is right to first order."""
    most = missed(rows, FULL).groupby("share")["mean"].max()
    assert most[1e-3] < 0.02
    assert most[1e-3] < 0.2 * most[1e-2] + 1e-8
    assert most[1e-2] < 0.2 * most[1e-1] + 1e-8


@pytest.mark.parametrize("redone", [HELD, FULL])
def test_scalars_move_as_said_to_first_order(rows, redone):
    smooth = changes(rows, redone)
    size = smooth["actual"].abs().groupby("share").max()
    relative = (smooth["actual"] - smooth["predicted"]).abs().groupby("share").max() / size
    assert relative[1e-3] < 0.01
    assert relative[1e-3] < 0.2 * relative[1e-2] + 1e-6
    assert relative[1e-2] < 0.2 * relative[1e-1] + 1e-6


def test_groups_that_supported_are_missed(rows):
    if "supports" not in set(rows["data_group"]):
        return
    lead = changes(rows, HELD)["predicted"].xs(1e-3, level="share")
    assert set(lead.index) == {"supports", "opposes"}
    assert lead["supports"] < lead["opposes"]


def test_every_row_has_its_unit(rows, scalars):
    assert set(zip(rows["scalar"], rows["unit"], strict=True)) == {
        ("", "share"),
        *((name, scalar.unit) for name, scalar in scalars.items()),
        *((name, f"{scalar.unit} per share") for name, scalar in scalars.items()),
    }
    each = 2 * (4 * len(scalars) + 1)
    assert len(rows) == len(SHARES) * each * rows["data_group"].nunique()


def test_attributed_is_the_groups_part_of_the_current_gradient(
    run, rows, scalars, world, planted_benchmark
):
    """The memory's own parts, along the scalar's gradient at the step's end."""
    if "lag 1" not in set(rows["data_group"]):
        return
    step, trajectory = run[AT], run[AT].trajectory
    programs, vocabulary = planted_benchmark.splits["train"], planted_benchmark.vocabulary
    labels = label_programs(programs, vocabulary, "lag")
    memory = GroupMemory(trajectory.decoder, trajectory.recipe.optimizer, labels)
    parts = dict(zip(memory.parts, memory.split(step, None), strict=True))
    slope = world.gradient(scalars["looking"], step.after.theta)
    for group, value in changes(rows, HELD)["predicted"].xs(1e-2, level="share").items():
        expected = -1e-2 * float(slope @ parts["current_gradient", group])
        assert value == pytest.approx(expected, rel=1e-8, abs=1e-15)


def test_redoing_is_what_training_does_without_the_group(run, labels):
    """A whole group taken out is the step that training takes on a loss without it."""
    step, settings = run[AT], run[AT].trajectory.recipe.optimizer
    batch, mask = step.taken.batch, labels["lag"].of(step.taken.batch) == 0
    left = batch._replace(targets=batch.targets.masked_fill(mask, -100))
    decoder = step.trajectory.decoder
    gradient = batch_gradient(decoder, step.before.theta, left).gradient
    gradient = gradient * (int((left.targets >= 0).sum()) / int((batch.targets >= 0).sum()))
    own = _gradient_without(decoder, step.before.theta, batch, mask)
    torch.testing.assert_close(own, gradient)
    after, _ = _step(settings, step.before, own)
    expected = step.before.clone()
    ready = clip(settings, gradient)
    advance(settings, expected.theta, expected.moments, ready.gradient, AT)
    torch.testing.assert_close(after.theta, expected.theta, rtol=1e-12, atol=1e-15)


def test_the_updates_derivative_by_finite_differences(run):
    """Through clipping and the preconditioner, along a direction of any kind."""
    step, settings = run[AT], run[AT].trajectory.recipe.optimizer
    decoder, batch, start = step.trajectory.decoder, step.taken.batch, step.before
    gradient = batch_gradient(decoder, start.theta, batch).gradient
    generator = torch.Generator().manual_seed(0)
    along = gradient * torch.rand(gradient.shape, generator=generator, dtype=torch.float64)

    def update(at: float) -> torch.Tensor:
        after = start.clone()
        ready = clip(settings, gradient + at * along)
        advance(settings, after.theta, after.moments, ready.gradient, AT)
        return after.theta - start.theta

    expected = (update(1e-5) - update(-1e-5)) / 2e-5
    after = TrainState(step.after.theta, step.after.moments, AT + 1)
    found = push_update(settings, after, gradient, along)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7 * float(expected.abs().max()))


def test_a_recorded_float32_state_is_redone_in_finer_numbers(
    planted_benchmark, labels, scalars, world
):
    trajectory = tiny_trajectory(planted_benchmark, tiny_recipe())
    state = initial_state(trajectory.decoder, trajectory.recipe, trajectory.seed)
    for _ in range(4):
        trajectory.take_step(state)
    kept = state.clone()
    where = (scalars, world.events, world.value_ids)
    rows = removal_oracle(trajectory, state, labels["lag"], (1e-3,), *where)
    assert (missed(rows, HELD)["mean"] < 1e-9).all()
    assert (rows["step"] == 4).all()
    assert torch.equal(state.theta, kept.theta)
    assert state.step == kept.step == 4
