"""Where the loss pushes: its descent direction at a checkpoint, and how others lie to it.

1. Programs of a split are cut into chunks of like size. The gradient of a chunk's loss is that of
   training (:func:`circuit.training.trajectory.batch_gradient`); the split's gradient is their
   mean, weighted with the targets that each chunk has.
2. Three *objectives* differ only in their targets: ``tokens`` is the training loss, ``answers`` the
   loss of the answers alone, and ``shuffled_answers`` that of every answer replaced by another
   read's: the control, which pushes towards answering values but not towards the right one.
3. For a scalar's gradient ∇S and a loss L: *alignment* is the cosine of ∇S and -∇L, and *push* is
   ⟨∇S, -∇L⟩, the first-order growth of S per unit of learning rate under plain gradient descent.
   AdamW steps along another direction; what it did is the business of the attribution.
4. Intervals resample chunks of programs; the scalar is that of its own fixed events. The length of
   the loss' gradient is held for the cosine's: noise makes a resampled gradient longer than the
   whole one, so cosines with it would lie nearer to 0 than the one that is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuit.config.benchmark import SplitName
from circuit.errors import AnalysisError
from circuit.model.transformer import Decoder
from circuit.statistics import draws, told
from circuit.task.events import answer_positions, token_matrix
from circuit.task.vocabulary import Vocabulary
from circuit.training.batches import Batch, make_batch
from circuit.training.records import RunRecord
from circuit.training.trajectory import batch_gradient

OBJECTIVES = ("tokens", "answers", "shuffled_answers")
_NONE = -100  # a target that the loss leaves out


class LossGradient(NamedTuple):
    """Gradients of every chunk's mean loss, and the targets in it."""

    chunks: Float[Tensor, "C P"]
    targets: Int[np.ndarray, " C"]


class Alignment(NamedTuple):
    """For each of S gradients: value, low and high of its alignment and of its push, [3, S]."""

    alignment: Float[np.ndarray, "3 S"]
    push: Float[np.ndarray, "3 S"]


class Pushes(Protocol):
    """On which programs of a run the loss pushes."""

    split: SplitName
    train_programs: int
    chunks: int
    seed: int


def run_batches(record: RunRecord, split: str, settings: Pushes) -> dict[str, list[Batch]]:
    """The first programs of a run's split, as :func:`objective_batches`."""
    programs = record.split(split).head(settings.train_programs)
    vocabulary = record.benchmark.vocabulary
    return objective_batches(programs, vocabulary, settings.chunks, settings.seed)


def objective_batches(
    programs: pd.DataFrame, vocabulary: Vocabulary, chunks: int, seed: int = 0
) -> dict[str, list[Batch]]:
    """The chunks of some programs under every objective; ``seed`` orders exchanged answers.

    Raises:
        AnalysisError: there are fewer programs than chunks.
    """
    if len(programs) < chunks:
        raise AnalysisError(
            what=f"{len(programs)} programs cannot be cut into {chunks} chunks",
            where="gradients of the loss",
            expected=f"at least {chunks} programs",
            do="raise train_programs, or lower chunks",
        )
    tokens, lengths = token_matrix(programs)
    reads = answer_positions(programs, vocabulary)
    true = torch.full_like(tokens, _NONE)[:, 1:]
    true[reads.row, reads.prediction] = reads.answer
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(reads)))
    other = true.clone()
    other[reads.row[order], reads.prediction[order]] = reads.answer[order.roll(1)]
    found: dict[str, list[Batch]] = {name: [] for name in OBJECTIVES}
    for rows in np.array_split(np.arange(len(programs)), chunks):
        index = torch.from_numpy(rows)
        batch = make_batch(tokens[index], lengths[index], rows)
        width = batch.targets.shape[1]
        targets = (batch.targets, true[index, :width], other[index, :width])
        for name, wanted in zip(OBJECTIVES, targets, strict=True):
            found[name].append(batch._replace(targets=wanted))
    return found


def loss_gradient(
    decoder: Decoder, theta: Float[Tensor, " P"], batches: Sequence[Batch]
) -> LossGradient:
    """Gradient of the loss of every chunk: one forward and one backward pass each."""
    gradients = [batch_gradient(decoder, theta, batch).gradient for batch in batches]
    targets = np.array([int((batch.targets != _NONE).sum()) for batch in batches])
    return LossGradient(torch.stack(gradients), targets)


def align(
    gradients: Float[Tensor, "S P"],
    loss: LossGradient,
    seed: int = 0,
    within: Float[Tensor, "S P"] | None = None,
) -> Alignment:
    """Alignment and push of every gradient, with intervals over resampled chunks.

    Args:
        within: 1 for the parameters of each gradient that count, 0 for those where it is 0; by
            default all count.
    """
    mean = torch.from_numpy(drawn_chunks(loss, seed)[0]).to(loss.chunks) @ loss.chunks
    squares = mean.square().sum() if within is None else within.to(mean) @ mean.square()
    length = squares.double().sqrt() * torch.linalg.vector_norm(gradients, dim=1).double()
    push = np.stack(told(descended(loss, gradients, seed)))
    # A gradient of length 0 (of a scalar that cannot move) has no angle; its push is 0.
    cosine = np.divide(push, length.numpy(), out=np.zeros_like(push), where=length.numpy() > 0)
    # With the length held, a resampled product may exceed it; no cosine lies beyond 1.
    return Alignment(cosine.clip(-1, 1), push)


def descended(
    loss: LossGradient, vectors: Float[Tensor, "S P"], seed: int = 0
) -> Float[np.ndarray, "r+1 S"]:
    """⟨-∇L, v⟩ for every vector, then for resampled chunks."""
    products = -(loss.chunks @ vectors.T).double().numpy()
    found: Float[np.ndarray, "r+1 S"] = drawn_chunks(loss, seed) @ products
    return found


def drawn_chunks(loss: LossGradient, seed: int = 0) -> Float[np.ndarray, "r+1 C"]:
    """Weights of chunks in the mean over targets, then in that of every resample."""
    weights = draws(len(loss.targets), seed) * loss.targets
    found: Float[np.ndarray, "r+1 C"] = weights / weights.sum(1, keepdims=True)
    return found
