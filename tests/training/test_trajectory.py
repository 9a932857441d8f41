import pytest
import torch
from tiny_run import DIGEST, tiny_recipe, tiny_trajectory

from circuit.training.checkpoints import initial_state
from circuit.training.trajectory import batch_gradient, environment, trajectory_identity

DATA = {"split": DIGEST, "ids": 42}


@pytest.fixture(scope="module")
def wide_state(trajectory):
    """Parameters in float64, moved away from the initialisation so that no gradient is special."""
    state = initial_state(trajectory.decoder, trajectory.recipe, trajectory.seed)
    generator = torch.Generator().manual_seed(4)
    theta = state.theta.double()
    return theta + 0.2 * torch.randn(theta.shape, generator=generator, dtype=torch.float64)


def loss_at(trajectory, theta, batch):
    """Mean over real tokens of the negative log probability, one token at a time."""
    logits = trajectory.decoder.forward(trajectory.decoder.layout.views(theta), batch.tokens)
    log_p = logits.log_softmax(-1)
    terms, hits = [], []
    for program, length in enumerate(trajectory.stream.lengths[batch.rows].tolist()):
        for position in range(length - 1):
            target = int(batch.tokens[program, position + 1])
            terms.append(log_p[program, position, target])
            hits.append(int(log_p[program, position].argmax()) == target)
    return -float(torch.stack(terms).mean()), sum(hits) / len(hits)


def test_loss_and_accuracy_are_means_over_all_real_tokens(trajectory, wide_state):
    batch = trajectory.stream.batch(2)
    found = batch_gradient(trajectory.decoder, wide_state, batch)
    loss, accuracy = loss_at(trajectory, wide_state, batch)
    assert found.loss == pytest.approx(loss, rel=1e-12)
    assert found.token_accuracy == pytest.approx(accuracy, abs=1e-6)


def test_the_gradient_is_the_losss_by_finite_differences(trajectory, wide_state):
    """Along a random direction in every named tensor, one by one, in float64."""
    decoder, batch = trajectory.decoder, trajectory.stream.batch(0)
    gradient = batch_gradient(decoder, wide_state, batch).gradient
    generator = torch.Generator().manual_seed(2)
    for entry in decoder.layout.entries:
        direction = torch.zeros_like(wide_state)
        run = slice(entry.offset, entry.offset + entry.size)
        direction[run] = torch.randn(entry.size, generator=generator, dtype=torch.float64)
        up = batch_gradient(decoder, wide_state + 1e-5 * direction, batch).loss
        down = batch_gradient(decoder, wide_state - 1e-5 * direction, batch).loss
        slope = (up - down) / 2e-5
        assert float(gradient @ direction) == pytest.approx(slope, rel=1e-5, abs=1e-9), entry.name


def test_padding_changes_neither_loss_nor_gradient(trajectory, wide_state):
    batch = trajectory.stream.batch(1)
    wider = batch._replace(
        tokens=torch.nn.functional.pad(batch.tokens, (0, 5), value=7),
        targets=torch.nn.functional.pad(batch.targets, (0, 5), value=-100),
    )
    narrow = batch_gradient(trajectory.decoder, wide_state, batch)
    padded = batch_gradient(trajectory.decoder, wide_state, wider)
    assert padded.loss == pytest.approx(narrow.loss, rel=1e-12)
    torch.testing.assert_close(padded.gradient, narrow.gradient, rtol=0, atol=1e-12)


def test_a_step_depends_on_nothing_but_the_state(trajectory):
    """Two states that are equal go the same way, bit for bit, whatever was done in between."""
    state = initial_state(trajectory.decoder, trajectory.recipe, trajectory.seed)
    trajectory.take_step(state)
    twin = state.clone()
    first = trajectory.take_step(state)
    torch.rand(3)
    trajectory.stream.batch(70)
    second = trajectory.take_step(twin)
    assert state.step == twin.step == 2
    assert torch.equal(state.theta, twin.theta)
    assert all(torch.equal(state.moments[name], twin.moments[name]) for name in state.moments)
    assert first.loss == second.loss


def test_a_clone_shares_no_memory(trajectory):
    state = initial_state(trajectory.decoder, trajectory.recipe, trajectory.seed)
    kept = state.clone()
    trajectory.take_step(state)
    assert kept.step == 0
    assert not torch.equal(kept.theta, state.theta)
    assert all((value == 0).all() for value in kept.moments.values())


def test_seeds_draw_other_parameters(planted_benchmark):
    one, other = (tiny_trajectory(planted_benchmark, seed=seed) for seed in (0, 1))
    states = [initial_state(t.decoder, t.recipe, t.seed).theta for t in (one, one, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"learning_rate": 1e-3}},
        {"optimizer": {"clip": None}},
        {"batch_size": 16},
        {"train_split": "test_iid"},
        {"model": {"n_layers": 1, "n_heads": 2, "d_model": 16, "d_ff": 12, "context": 64}},
    ],
)
def test_identity_tells_recipes_apart(changes):
    where = environment(1)
    assert trajectory_identity(tiny_recipe(**changes), 3, DATA, where) != trajectory_identity(
        tiny_recipe(), 3, DATA, where
    )


def test_identity_tells_seeds_data_and_environments_apart():
    recipe = tiny_recipe()
    identities = {
        trajectory_identity(recipe, 3, DATA, environment(1)),
        trajectory_identity(recipe, 4, DATA, environment(1)),
        trajectory_identity(recipe, 3, {**DATA, "split": "c" * 64}, environment(1)),
        trajectory_identity(recipe, 3, DATA, environment(2)),
    }
    assert len(identities) == 4


def test_identity_does_not_depend_on_what_is_kept():
    """A longer run, or one with other checkpoints, passes through the same states."""
    longer = tiny_recipe(steps=60, checkpoint_every=20, early_checkpoints=(), replay_tolerance=0.1)
    assert trajectory_identity(longer, 3, DATA, environment(1)) == trajectory_identity(
        tiny_recipe(), 3, DATA, environment(1)
    )


def test_the_environment_holds_what_bits_depend_on():
    here = environment(2)
    assert here == {
        "torch": torch.__version__,
        "device": "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": 2,
    }
