"""Which programs a step trains on: a pure function of (seed, step).

1. Epoch ``e`` is ``default_rng(SeedSequence(seed, spawn_key=(1, e))).permutation`` of all programs.
2. The epochs follow one another in one endless sequence of program indices.
3. The batch of step ``t`` (counted from 0) is the sequence's slice ``[t * B, (t + 1) * B)``, across
   the ends of epochs.

So any segment of training can be replayed without replaying what came before it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

# Named streams of one run's seed, so that no two random choices share numbers.
INITIALISATION, BATCHES = 0, 1


class Batch(NamedTuple):
    """One step's programs.

    ``tokens`` [B, T] is padded with token 0 to the longest program of the batch; ``targets``
    [B, T - 1] is the next token at every position, -100 where there is none; ``rows`` [B] are the
    programs' row numbers in the training split.
    """

    tokens: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T-1"]
    rows: Int[np.ndarray, " B"]


class BatchStream:
    """The endless sequence of batches of one run (see the module docstring).

    Args:
        tokens: all training programs, padded [N, T].
        lengths: their lengths [N].
        batch_size: programs per step; may exceed N.
        seed: the run's seed.
    """

    def __init__(
        self, tokens: Int[Tensor, "N T"], lengths: Int[Tensor, " N"], batch_size: int, seed: int
    ) -> None:
        self.tokens, self.lengths = tokens, lengths
        self.batch_size, self.seed = batch_size, seed
        self._epochs: dict[int, np.ndarray] = {}

    def rows(self, step: int) -> Int[np.ndarray, " B"]:
        """Row numbers of the programs of step ``step``."""
        n = len(self.tokens)
        at = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs, inside = at // n, at % n
        return np.concatenate(
            [self._permutation(e)[inside[epochs == e]] for e in np.unique(epochs)]
        )

    def batch(self, step: int) -> Batch:
        """Tokens and next-token targets of step ``step``."""
        rows = self.rows(step)
        index = torch.from_numpy(rows)
        return make_batch(self.tokens[index], self.lengths[index], rows)

    def _permutation(self, epoch: int) -> np.ndarray:
        if epoch not in self._epochs:
            self._epochs = {e: p for e, p in self._epochs.items() if e >= epoch - 1}
            stream = np.random.SeedSequence(self.seed, spawn_key=(BATCHES, int(epoch)))
            self._epochs[epoch] = np.random.default_rng(stream).permutation(len(self.tokens))
        return self._epochs[epoch]


def make_batch(
    tokens: Int[Tensor, "B T"], lengths: Int[Tensor, " B"], rows: Int[np.ndarray, " B"]
) -> Batch:
    """Crop a padded batch to its longest program and mark the targets that do not exist."""
    longest = int(lengths.max())
    tokens = tokens[:, :longest]
    beyond = torch.arange(1, longest) >= lengths[:, None]
    return Batch(tokens, tokens[:, 1:].masked_fill(beyond, -100), rows)


def initialisation_generator(seed: int) -> torch.Generator:
    """The random stream that draws a run's initial parameters."""
    stream = np.random.SeedSequence(seed, spawn_key=(INITIALISATION,))
    return torch.Generator().manual_seed(int(stream.generate_state(1, np.uint64)[0] >> 1))
