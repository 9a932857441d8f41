"""Descent directions of the loss: training's own gradient, and how a scalar's lies to it."""

import numpy as np
import pytest
import torch

from circuit.errors import AnalysisError
from circuit.measures.candidates.descent import (
    OBJECTIVES,
    LossGradient,
    align,
    loss_gradient,
    objective_batches,
)
from circuit.scalars.behaviour import negative_answer_loss
from circuit.scalars.evaluate import scalar_gradients, scalar_values
from circuit.scalars.routing import qk_separation
from circuit.task.events import answer_positions, token_matrix
from circuit.training.batches import make_batch
from circuit.training.trajectory import batch_gradient


@pytest.fixture(scope="module")
def programs(planted_benchmark):
    return planted_benchmark.splits["validation_iid"].head(22)


@pytest.fixture(scope="module")
def batches(programs, planted_benchmark):
    return objective_batches(programs, planted_benchmark.vocabulary, 5)


def test_objectives_differ_in_their_targets_alone(batches, programs, planted_benchmark):
    reads = answer_positions(programs, planted_benchmark.vocabulary)
    assert tuple(batches) == OBJECTIVES
    found = []
    for tokens, answers, others in zip(*batches.values(), strict=True):
        assert torch.equal(tokens.tokens, answers.tokens)
        assert torch.equal(tokens.tokens, others.tokens)
        asked = answers.targets >= 0
        assert torch.equal(asked, others.targets >= 0)
        assert torch.equal(answers.targets[asked], tokens.targets[asked])
        found += [(int(row), int(at)) for row, at in zip(*asked.nonzero().T, strict=True)]
    assert len(found) == len(reads)
    true = torch.cat([b.targets[b.targets >= 0] for b in batches["answers"]])
    other = torch.cat([b.targets[b.targets >= 0] for b in batches["shuffled_answers"]])
    assert sorted(true.tolist()) == sorted(other.tolist()) == sorted(reads.answer.tolist())
    assert (true == other).double().mean() < 0.2


def test_chunks_weighted_with_their_targets_are_trainings_gradient(untrained, programs, batches):
    tokens, lengths = token_matrix(programs)
    whole = make_batch(tokens, lengths, np.arange(len(programs)))
    expected = batch_gradient(untrained.decoder, untrained.flat, whole).gradient
    found = loss_gradient(untrained.decoder, untrained.flat, batches["tokens"])
    weights = torch.from_numpy(found.targets / found.targets.sum())
    torch.testing.assert_close(weights @ found.chunks, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_push_is_the_growth_along_plain_descent(untrained, planted_events, batches, objective):
    """By finite differences: S after a small step down the loss."""
    events, ids = planted_events.select(range(0, 60, 6)), untrained.vocabulary.value_ids
    scalars = {"qk": qk_separation((1, 2)), "loss": negative_answer_loss()}
    where = (untrained.decoder, untrained.flat, events, ids, scalars)
    gradients = scalar_gradients(*where).gradients
    loss = loss_gradient(untrained.decoder, untrained.flat, batches[objective])
    found = align(gradients, loss)
    weights = torch.from_numpy(loss.targets / loss.targets.sum())
    descent = -(weights @ loss.chunks)
    up, down = (
        scalar_values(untrained.decoder, untrained.flat + rate * descent, *where[2:]).mean(1)
        for rate in (1e-6, -1e-6)
    )
    slope = ((up - down) / 2e-6).numpy()
    np.testing.assert_allclose(found.push[0], slope, rtol=1e-5, atol=1e-7)
    lengths = (gradients.norm(dim=1) * descent.norm()).numpy()
    np.testing.assert_allclose(found.alignment * lengths, found.push, rtol=1e-10)
    assert (np.abs(found.alignment[0]) <= 1).all()
    assert (found.push[1] <= found.push[0]).all()
    assert (found.push[0] <= found.push[2]).all()


def test_descent_on_answers_makes_answers_likelier(untrained, planted_events, batches):
    """Of the test split's events too, which are none of the programs descended on."""
    events, ids = planted_events.select(range(0, 171, 6)), untrained.vocabulary.value_ids
    where = (untrained.decoder, untrained.flat, events, ids)
    gradients = scalar_gradients(*where, {"loss": negative_answer_loss()}).gradients
    found = align(gradients, loss_gradient(*where[:2], batches["answers"]))
    assert found.alignment[1][0] > 0.5


def test_a_gradient_along_the_descent_has_alignment_1_and_one_of_length_0_has_none():
    chunk = torch.tensor([[3.0, 4.0]] * 3, dtype=torch.float64)
    gradients = torch.tensor([[-6.0, -8.0], [4.0, -3.0], [0.0, 0.0]], dtype=torch.float64)
    found = align(gradients, LossGradient(chunk, np.array([2, 5, 3])))
    np.testing.assert_allclose(found.alignment, [[1, 0, 0]] * 3, atol=1e-12)
    np.testing.assert_allclose(found.push, [[50, 0, 0]] * 3, atol=1e-12)


def test_too_few_programs_are_refused(programs, planted_benchmark):
    with pytest.raises(AnalysisError, match=r"^3 programs cannot be cut into 4 chunks — "):
        objective_batches(programs.head(3), planted_benchmark.vocabulary, 4)
