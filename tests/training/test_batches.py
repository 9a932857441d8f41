import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuit.task.events import token_matrix
from circuit.training.batches import BatchStream, initialisation_generator, make_batch


def stream(n=10, batch_size=4, seed=0, width=6):
    """n programs of different lengths; program i is [i + 1, i + 1, …], padded with 0."""
    lengths = 2 + torch.arange(n) % (width - 1)
    tokens = (torch.arange(n)[:, None] + 1) * (torch.arange(width) < lengths[:, None])
    return BatchStream(tokens, lengths, batch_size, seed)


@given(
    n=st.integers(1, 12),
    batch=st.integers(1, 30),
    seed=st.integers(0, 5),
    epochs=st.integers(1, 4),
)
def test_every_epoch_is_a_permutation(n, batch, seed, epochs):
    """Also where a batch is larger than the data and spans several epochs."""
    programs = stream(n, batch, seed)
    steps = -(-n * epochs // batch)
    order = np.concatenate([programs.rows(step) for step in range(steps)])[: n * epochs]
    for epoch in order.reshape(epochs, n):
        assert sorted(epoch) == list(range(n))


@given(steps=st.lists(st.integers(0, 40), min_size=1, max_size=12), batch=st.integers(1, 25))
def test_a_batch_is_a_pure_function_of_seed_and_step(steps, batch):
    """Whatever was asked for before, in whatever order."""
    programs = stream(batch_size=batch)
    for step in steps:
        assert np.array_equal(programs.rows(step), stream(batch_size=batch).rows(step))


def test_the_batch_size_cuts_the_same_sequence_differently():
    small, large = stream(batch_size=3), stream(batch_size=12)
    assert np.array_equal(np.concatenate([small.rows(t) for t in range(4)]), large.rows(0))


def test_seeds_and_epochs_differ():
    orders = [
        stream(n=40, batch_size=40, seed=seed).rows(step) for seed in (0, 1) for step in (0, 1)
    ]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert not np.array_equal(one, other)


def test_a_batch_holds_the_programs_of_its_rows(planted_benchmark):
    tokens, lengths = token_matrix(planted_benchmark.splits["train"])
    batch = BatchStream(tokens, lengths, 8, seed=1).batch(3)
    longest = int(lengths[batch.rows].max())
    assert batch.tokens.shape == (8, longest)
    assert torch.equal(batch.tokens, tokens[batch.rows][:, :longest])


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6).filter(lambda n: max(n) > 1))
def test_targets_are_the_next_tokens_and_padding_has_none(lengths):
    programs = [list(range(1, n + 1)) for n in lengths]
    padded = torch.tensor([p + [0] * (9 - len(p)) for p in programs])
    batch = make_batch(padded, torch.tensor(lengths), np.arange(len(lengths)))
    assert batch.tokens.shape == (len(lengths), max(lengths))
    for program, targets in zip(programs, batch.targets.tolist(), strict=True):
        expected = program[1:] + [-100] * (max(lengths) - len(program))
        assert targets == expected


def test_a_real_token_with_the_id_of_padding_is_a_target():
    batch = make_batch(torch.tensor([[1, 0, 2, 0]]), torch.tensor([3]), np.array([0]))
    assert batch.targets.tolist() == [[0, 2]]


def test_initial_parameters_have_a_stream_of_their_own():
    def draw(seed):
        return torch.rand(4, generator=initialisation_generator(seed))

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    state = torch.random.get_rng_state()
    draw(3)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("step", [0, 10**9])
def test_a_far_step_costs_no_more_than_a_near_one(step):
    """A replayed segment needs no batch before it."""
    programs = stream(n=10, batch_size=25)
    assert len(programs.rows(step)) == 25
    assert len(programs._epochs) <= 4
